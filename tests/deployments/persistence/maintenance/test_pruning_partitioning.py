"""Statements that cut tables into months, as text; `tests/system/test_partitioning.py` tries them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from deployments.persistence.maintenance.pruning import PARTITIONED, first_partitions, further_partitions
from deployments.persistence.tables import METADATA

GUIDE = Path(__file__).parents[4] / "docs" / "DURABILITY.md"
NOVEMBER = datetime(2025, 11, 1, tzinfo=UTC)


def _ends(statement: str) -> dict[str, datetime]:
    """When each partition ends, read from its bound as an id of version 7 would be."""
    found = re.findall(r"PARTITION (\w+) VALUES LESS THAN \('([\da-f-]+)'\)", statement)
    return {
        name: datetime.fromtimestamp(UUID(f"{bound}-7000-8000-000000000000").int / 2**80 / 1000, UTC).replace(
            microsecond=0
        )
        for name, bound in found
    }


def test_months_follow_each_other_across_the_year() -> None:
    """Each ends where the next begins, at midnight of UTC; what is before and after has a place, too."""
    statements = list(first_partitions(NOVEMBER, 3))
    assert [statement.split()[2] for statement in statements] == [table.name for table in PARTITIONED]
    assert _ends(statements[0]) == {
        "earlier": NOVEMBER,
        "m2025_11": datetime(2025, 12, 1, tzinfo=UTC),
        "m2025_12": datetime(2026, 1, 1, tzinfo=UTC),
        "m2026_01": datetime(2026, 2, 1, tzinfo=UTC),
    }
    assert statements[0].endswith(", PARTITION later VALUES LESS THAN (MAXVALUE));")


def test_further_months_are_taken_from_the_last_partition() -> None:
    """The rest is cut, and is the rest again."""
    statement = next(iter(further_partitions(datetime(2026, 2, 1, tzinfo=UTC), 1)))
    assert statement.startswith("ALTER TABLE decision REORGANIZE PARTITION later INTO (PARTITION m2026_02 ")
    assert _ends(statement) == {"m2026_02": datetime(2026, 3, 1, tzinfo=UTC)}


def test_guide_shows_what_is_printed() -> None:
    """The statement of the documentation is the command's, but for the line breaks."""
    shown = re.findall(r"```sql\n(.*?)\n```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert [" ".join(each.split()).replace("( ", "(") for each in shown] == [
        next(iter(first_partitions(datetime(2026, 1, 1, tzinfo=UTC), 1)))
    ]


def test_every_unique_key_has_the_column_of_the_cut() -> None:
    """Which MariaDB demands; an index that is added later must not be unique by anything else."""
    for table in PARTITIONED:
        (column, *_) = table.primary_key
        assert column.name == "decision_id"
        assert not [index for index in table.indexes if index.unique]
        assert len([each for each in table.constraints if each is not table.primary_key]) == 0
    assert {table.name for table in PARTITIONED} < {*METADATA.tables}
