"""Column evaluation.pairing: the jobs, the kinds of lists and the effort by which stored rows are compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

_json = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb")


def upgrade() -> None:
    op.add_column("evaluation", sa.Column("pairing", _json))


def downgrade() -> None:
    op.drop_column("evaluation", "pairing")
