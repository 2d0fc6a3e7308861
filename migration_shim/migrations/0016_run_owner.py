from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0015_override_causes"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="host",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
        migrations.AddField(
            model_name="run",
            name="pid",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="run",
            name="user",
            field=models.CharField(blank=True, db_default="", default="", max_length=150),
        ),
        migrations.AddField(
            model_name="run",
            name="waits_for",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
    ]
