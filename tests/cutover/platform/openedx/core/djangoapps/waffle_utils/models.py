"""The platform's override models, as far as they are used; source: ``waffle_utils/models.py`` of edx-platform."""

from config_models.models import ConfigurationModel
from django.db import models
from opaque_keys.edx.django.models import CourseKeyField

CHOICES = [("on", "Force On"), ("off", "Force Off")]


class WaffleFlagCourseOverrideModel(ConfigurationModel):
    """A flag forced for one course. The newest row counts."""

    KEY_FIELDS = ("waffle_flag", "course_id")

    waffle_flag = models.CharField(max_length=255, db_index=True)
    course_id = CourseKeyField(max_length=255, db_index=True)
    override_choice = models.CharField(choices=CHOICES, default="on", max_length=3)
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        app_label = "waffle_utils"


class WaffleFlagOrgOverrideModel(ConfigurationModel):
    """A flag forced for one organisation."""

    KEY_FIELDS = ("waffle_flag", "org")

    waffle_flag = models.CharField(max_length=255, db_index=True)
    org = models.CharField(max_length=255, db_index=True)
    override_choice = models.CharField(choices=CHOICES, default="on", max_length=3)
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        app_label = "waffle_utils"
