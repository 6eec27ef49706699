"""Table planned_job: one row per job of the latest plan of each plant and line."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_name = sa.String(255)
_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "planned_job",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("line_id", _name, nullable=False),
        sa.Column("job_id", _name, nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False),
        sa.Column("machine_name", _name, nullable=False),
        sa.Column("machine_ids", _json),
        sa.Column("start_at", _instant, nullable=False),
        sa.Column("end_at", _instant, nullable=False),
        sa.Column("setup_hours", _float, nullable=False),
        sa.PrimaryKeyConstraint("plant_id", "line_id", "job_id", name="pk_planned_job"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("planned_job")
