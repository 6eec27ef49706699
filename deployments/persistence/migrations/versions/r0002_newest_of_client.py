"""Index for the newest decisions of a client."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAME = "ix_decision_client_created_at_decision_id"


def upgrade() -> None:
    op.create_index(_NAME, "decision", ["client", "created_at", "decision_id"])


def downgrade() -> None:
    op.drop_index(_NAME, table_name="decision")
