"""What the platform sends when it retires a user's account (edx-platform: ``user_api/accounts/signals.py``)."""

from django.dispatch import Signal

#: Sent by the retirement API's step ``retire_misc``, with ``user``; what a receiver raises makes the step answer 500.
USER_RETIRE_LMS_MISC = Signal()
