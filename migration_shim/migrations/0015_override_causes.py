"""What an override passes, who signed as the second person, and when its step was taken."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0014_campaigns"),
    ]

    operations = [
        migrations.AddField(
            model_name="gateoverride",
            name="causes",
            field=models.JSONField(db_default=[], default=list),
        ),
        migrations.AddField(
            model_name="gateoverride",
            name="proposal",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="gateoverride",
            name="seconded_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=150),
        ),
        migrations.AddField(
            model_name="gateoverride",
            name="used_at",
            field=models.DateTimeField(null=True),
        ),
    ]
