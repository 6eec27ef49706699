"""`python -m tests.system.explaining`: a private MariaDB with a million decisions, and how it answers each query.

Prints plan and time of every query of the API, and of those that keep watch; exit code 1 when one reads a table whole
or sorts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Connection

from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.maintenance.pruning import first_partitions
from deployments.persistence.maintenance.query_plans import API_QUERIES, ApiQuery, QueryPlan, plan_of, typical_values
from tests.system.filling import FIRST_MONTH, fill, total_rows
from tests.system.mariadb import private_mariadb

# Nothing here need survive a crash, and a plant's server has more memory than a test's.
OPTIONS = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
WIDE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One query: its plan, and how long its answer took, fetched whole, the second time."""

    query: ApiQuery
    plan: QueryPlan
    rows: int
    milliseconds: float

    @property
    def is_well(self) -> bool:
        """Whether it follows an index and needs no sorting."""
        return self.plan.follows_index and not self.plan.sorts


def explain(decisions: int, months: int = 0, on_rows: Callable[[int], None] = lambda rows: None) -> list[Explained]:
    """Every query on a database of that size, cut into so many months (0: in one piece)."""
    with private_mariadb(OPTIONS) as server, server.schema() as url:
        upgrade(url)
        engine = create_engine(url, statement_timeout_seconds=600)
        try:
            with engine.begin() as connection:
                for statement in first_partitions(FIRST_MONTH, months) if months else ():
                    connection.exec_driver_sql(statement)
            fill(engine, decisions, on_rows)
            with engine.connect() as connection:
                return [explained(connection, query) for query in API_QUERIES]
        finally:
            engine.dispose()


def explained(connection: Connection, query: ApiQuery) -> Explained:
    """How one query of the busiest client is answered now."""
    values = typical_values(connection)
    plan = plan_of(connection, query, values)
    for _ in range(2):
        started = time.perf_counter()
        rows = len(connection.execute(query.statement(values)).all())
        milliseconds = 1000 * (time.perf_counter() - started)
    return Explained(query=query, plan=plan, rows=rows, milliseconds=milliseconds)


def main() -> int:
    """Fill, explain, print."""
    decisions, months = _options()
    total = total_rows(decisions)
    print(f"{decisions:,} decisions, {total:,} rows in all", flush=True)
    with _progress(total) as on_rows:
        found = explain(decisions, months, on_rows)
    # Wide enough for the plans wherever it is written to.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(_table(found))
    bad = sum(not each.is_well for each in found)
    print(f"{len(found)} queries, {bad} of them read a table whole or sort")
    return 1 if bad else 0


def _options() -> tuple[int, int]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.explaining",
        description="How MariaDB answers each query of the API; exit code 1 when one reads a table whole or sorts.",
        epilog="Example: python -m tests.system.explaining --decisions 300000. "
        "With few rows an optimiser rightly reads a table whole, or sorts.",
    )
    parser.add_argument("--decisions", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--months", type=int, default=0, help="cut into so many months, from January 2024 on")
    options = parser.parse_args()
    if options.decisions < 1:
        parser.error(f"--decisions must be at least 1, was {options.decisions}")
    return options.decisions, options.months


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere a line for each tenth."""
    console, done = Console(stderr=True), 0
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("filling", total=total)

        def on_rows(rows: int) -> None:
            nonlocal done
            bar.advance(task, rows)
            if not console.is_terminal and 10 * (done + rows) // total > 10 * done // total:
                print(f"{done + rows:>10,} rows", flush=True)
            done += rows

        yield on_rows


def _table(found: list[Explained]) -> Table:
    table = Table(box=None)
    table.add_column("query")
    table.add_column("ms", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("plan", overflow="fold")
    for each in found:
        words = each.plan.words if each.is_well else f"READS A TABLE WHOLE OR SORTS: {each.plan.words}"
        table.add_row(each.query.name, f"{each.milliseconds:.1f}", f"{each.rows:,}", words)
    return table


if __name__ == "__main__":
    sys.exit(main())
