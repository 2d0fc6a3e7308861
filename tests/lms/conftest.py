"""A platform around the shim, whose own models are asked."""

from tests.builders.platform import platform, platform_tables  # noqa: F401
