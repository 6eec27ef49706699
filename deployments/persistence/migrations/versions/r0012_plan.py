"""Table plan: which decision is the latest plan of each plant and line."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_name = sa.String(255)
_ascii = {"charset": "ascii", "collation": "ascii_bin"}
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, **_ascii), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "plan",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("line_id", _name, nullable=False),
        sa.Column("decision_id", _id, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.PrimaryKeyConstraint("plant_id", "line_id", name="pk_plan"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plan")
