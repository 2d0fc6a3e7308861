"""Stand-in for the XQueue service: a Django project of its own with XQueue's table and HTTP API.

Behaviour follows openedx/xqueue at commit 171e9d1, races included. Push queues (``run_consumer``) and XQueue's
maintenance commands are absent.
"""
