import django.db.models.deletion
import django.utils.timezone
import migration_shim.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('migration_shim', '0013_legacy_courses'),
    ]

    operations = [
        migrations.CreateModel(
            name='Campaign',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', migration_shim.fields.ExactCharField(max_length=64, unique=True)),
                ('state', models.CharField(choices=[('running', 'running'), ('paused', 'paused'), ('stopped', 'stopped'), ('done', 'done')], default='running', max_length=16)),
                ('to', models.CharField(choices=[('legacy', 'legacy'), ('shadow', 'shadow'), ('live', 'live'), ('complete', 'complete')], max_length=16)),
                ('canary', migration_shim.fields.ExactCharField(max_length=255)),
                ('plan', models.JSONField(default=dict)),
                ('reason', migration_shim.fields.ExactCharField(max_length=500)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_by', migration_shim.fields.ExactCharField(max_length=150)),
                ('said', migration_shim.fields.ExactCharField(blank=True, default='', max_length=500)),
                ('resumed_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='CampaignCourse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('course_id', migration_shim.fields.ExactCharField(max_length=255)),
                ('place', models.PositiveIntegerField()),
                ('held', models.BooleanField(default=True, null=True)),
                ('state', models.CharField(choices=[('going', 'going'), ('parked', 'parked'), ('failed', 'failed'), ('done', 'done')], default='going', max_length=16)),
                ('said', migration_shim.fields.ExactCharField(blank=True, default='', max_length=500)),
                ('log_seen', models.BigIntegerField(default=0)),
                ('resumed_at', models.DateTimeField(null=True)),
                ('well_since', models.DateTimeField(null=True)),
                ('campaign', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='courses', to='migration_shim.campaign')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('course_id', 'held'), name='shim_campaign_course_held'), models.UniqueConstraint(fields=('campaign', 'course_id'), name='shim_campaign_course_once')],
            },
        ),
        migrations.CreateModel(
            name='CampaignLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('by', migration_shim.fields.ExactCharField(max_length=150)),
                ('course_id', migration_shim.fields.ExactCharField(blank=True, default='', max_length=255)),
                ('what', models.CharField(max_length=16)),
                ('text', migration_shim.fields.ExactCharField(blank=True, default='', max_length=500)),
                ('campaign', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='migration_shim.campaign')),
            ],
            options={
                'indexes': [models.Index(fields=['campaign', 'course_id', 'what', 'id'], name='shim_campaign_line')],
            },
        ),
    ]
