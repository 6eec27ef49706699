"""Table evaluation: what one arm made of the request of one decision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_name = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "evaluation",
        sa.Column("decision_id", _id, nullable=False),
        sa.Column("arm", _name, nullable=False),
        sa.Column("role", _name, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("plant_id", _name, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("stage", _name, nullable=False),
        sa.Column("share", _float, nullable=False),
        sa.Column("rollout_version", sa.BigInteger(), nullable=False),
        sa.Column("ramp", sa.BigInteger(), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("job_list_sha256", _sha256, nullable=False),
        sa.Column("is_served", sa.Boolean(), nullable=False),
        sa.Column("status", _name, nullable=False),
        sa.Column("outcome", _name),
        sa.Column("reason", sa.Text()),
        sa.Column("model", _name),
        sa.Column("source", _name),
        sa.Column("baseline", _name, nullable=False),
        sa.Column("time_budget_ms", sa.Integer(), nullable=False),
        sa.Column("job_count", sa.Integer(), nullable=False),
        sa.Column("makespan_seconds", sa.BigInteger()),
        sa.Column("tardiness_seconds", sa.BigInteger()),
        sa.Column("setup_seconds", sa.BigInteger()),
        sa.Column("completion_percent", _float),
        sa.Column("utilisation_percent", _float),
        sa.Column("on_time_percent", _float),
        sa.Column("important_on_time_percent", _float),
        sa.Column("safety_score", _float),
        sa.Column("violation_count", sa.Integer(), nullable=False),
        sa.Column("violations", _json, nullable=False),
        sa.Column("proposal_ms", _float),
        sa.Column("judge_ms", _float),
        sa.PrimaryKeyConstraint("decision_id", "arm", name="pk_evaluation"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("evaluation")
