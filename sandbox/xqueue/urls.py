"""XQueue's URLs, and those of its stored files."""

from django.urls import path

from sandbox.xqueue import accounts, files, grader_side, lms_side

urlpatterns = [
    path("xqueue/login/", accounts.log_in),
    path("xqueue/logout/", accounts.log_out),
    path("xqueue/status/", accounts.status),
    path("xqueue/submit/", lms_side.submit),
    path("xqueue/get_queuelen/", grader_side.get_queuelen),
    path("xqueue/get_submission/", grader_side.get_submission),
    path("xqueue/put_result/", grader_side.put_result),
    path("xqueue/<str:queue_name>/<str:key>", files.stored_file),
]
