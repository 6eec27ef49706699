"""Table rollout_transition: every change of the rollout, by whom and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_name = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "rollout_transition",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("from_stage", _name, nullable=False),
        sa.Column("to_stage", _name, nullable=False),
        sa.Column("actor", _name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", _json, nullable=False),
        sa.Column("configuration_sha256", _sha256, nullable=False),
        sa.Column("state", _json, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_rollout_transition"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("rollout_transition")
