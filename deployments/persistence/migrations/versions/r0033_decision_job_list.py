"""Column decision.job_list_sha256: which jobs were asked for, to tell replans of one list from others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_sha256 = sa.CHAR(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mariadb")


def upgrade() -> None:
    op.add_column("decision", sa.Column("job_list_sha256", _sha256))


def downgrade() -> None:
    op.drop_column("decision", "job_list_sha256")
