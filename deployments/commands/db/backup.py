"""`gantry db check, backup, restore, verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.database import named_url
from deployments.commands.db.schema import database
from deployments.commands.terminal import counted, number_of
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.maintenance.backup import BackupComparison

Into = Annotated[str | None, typer.Option(help="URL of an empty database.")]
_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def register(_app: typer.Typer) -> None:
    """Add the commands to the group `db`."""
    for command in (check, backup, restore, verify):
        database.command()(command)


def check() -> None:
    """Look for what may lose data or time in GANTRY_DATABASE_URL; exit 1 when there is an error.

    Server settings, version, schema, character set, clock, indexes, and how each query is answered.

    Example: gantry db check
    """
    from deployments.persistence.maintenance.checks import Level
    from deployments.persistence.maintenance.checks import check as look

    findings = look(named_url())
    for finding in findings:
        print(f"{_MARKS[finding.level.value]}  {finding.subject}: {finding.message}")
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def backup(
    file: Annotated[Path | None, typer.Argument(help="New file; default: a name with the time in it.")] = None,
) -> None:
    """Write all tables into one file, as they are at one instant, while the service goes on.

    Decisions that still wait in a spool are not in it: see `gantry db spool status`.

    Example: gantry db backup gantry.backup
    """
    from deployments.persistence.maintenance.backup import back_up, row_counts

    path = file or Path(f"gantry-{utc_now():%Y%m%dT%H%M%SZ}.backup")
    url = named_url()
    with counted("backing up", sum(row_counts(url).values())) as on_row:
        counts = back_up(url, path, on_row)
    rows = f"{number_of(sum(counts.values()), 'row')}, {counts['decision']:,} of them decisions"
    print(f"{path}: {rows}, {path.stat().st_size:,} bytes")


def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A backup.")],
    into: Into = None,
) -> None:
    """Fill the empty database of GANTRY_DATABASE_URL (or --into) from a backup, and compare both.

    Example: gantry db restore gantry.backup --into mariadb+pymysql://gantry@localhost/gantry_new
    """
    from deployments.persistence.maintenance.backup import restore as fill

    url = named_url(into)
    with counted("restoring") as on_row:
        comparisons = fill(url, file, on_row)
    _show(file, comparisons)


def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A backup.")],
    into: Into = None,
) -> None:
    """Prove a backup: restore it into an empty database, by default a throwaway one, and compare rows and checksums.

    Example: gantry db verify gantry.backup
    """
    from deployments.persistence.maintenance.backup import verify as prove

    url = None if into is None else named_url(into)
    with counted("verifying") as on_row:
        comparisons = prove(file, on_row, url)
    _show(file, comparisons)


def _show(file: Path, comparisons: list[BackupComparison]) -> None:
    for comparison in comparisons:
        if comparison.wanted_rows or not comparison.is_equal:
            verdict = "equal" if comparison.is_equal else f"NOT EQUAL, found {comparison.found_rows:,}"
            print(f"{comparison.table}: {number_of(comparison.wanted_rows, 'row')}, {verdict}")
    if not all(comparison.is_equal for comparison in comparisons):
        print(f"{file}: the database is not what was backed up")
        raise typer.Exit(1)
    print(f"{file}: all tables equal, {number_of(sum(comparison.found_rows for comparison in comparisons), 'row')}")
