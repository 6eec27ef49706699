"""Table feedback: what planners say of a schedule, and when its jobs were really done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_id = sa.CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_name = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", _id, nullable=False),
        sa.Column("decision_id", _id, nullable=False),
        sa.Column("client", _name, nullable=False),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("rating", sa.Integer()),
        sa.Column("comment", sa.Text()),
        sa.Column("actual_completions", _json, nullable=False),
        sa.PrimaryKeyConstraint("feedback_id", name="pk_feedback"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("feedback")
