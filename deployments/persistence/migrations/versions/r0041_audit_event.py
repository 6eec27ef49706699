"""Table audit_event: who did what beyond scheduling."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_name = sa.String(255)
_ascii = {"charset": "ascii", "collation": "ascii_bin"}
_key_id = sa.CHAR(12).with_variant(mysql.CHAR(12, **_ascii), "mariadb")
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, **_ascii), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("event_id", _id, nullable=False),
        sa.Column("occurred_at", _instant, nullable=False),
        sa.Column("actor", _name, nullable=False),
        sa.Column("client", _name),
        sa.Column("key_id", _key_id),
        sa.Column("action", _name, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("request_id", _name),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("event_id", name="pk_audit_event"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("audit_event")
