"""A storage as django-storages has them for S3: buckets, lazy files, and errors that are no OSError."""

import hashlib

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage

#: What every bucket holds, by (bucket, name).
OBJECTS: dict[tuple[str, str], bytes] = {}


class ClientError(Exception):
    """Stands for botocore's."""


class LazyFile(File):
    """Nothing is fetched before the first read."""

    def __init__(self, bucket, name):
        self.bucket, self.name, self.mode, self.read_from = bucket, name, "rb", None

    @property
    def size(self):
        return len(OBJECTS[self.bucket.bucket_name, self.name])

    @property
    def closed(self):
        return False

    def close(self):
        self.read_from = None

    def read(self, length=None):
        if self.bucket.broken == "read":
            raise ClientError("InternalError")
        self.read_from = self.read_from or ContentFile(OBJECTS[self.bucket.bucket_name, self.name]).file
        return self.read_from.read(length)

    def seek(self, offset, whence=0):
        self.read_from = None


class Bucket(Storage):
    """One bucket. ``broken`` says what does not work: open, read, save, delete, or a byte that changes on its way."""

    def __init__(self, bucket_name, location="", endpoint_url=None, broken=""):
        self.bucket_name, self.location, self.endpoint_url, self.broken = bucket_name, location, endpoint_url, broken

    def _open(self, name, mode="rb"):
        if self.broken == "open":
            raise ClientError("AccessDenied")
        if not self.exists(name):
            raise FileNotFoundError(name)
        return LazyFile(self, name)

    def _save(self, name, content):
        if self.broken == "save":
            raise ClientError("SlowDown")
        data = content.read()
        OBJECTS[self.bucket_name, name] = data[:-1] + b"?" if self.broken == "byte" else data
        return name

    def exists(self, name):
        return (self.bucket_name, name) in OBJECTS

    def delete(self, name):
        if self.broken == "delete":
            raise ClientError("AccessDenied")
        OBJECTS.pop((self.bucket_name, name), None)


class OtherBucket(Bucket):
    """Another backend: nobody knows what it makes of names."""


def put(bucket, queue, data):
    """Store an object as XQueue would; its key."""
    key = hashlib.md5(data).hexdigest()
    OBJECTS[bucket, f"{queue}/{key}"] = data
    return key
