"""
Counters over the ledger, and the indexes that they take the place of. See docs/decisions/0032.

Processes of the release before write entries without a bucket, which every count reads one by one.
"""

import migration_shim.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('migration_shim', '0010_lifecycle'),
    ]

    operations = [
        migrations.CreateModel(
            name='Bucket',
            fields=[
                ('id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('course_id', migration_shim.fields.ExactCharField(db_index=True, max_length=255)),
                ('queue_name', migration_shim.fields.ExactCharField(max_length=128)),
                ('item_id', migration_shim.fields.ExactCharField(max_length=255)),
                ('arrived_on', models.DateField()),
                ('moved_on', models.DateField(null=True)),
                ('graded_on', models.DateField(null=True)),
                ('authority', models.CharField(max_length=16)),
                ('result', models.CharField(max_length=16)),
                ('known', models.CharField(max_length=64)),
                ('differences', models.CharField(max_length=512)),
                ('legacy_state', models.CharField(max_length=16)),
                ('target_state', models.CharField(max_length=16)),
                ('legacy_reply', models.CharField(max_length=16)),
                ('target_reply', models.CharField(max_length=16)),
                ('flags', models.IntegerField()),
                ('number', models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Histogram',
            fields=[
                ('id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('course_id', migration_shim.fields.ExactCharField(max_length=255)),
                ('queue_name', migration_shim.fields.ExactCharField(max_length=128)),
                ('authority', models.CharField(max_length=16)),
                ('day', models.DateField(null=True)),
                ('kind', models.CharField(max_length=16)),
                ('bin', models.CharField(max_length=64)),
                ('number', models.BigIntegerField()),
            ],
        ),
        migrations.RemoveIndex(
            model_name='ledgerentry',
            name='shim_ledger_tally',
        ),
        migrations.RemoveIndex(
            model_name='ledgerentry',
            name='shim_ledger_learner',
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='bucket_id',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(fields=['course_id', 'bucket_id'], name='shim_ledger_bucket'),
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(fields=['course_id', 'learner_settled_at', 'id'], name='shim_ledger_asked'),
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(fields=['double_authority'], name='shim_ledger_double'),
        ),
        migrations.AddIndex(
            model_name='histogram',
            index=models.Index(fields=['course_id', 'kind'], name='shim_histogram_course'),
        ),
    ]
