"""Index of evaluations by instant: the report reads a span of time."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_evaluation_created_at_decision_id", "evaluation", ["created_at", "decision_id"])


def downgrade() -> None:
    op.drop_index("ix_evaluation_created_at_decision_id", table_name="evaluation")
