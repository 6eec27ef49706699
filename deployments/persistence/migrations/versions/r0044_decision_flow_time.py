"""Column decision.flow_time_mean_seconds: mean time of the jobs from release to last end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")


def upgrade() -> None:
    op.add_column("decision", sa.Column("flow_time_mean_seconds", _float))


def downgrade() -> None:
    op.drop_column("decision", "flow_time_mean_seconds")
