"""Column evaluation.flow_time_mean_seconds: mean time of the jobs from release to last end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

_float = sa.Float().with_variant(mysql.DOUBLE(), "mariadb")


def upgrade() -> None:
    op.add_column("evaluation", sa.Column("flow_time_mean_seconds", _float))


def downgrade() -> None:
    op.drop_column("evaluation", "flow_time_mean_seconds")
