"""
Give the columns of 0002 and 0003 a default in the database, where these were applied before they had one themselves.

Processes of the release before 0002 name none of them in their INSERTs.
"""

from django.db import migrations
from django.db.models import NOT_PROVIDED

_LATE = {
    "ledgerentry": (
        "double_authority",
        "forget",
        "legacy_state",
        "move",
        "seen",
        "shadow_lease_key",
        "target_state",
    ),
    "checkpoint": ("counts", "plan"),
}


def set_defaults(apps, schema_editor):
    """Say it again: the migrations' own state has the defaults already, so AlterField would do nothing."""
    for name, columns in _LATE.items():
        model = apps.get_model("migration_shim", name)
        for column in columns:
            field = model._meta.get_field(column)
            if schema_editor.connection.vendor == "mysql" and not schema_editor.connection.mysql_is_mariadb:
                _define(schema_editor, model, field)
                continue
            bare = field.clone()
            bare.set_attributes_from_name(column)
            bare.model, bare.db_default = model, NOT_PROVIDED
            schema_editor.alter_field(model, bare, field)


def _define(schema_editor, model, field):
    """MySQL takes a constant as the default of a text or of JSON in the definition of the column only (error 1101)."""
    quote = schema_editor.quote_name
    definition, parameters = schema_editor.column_sql(model, field)
    schema_editor.execute(
        f"ALTER TABLE {quote(model._meta.db_table)} MODIFY {quote(field.column)} {definition}", parameters
    )


class Migration(migrations.Migration):

    dependencies = [
        ("migration_shim", "0009_delivered"),
    ]

    operations = [
        migrations.RunPython(set_defaults, migrations.RunPython.noop, atomic=False, elidable=True),
    ]
