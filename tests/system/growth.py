"""`python -m tests.system.growth`: how much room a decision takes in SQLite and in MariaDB, and how fast old ones go.

The service schedules the shipped example of 170 jobs many times over; what it stored is moved into a private MariaDB by
a backup, measured in both, and pruned in both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from deployments.commands.database import event_of
from deployments.commands.demo import EXAMPLE
from deployments.persistence.database import create_engine
from deployments.persistence.maintenance.backup import back_up, restore
from deployments.persistence.maintenance.pruning import MIN_AGE, TableSize, prune, table_sizes
from deployments.persistence.tables import METADATA
from tests.system.mariadb import private_mariadb
from tests.system.serving import Service, eventually, running_service

_SETTLING_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """One database with so many decisions: its tables, and how many decisions went in a second."""

    name: str
    sizes: list[TableSize]
    pruned_per_second: float


def measure(decisions: int, on_decision: Callable[[], None]) -> list[Grown]:
    """SQLite, and MariaDB with the same rows."""
    with tempfile.TemporaryDirectory(prefix="gantry-growth-") as name:
        folder = Path(name)
        with running_service(folder) as service:
            database = f"sqlite:///{service.database}"
            _schedule(service, database, decisions, on_decision)
        back_up(database, folder / "all.backup", lambda: None)
        with private_mariadb() as server, server.schema() as url:
            restore(url, folder / "all.backup", lambda: None)
            return [_grown("SQLite", database), _grown("MariaDB", url)]


def _schedule(service: Service, database: str, decisions: int, on_decision: Callable[[], None]) -> None:
    plant = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    with service.client() as client:
        for number in range(decisions):
            client.post("/schedule", json=plant | {"request_id": f"growth-{number}"}).raise_for_status()
            on_decision()
    engine = create_engine(database)

    def has_all() -> bool:
        rows = {size.table: size.rows for size in table_sizes(engine)}
        return rows["decision"] == decisions and rows["evaluation"] == 2 * decisions

    assert eventually(has_all, _SETTLING_SECONDS), "every decision and what both arms made of it must be stored"
    engine.dispose()


def _grown(name: str, url: str) -> Grown:
    engine = create_engine(url)
    if engine.dialect.name != "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ANALYZE TABLE {', '.join(METADATA.tables)}").all()
    sizes = table_sizes(engine)
    found = Grown(name=name, sizes=sizes, pruned_per_second=_pruned_per_second(engine))
    engine.dispose()
    return found


def _pruned_per_second(engine: Engine) -> float:
    now, started = datetime.now(UTC), time.perf_counter()
    event = event_of("db.prune", "everything")
    removed = prune(engine, now, now + MIN_AGE + timedelta(seconds=1), event, lambda count: None)
    return removed.decisions / (time.perf_counter() - started)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.growth",
        description="Bytes for each decision of the shipped example in SQLite and MariaDB, and how fast old ones go.",
        epilog="Example: python -m tests.system.growth --decisions 200",
    )
    parser.add_argument("--decisions", type=int, default=500, help="default: %(default)s")
    decisions = parser.parse_args().decisions
    if decisions < 1:
        parser.error(f"--decisions must be at least 1, was {decisions}")
    with _progress(decisions) as on_decision:
        found = measure(decisions, on_decision)
    _print(found, decisions)
    return 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scheduling", total=total)
        yield lambda: bar.advance(task)


def _print(found: list[Grown], decisions: int) -> None:
    table = Table(box=None, title=f"bytes for each of {decisions:,} decisions with 170 jobs", title_justify="left")
    for title in ("table", "rows", *(grown.name for grown in found)):
        table.add_column(title, justify="left" if title == "table" else "right")
    by_name = [{size.table: size for size in grown.sizes} for grown in found]
    for size in found[0].sizes:
        if size.rows:
            shares = (f"{each[size.table].bytes / decisions:,.0f}" for each in by_name)
            table.add_row(size.table, f"{size.rows:,}", *shares)
    totals = (f"{sum(size.bytes for size in grown.sizes) / decisions:,.0f}" for grown in found)
    table.add_row("all", "", *totals)
    Console(width=100).print(table)
    for grown in found:
        print(f"{grown.name}: {grown.pruned_per_second:,.0f} decisions pruned a second")


if __name__ == "__main__":
    sys.exit(main())
