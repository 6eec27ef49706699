"""Table plan_release: which decision a person put in force in each plant and line, and what was taken back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

_name = sa.String(255)
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "plan_release",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("line_id", _name, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("decision_id", _id),
        sa.Column("released_version", sa.BigInteger, nullable=False),
        sa.Column("previous_id", _id),
        sa.Column("is_what_if", sa.Boolean, nullable=False),
        sa.Column("client", _name, nullable=False),
        sa.Column("actor", _name, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.PrimaryKeyConstraint("plant_id", "line_id", "version", name="pk_plan_release"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plan_release")
