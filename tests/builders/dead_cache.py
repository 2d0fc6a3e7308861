"""A cache whose server is not there."""

from sandbox.network import free_port


def dead_redis() -> dict[str, str]:
    """Settings of a Redis at an address where nothing listens, with a password that must not come out."""
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://:pw-of-the-cache@127.0.0.1:{free_port()}/0",
    }
