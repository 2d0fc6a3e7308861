"""URLs of a site that mounts the app under a prefix of its own."""

from django.urls import include, path

urlpatterns = [path("grading/shim/", include("migration_shim.urls", namespace="migration_shim"))]
