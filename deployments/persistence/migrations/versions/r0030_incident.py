"""Table incident: every trigger of a guardrail, with its evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0030"
down_revision = "0019"
branch_labels = None
depends_on = None

_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_name = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "incident",
        sa.Column("incident_id", _id, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("trigger", _name, nullable=False),
        sa.Column("stage", _name, nullable=False),
        sa.Column("rollout_version", sa.BigInteger(), nullable=False),
        sa.Column("action", _name, nullable=False),
        sa.Column("evidence", _json, nullable=False),
        sa.PrimaryKeyConstraint("incident_id", name="pk_incident"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("incident")
