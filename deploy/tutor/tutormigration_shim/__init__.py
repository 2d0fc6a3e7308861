"""A Tutor plugin that installs and configures migration_shim."""

__version__ = "0.1.0"
