"""Table plant_closure: when single machines are unavailable."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_name = sa.String(255)
_instant_text = sa.String(40)


def upgrade() -> None:
    op.create_table(
        "plant_closure",
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("closed_from", _instant_text, nullable=False),
        sa.Column("closed_to", _instant_text, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plant_id", "machine_id", "closed_from", "closed_to", name="pk_plant_closure"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("plant_closure")
