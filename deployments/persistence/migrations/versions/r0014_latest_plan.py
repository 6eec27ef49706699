"""View latest_plan: where and when each job of a plant is planned to run, for an ERP to read."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW latest_plan AS
SELECT plan.plant_id, plan.line_id, plan.decision_id AS schedule_id, plan.created_at, planned_job.job_id,
    planned_job.machine_id, planned_job.machine_name, planned_job.machine_ids, planned_job.start_at,
    planned_job.end_at, planned_job.setup_hours
FROM plan
JOIN planned_job ON planned_job.plant_id = plan.plant_id AND planned_job.line_id = plan.line_id
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW latest_plan")
