"""View job_source: the pending jobs that the service reads; an ERP may put its own tables behind it."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW job_source AS
SELECT plant_id, job_id, family_id, sequence, processing_time, machine_types, priority, is_important, lcd_date,
    setup_time, machine_options, release_at, deadline_at, weight, interruptible, setup_group, pinned,
    requires_all_machines
FROM plant_job
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW job_source")
