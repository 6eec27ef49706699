"""Table decision: one immutable row per decision.

Columns are spelled out, not taken from `tables`: a revision must mean the same for ever.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ascii = {"charset": "ascii", "collation": "ascii_bin"}
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, **_ascii), "mariadb")
_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, **_ascii), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")
_blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")
_name = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "decision",
        sa.Column("decision_id", _id, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("client", _name, nullable=False),
        sa.Column("request_id", _name),
        sa.Column("plant_id", _name),
        sa.Column("line_id", _name),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("bucket", _float, nullable=False),
        sa.Column("seed", _name, nullable=False),
        sa.Column("hash_version", sa.Integer(), nullable=False),
        sa.Column("stage", _name, nullable=False),
        sa.Column("share", _float, nullable=False),
        sa.Column("arm", _name, nullable=False),
        sa.Column("algorithm_used", _name, nullable=False),
        sa.Column("model", _name),
        sa.Column("fallback_reason", sa.Text()),
        sa.Column("objective", _name, nullable=False),
        sa.Column("time_budget_ms", sa.Integer(), nullable=False),
        sa.Column("job_count", sa.Integer(), nullable=False),
        sa.Column("machine_count", sa.Integer(), nullable=False),
        sa.Column("makespan_seconds", sa.BigInteger(), nullable=False),
        sa.Column("tardiness_seconds", sa.BigInteger(), nullable=False),
        sa.Column("setup_seconds", sa.BigInteger(), nullable=False),
        sa.Column("completion_percent", _float, nullable=False),
        sa.Column("utilisation_percent", _float, nullable=False),
        sa.Column("on_time_percent", _float, nullable=False),
        sa.Column("important_on_time_percent", _float, nullable=False),
        sa.Column("safety_score", _float, nullable=False),
        sa.Column("generation_ms", _float, nullable=False),
        sa.Column("request", _blob),
        sa.Column("answer", _blob),
        sa.Column("payload_sha256", _sha256, nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decision"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("decision")
