"""Table spool_owner: up to when each router's spooled decisions are stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "spool_owner",
        sa.Column("owner_id", _id, nullable=False),
        sa.Column("drained_until", _instant, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name="pk_spool_owner"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("spool_owner")
