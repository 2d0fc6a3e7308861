from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0011_counters"),
    ]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="legacy_seen",
            field=models.CharField(blank=True, db_default="", default="", max_length=16),
        ),
        migrations.AddField(
            model_name="ledgerentry",
            name="target_seen",
            field=models.CharField(blank=True, db_default="", default="", max_length=16),
        ),
        migrations.AddField(
            model_name="ledgerentry",
            name="room",
            field=models.CharField(blank=True, db_default="-" * 160, default="-" * 160, max_length=160),
        ),
    ]
