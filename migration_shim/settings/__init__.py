"""Settings that the app adds to a platform, read by its plugin loader."""
