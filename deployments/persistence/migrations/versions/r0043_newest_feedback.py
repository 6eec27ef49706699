"""Index of the feedback, newest first."""

from __future__ import annotations

from alembic import op

revision = "0043"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_feedback_created_at_feedback_id", "feedback", ["created_at", "feedback_id"])


def downgrade() -> None:
    op.drop_index("ix_feedback_created_at_feedback_id", "feedback")
