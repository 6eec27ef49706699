"""Table plant_job: the pending jobs of each plant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_name = sa.String(255)
_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_instant_text = sa.String(40)


def upgrade() -> None:
    op.create_table(
        "plant_job",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("job_id", _name, nullable=False),
        sa.Column("family_id", _name),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("processing_time", _float),
        sa.Column("machine_types", _json, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("is_important", sa.Boolean(), nullable=False),
        sa.Column("lcd_date", _instant_text),
        sa.Column("setup_time", _float, nullable=False),
        sa.Column("machine_options", _json),
        sa.Column("release_at", _instant_text),
        sa.Column("deadline_at", _instant_text),
        sa.Column("weight", _float),
        sa.Column("interruptible", sa.Boolean(), nullable=False),
        sa.Column("setup_group", _name),
        sa.Column("pinned", _json),
        sa.Column("requires_all_machines", _json),
        sa.PrimaryKeyConstraint("plant_id", "job_id", name="pk_plant_job"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plant_job")
