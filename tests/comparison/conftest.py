"""The broker of the tests with Celery workers."""

from tests.private_redis import broker, redis_url  # noqa: F401
