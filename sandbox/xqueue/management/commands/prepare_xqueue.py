"""Migrate XQueue's database and make the account of the LMS; run by ``sandbox.schema.prepare``."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """``python -m django prepare_xqueue``, as often as wanted."""

    help = "Migrate XQueue's database and make the account of the LMS."
    requires_system_checks = ()

    def handle(self, *args, **options) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        user, _created = get_user_model().objects.get_or_create(username=settings.LMS_USERNAME)
        if not user.check_password(settings.LMS_PASSWORD):
            user.set_password(settings.LMS_PASSWORD)
            user.save()
