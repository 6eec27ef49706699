"""Index for the newest decisions of a client's plant."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NAME = "ix_decision_client_plant_id_created_at_decision_id"


def upgrade() -> None:
    op.create_index(_NAME, "decision", ["client", "plant_id", "created_at", "decision_id"])


def downgrade() -> None:
    op.drop_index(_NAME, table_name="decision")
