"""
Take three columns from the ledger's model that nothing has read; their table keeps them, each with a default.

Processes of the release before still name them in their INSERTs and UPDATEs. Those of this release do not, and leave the
database to fill them. The release after this one may drop them (docs/decisions/0049-unread-columns.rst).
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0016_run_owner"),
    ]

    operations = [
        migrations.AlterField(
            model_name="ledgerentry",
            name="points_assumed",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="ledgerentry",
            name="sink_replies",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveField(model_name="ledgerentry", name="exact_points"),  # it may be NULL
                migrations.RemoveField(model_name="ledgerentry", name="points_assumed"),
                migrations.RemoveField(model_name="ledgerentry", name="sink_replies"),
            ],
        ),
    ]
