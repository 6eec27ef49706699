"""Table idempotency_claim: who acts on a key of a client, until when, and what came of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0020"
down_revision = "0042"
branch_labels = None
depends_on = None

_name = sa.String(255)
_ascii = {"charset": "ascii", "collation": "ascii_bin"}
_id = sa.CHAR(36).with_variant(mysql.CHAR(36, **_ascii), "mariadb")
_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, **_ascii), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
_blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")


def upgrade() -> None:
    op.create_table(
        "idempotency_claim",
        sa.Column("client", _name, nullable=False),
        sa.Column("route", sa.String(64), nullable=False),
        sa.Column("idempotency_key", _name, nullable=False),
        sa.Column("request_sha256", _sha256, nullable=False),
        sa.Column("decision_id", _id, nullable=False),
        sa.Column("owner_id", _id, nullable=False),
        sa.Column("leased_until", _instant, nullable=False),
        sa.Column("expires_at", _instant, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", _blob),
        sa.PrimaryKeyConstraint("client", "route", "idempotency_key", name="pk_idempotency_claim"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("idempotency_claim")
