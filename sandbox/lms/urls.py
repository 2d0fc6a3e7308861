"""URLs of the LMS stand-in, in the order of an LMS: its own, then those of plugins, then edx-submissions'."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.contrib.staticfiles.views import serve as serve_static
from django.urls import include, path, re_path
from django.views.static import serve

from sandbox.lms import views

# Course keys are Org/Course/Run or course-v1:Org+Course+Run; the callback's usage key may hold slashes (i4x://...).
COURSE = r"courses/(?P<course_id>[^/+]+(?:/|\+)[^/+]+(?:/|\+)[^/?]+)"

urlpatterns = [
    path("", views.index, name="index"),
    path("login", LoginView.as_view(template_name="sandbox_lms/login.html"), name="login"),
    path("admin/", admin.site.urls),
    re_path(rf"^{COURSE}/submit/(?P<usage_key>.+)$", views.submit, name="submit"),
    re_path(rf"^{COURSE}/state/(?P<usage_key>.+)$", views.state, name="state"),
    re_path(
        rf"^{COURSE}/xqueue/(?P<userid>[^/]*)/(?P<mod_id>.*?)/(?P<dispatch>[^/]*)$",
        views.xqueue_callback,
        name="xqueue_callback",
    ),
    # In production a web server does these two; here there is none, and graders fetch uploads by URL.
    re_path(r"^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
    re_path(r"^static/(?P<path>.*)$", serve_static, {"insecure": True}),
]

# The URLs of plugin apps go here: an LMS adds them after its own and before the last include, so a plugin's pattern
# below xqueue/ would win over edx-submissions'.
urlpatterns += [path("migration_shim/", include("migration_shim.urls", namespace="migration_shim"))]

# Last, as in lms/urls.py: the grader's endpoints of edx-submissions.
urlpatterns += [path("xqueue/", include("submissions.urls"))]
