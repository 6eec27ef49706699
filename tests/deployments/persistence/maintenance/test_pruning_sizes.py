"""How much room each table takes."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine

from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.maintenance.pruning import table_sizes
from deployments.persistence.tables import METADATA
from tests.deployments.persistence.payloads import decision


def test_sizes_are_those_of_the_file(engine: Engine) -> None:
    """Every table is there, the largest first; together they are the file but for its own catalogue."""
    payloads = [decision(number, request=os.urandom(20_000)).to_bytes() for number in range(1, 11)]
    DecisionWriter(engine).write(payloads)
    sizes = table_sizes(engine)
    assert {size.table for size in sizes} == {*METADATA.tables}
    assert (sizes[0].table, sizes[0].rows) == ("decision", 10)
    assert 200_000 <= sizes[0].bytes <= 300_000
    total = Path(engine.url.database or "").stat().st_size
    assert 0.8 * total <= sum(size.bytes for size in sizes) < total
