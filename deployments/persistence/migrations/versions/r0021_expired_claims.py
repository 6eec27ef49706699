"""Index of claims by expiry: what is over is deleted bit by bit."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_idempotency_claim_expires_at", "idempotency_claim", ["expires_at"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_claim_expires_at", table_name="idempotency_claim")
