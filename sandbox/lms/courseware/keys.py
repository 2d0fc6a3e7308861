"""Fields of keys that tell case apart, where the installed edx-opaque-keys has them."""

import inspect

from opaque_keys.edx.django.models import OpaqueKeyField

#: Before edx-opaque-keys 4 (Ulmo has 3.0) the collation decides; that of SQLite tells case apart.
EXACT = {"case_sensitive": True} if "case_sensitive" in inspect.getsource(OpaqueKeyField.__init__) else {}
