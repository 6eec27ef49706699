"""Tables of MariaDB cut into months, so that an old month goes at once instead of row by row.

Every unique key of a partitioned table must contain the column that it is cut by. A cut by `created_at` would
therefore give up that an id exists once, on which a decision that is written twice relies; so the ids are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Table

from deployments.persistence.id_order import first_id
from deployments.persistence.tables import DECISION, EVALUATION

PARTITIONED = (DECISION, EVALUATION)
"""The tables that grow with every request; the primary key of each begins with the decision's id."""

LATER = "later"
"""The last partition, for what no month was made for."""


def first_partitions(month: datetime, months: int) -> Iterator[str]:
    """The statements that cut both tables: what is before `month`, that many months from it on, and the rest."""
    for table in PARTITIONED:
        parts = [_part("earlier", month), *_months(month, months), _REST]
        yield f"ALTER TABLE {table.name} PARTITION BY RANGE COLUMNS ({_column(table)}) ({', '.join(parts)});"


def further_partitions(month: datetime, months: int) -> Iterator[str]:
    """The statements that add months to tables which are cut already; the first must follow on their last one."""
    for table in PARTITIONED:
        parts = [*_months(month, months), _REST]
        yield f"ALTER TABLE {table.name} REORGANIZE PARTITION {LATER} INTO ({', '.join(parts)});"


_REST = f"PARTITION {LATER} VALUES LESS THAN (MAXVALUE)"


def _months(month: datetime, months: int) -> Iterator[str]:
    for number in range(months):
        yield _part(f"m{_after(month, number):%Y_%m}", _after(month, number + 1))


def _part(name: str, end: datetime) -> str:
    return f"PARTITION {name} VALUES LESS THAN ('{first_id(end)}')"


def _after(month: datetime, months: int) -> datetime:
    count = 12 * month.year + month.month - 1 + months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def _column(table: Table) -> str:
    return next(iter(table.primary_key)).name
