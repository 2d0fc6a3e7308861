"""Courses that XQueue has rows of, as the watch finds them. See docs/decisions/0041."""

import django.utils.timezone
from django.db import migrations, models

import migration_shim.fields


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0012_seen"),
    ]

    operations = [
        migrations.CreateModel(
            name="LegacyCourse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("course_id", migration_shim.fields.ExactCharField(max_length=255)),
                ("host", migration_shim.fields.ExactCharField(blank=True, default="", max_length=255)),
                ("open_rows", models.PositiveIntegerField(db_default=0, default=0)),
                ("oldest_open_at", models.DateTimeField(null=True)),
                ("first_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("course_id", "host"), name="shim_legacy_course"),
                ],
            },
        ),
    ]
