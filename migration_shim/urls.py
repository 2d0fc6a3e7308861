"""The app's URLs, mounted under one prefix (``/migration_shim/`` by default)."""

from django.urls import path

from . import views

app_name = "migration_shim"

urlpatterns = [
    path("xqueue/login/", views.login, name="login"),
    path("xqueue/submit/", views.submit, name="submit"),
    path("sink/<str:token>/", views.sink, name="sink"),
    path("healthz", views.healthz, name="healthz"),
]
