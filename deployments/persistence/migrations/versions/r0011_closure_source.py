"""View closure_source: the closures that the service reads; an ERP may put its own tables behind it."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW closure_source AS
SELECT plant_id, machine_id, closed_from, closed_to, reason
FROM plant_closure
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW closure_source")
