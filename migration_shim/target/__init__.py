"""Everything that knows edx-submissions. No other package of the app imports ``submissions``."""
