"""Table plant_machine: the machines of each plant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_name = sa.String(255)
_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")


def upgrade() -> None:
    op.create_table(
        "plant_machine",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("machine_name", _name, nullable=False),
        sa.Column("machine_type", sa.BigInteger()),
        sa.Column("status", _name, nullable=False),
        sa.Column("current_load", _float, nullable=False),
        sa.PrimaryKeyConstraint("plant_id", "machine_id", name="pk_plant_machine"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plant_machine")
