"""View machine_source: the machines that the service reads; an ERP may put its own tables behind it."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW machine_source AS
SELECT plant_id, machine_id, machine_name, machine_type, status, current_load
FROM plant_machine
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW machine_source")
