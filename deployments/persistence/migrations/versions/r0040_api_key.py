"""Table api_key: who may call, for what and until when; the keys themselves are not in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0040"
down_revision = "0033"
branch_labels = None
depends_on = None

_name = sa.String(255)
_ascii = {"charset": "ascii", "collation": "ascii_bin"}
_key_id = sa.CHAR(12).with_variant(mysql.CHAR(12, **_ascii), "mariadb")
_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, **_ascii), "mariadb")
_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")
_instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("key_id", _key_id, nullable=False),
        sa.Column("client", _name, nullable=False),
        sa.Column("key_name", _name, nullable=False),
        sa.Column("digest", _sha256, nullable=False),
        sa.Column("scopes", _json, nullable=False),
        sa.Column("plants", _json),
        sa.Column("slot", sa.Integer),
        sa.Column("created_at", _instant, nullable=False),
        sa.Column("created_by", _name, nullable=False),
        sa.Column("expires_at", _instant),
        sa.Column("revoked_at", _instant),
        sa.Column("last_used_at", _instant),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_key"),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
        sa.UniqueConstraint("client", "slot", name="uq_api_key_client_slot"),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def downgrade() -> None:
    op.drop_table("api_key")
