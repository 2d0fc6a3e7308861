"""A platform around the shim, for what steps do with the platform's flags."""

from tests.builders.platform import platform, platform_tables  # noqa: F401
