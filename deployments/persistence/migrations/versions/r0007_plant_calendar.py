"""Table plant_calendar: the weekly calendar and the holidays of each plant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_name = sa.String(255)
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")


def upgrade() -> None:
    op.create_table(
        "plant_calendar",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("breaks", _json),
        sa.Column("holidays", _json, nullable=False),
        sa.Column("country", sa.CHAR(2)),
        sa.PrimaryKeyConstraint("plant_id", name="pk_plant_calendar"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plant_calendar")
