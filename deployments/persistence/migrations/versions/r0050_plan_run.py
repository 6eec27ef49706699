"""Table plan_run: requests that are planned while nobody holds a connection, and how far they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

_name = sa.String(255)
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mariadb")
_blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "plan_run",
        sa.Column("run_id", _id, nullable=False),
        sa.Column("client", _name, nullable=False),
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("idempotency_key", _name, nullable=False),
        sa.Column("request_sha256", _sha256, nullable=False),
        sa.Column("request", _blob),
        sa.Column("is_strict", sa.Boolean, nullable=False),
        sa.Column("budget_ms", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("changed_at", _instant, nullable=False),
        sa.Column("owner_id", _id),
        sa.Column("leased_until", _instant),
        sa.Column("is_stop_wanted", sa.Boolean, nullable=False),
        sa.Column("best", sa.Text),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_plan_run"),
        sa.UniqueConstraint("client", "idempotency_key", name="uq_plan_run_client_idempotency_key"),
        sa.Index("ix_plan_run_state_created_at", "state", "created_at"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plan_run")
