"""Index of the audit trail, newest first."""

from __future__ import annotations

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_audit_event_occurred_at_event_id", "audit_event", ["occurred_at", "event_id"])


def downgrade() -> None:
    op.drop_index("ix_audit_event_occurred_at_event_id", "audit_event")
