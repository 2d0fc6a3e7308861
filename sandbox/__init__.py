"""Runnable stand-ins for the systems that migration_shim works between. Never imported by ``migration_shim``."""
