"""Column feedback.author: whose word it is, by the name of the key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

_name = sa.String(255)


def upgrade() -> None:
    op.add_column("feedback", sa.Column("author", _name))


def downgrade() -> None:
    op.drop_column("feedback", "author")
