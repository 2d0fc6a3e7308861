"""What the databases and storages need, and Django does not have. Knows nothing of the app."""
