"""`gantry db upgrade, grants, import, size, prune, partitions`: the schema, its users, what goes in and out."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.database import event_of, named_url, opened
from deployments.commands.terminal import counted, number_of
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.decisions.plant_repository import PlantRepository
    from deployments.persistence.maintenance.pruning import Pruned
    from deployments.plants.files import PlantFile
    from deployments.plants.sheets import Spelling
    from deployments.settings.service import Settings

Before = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Decisions made before this day (UTC) go.")]
Delete = Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only counted.")]


class Kind(StrEnum):
    """What a file holds."""

    MACHINES = "machines"
    CALENDAR = "calendar"
    JOBS = "jobs"


Document = dict[str, Any]
_CHUNK = 500
# A large table may take its time.
_TIMEOUT_SECONDS = 600

database = typer.Typer(no_args_is_help=True, help="The database behind the service.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    app.add_typer(database, name="db")


@database.callback()
def group() -> None:
    """The database behind the service."""


@database.command()
def upgrade() -> None:
    """Bring the schema of GANTRY_DATABASE_URL up to date.

    Example: GANTRY_DATABASE_URL=mariadb+pymysql://gantry@localhost/gantry gantry db upgrade
    """
    from deployments.persistence.database import current_revision
    from deployments.persistence.database import upgrade as migrate

    url = named_url()
    migrate(url)
    print(f"the schema is at {current_revision(url)}")


@database.command()
def grants(
    user: Annotated[str, typer.Option(help="The database user that the service connects as.")] = "gantry_service",
    host: Annotated[str, typer.Option(help="The host that it connects from; % for any.")] = "localhost",
    schema: Annotated[str, typer.Option(help="The schema; default: that of GANTRY_DATABASE_URL.")] = "",
) -> None:
    """Print the grants that the service needs, and no more: it can neither drop a table nor delete a decision.

    Migrations, imports, backups and keys need the owner of the schema. Print them anew after each upgrade.

    Example: gantry db grants --user gantry_service --host 10.0.0.% | mariadb gantry
    """
    from sqlalchemy import make_url

    from deployments.persistence.tables import service_grants
    from deployments.settings.service import load_settings

    name = schema or make_url(load_settings().database_url.get_secret_value()).database or ""
    for statement in service_grants(name, user, host):
        print(statement)


@database.command("import")
def import_(
    kind: Annotated[Kind, typer.Argument(help="What the file holds.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV, XLSX or JSON.")],
    plant: Annotated[str, typer.Option(help="Plant id; default: GANTRY_PLANT_ID.")] = "",
    replace: Annotated[bool, typer.Option(help="Forget what the plant had; else entries with the same id.")] = False,
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Numbers in cells are written 2,5.")] = False,
    day_first: Annotated[bool, typer.Option("--day-first", help="Dates in cells may be written 25.07.2026.")] = False,
) -> None:
    """Put machines, pending jobs or the calendar of a plant into the database: all of the file, or nothing.

    Every bad line is named, those with the same fault in one sentence. Of an XLSX file the sheet of that name counts,
    else the first. A calendar always takes the place of the one before. Templates to copy are
    in the folder `templates` of the package; requests without machines, or with an empty list of jobs,
    are scheduled with what was imported.

    Example: gantry db import jobs jobs.csv --plant penang --replace
    """
    from deployments.plants.sheets import InvalidPlantFile, Spelling, folded, is_table
    from deployments.settings.service import load_settings

    settings = load_settings()
    plant_id = plant or settings.plant_id
    try:
        if (decimal_comma or day_first) and not is_table(file):
            raise typer.BadParameter("--decimal-comma and --day-first are for cells: JSON has a spelling of its own")
        found = read_file(kind, file, settings, Spelling(decimal_comma=decimal_comma, day_first=day_first))
    except InvalidPlantFile as error:
        for sentence in folded(error.reasons):
            print(f"{file.name}, {sentence}", file=sys.stderr)
        raise
    for warning in found.warnings:
        print(f"{file.name}: {warning}", file=sys.stderr)
    documents = [model.model_dump(mode="json", by_alias=True) for model in found.models]
    store(kind, plant_id, documents, settings, replace=replace, origin=file.name)
    amount = "calendar" if kind is Kind.CALENDAR else f"{len(documents):,} {kind.value}"
    print(f"plant {plant_id}: {amount} imported from {file.name}")


@database.command()
def size() -> None:
    """Show rows and bytes of each table of GANTRY_DATABASE_URL, indexes included, and bytes for each decision.

    On MariaDB bytes come from the server's statistics: ANALYZE TABLE brings them up to date.

    Example: gantry db size
    """
    from deployments.persistence.maintenance.pruning import table_sizes

    with opened(statement_timeout_seconds=_TIMEOUT_SECONDS) as engine:
        sizes = table_sizes(engine)
    decisions = next(each.rows for each in sizes if each.table == "decision")
    print(f"{'table':<20} {'rows':>12} {'bytes':>16} {'for each decision':>18}")
    for each in sizes:
        print(f"{each.table:<20} {each.rows:>12,} {each.bytes:>16,} {_share(each.bytes, decisions):>18}")
    total = sum(each.bytes for each in sizes)
    print(f"{'all':<20} {sum(each.rows for each in sizes):>12,} {total:>16,} {_share(total, decisions):>18}")


@database.command()
def prune(before: Before, delete: Delete = False) -> None:
    """Count, and with --delete remove, decisions made before a day, with their evaluations and feedback.

    Kept, however old: the latest plan of a line, what an idempotency key stands for, what was rated or reported on
    since, and all evidence of a rollout that is not full yet. The audit trail is never touched. Run it as the owner
    of the schema, after a backup; it may be interrupted and repeated, and the service goes on meanwhile.

    Example: gantry db prune --before 2025-01-01
    """
    from deployments.persistence.maintenance.pruning import prune as remove
    from deployments.persistence.maintenance.pruning import survey

    instant, now = before.replace(tzinfo=UTC), utc_now()
    with opened(statement_timeout_seconds=_TIMEOUT_SECONDS) as engine:
        found = survey(engine, instant, now)
        print(f"before {instant.isoformat()}: {_described(found)} can go; {_kept(found)}")
        if not delete:
            print("nothing was removed: run it again with --delete, after a backup (`gantry db backup`)")
            return
        event = event_of("db.prune", f"decisions before {instant.isoformat()}", _described(found))
        with counted("pruning", found.decisions + found.kept) as on_decisions:
            removed = remove(engine, instant, now, event, on_decisions)
    print(f"removed: {_described(removed)}")


@database.command()
def partitions(
    first: Annotated[datetime, typer.Option(formats=["%Y-%m"], help="First month with a partition of its own.")],
    months: Annotated[int, typer.Option(min=1, max=240, help="How many months.")] = 24,
    further: Annotated[bool, typer.Option("--further", help="For tables that have partitions already.")] = False,
) -> None:
    """Print the statements that cut the tables of a MariaDB into months, so that an old month goes at once.

    Cutting copies both tables and keeps writers waiting: do it while they are small. What would be kept by
    `gantry db prune` goes with its month.

    Example: gantry db partitions --first 2026-01 | mariadb gantry
    """
    from deployments.persistence.maintenance.pruning import first_partitions, further_partitions

    statements = (further_partitions if further else first_partitions)(first.replace(tzinfo=UTC), months)
    for statement in statements:
        print(statement)


def read_file(kind: Kind, file: Path, settings: Settings, spelling: Spelling) -> PlantFile[Any]:
    """What the file holds; a calendar is one model. Raises `InvalidPlantFile`."""
    from deployments.plants.files import read_calendar, read_jobs, read_machines

    if kind is Kind.MACHINES:
        return read_machines(file, settings.max_machines, spelling)
    if kind is Kind.JOBS:
        return read_jobs(file, settings.max_jobs, spelling)
    return read_calendar(file, zone=settings.zone, now=utc_now(), spelling=spelling)


def store(
    kind: Kind, plant_id: str, documents: list[Document], settings: Settings, *, replace: bool, origin: str
) -> None:
    """Writes the documents, and the audit row that says so, in one transaction. Raises `DatabaseError`."""
    from deployments.local_cluster.service import prepare_database
    from deployments.persistence.database import create_engine
    from deployments.persistence.decisions.plant_repository import plant_work

    url = named_url(settings.database_url.get_secret_value())
    prepare_database(settings)
    engine = create_engine(url)
    try:
        with plant_work(engine) as plants:
            _write(plants, kind, plant_id, documents, replace=replace)
            how = "in place of all before" if replace or kind is Kind.CALENDAR else "beside others"
            detail = f"{len(documents):,} from {origin}, {how}"
            plants.record(event_of("db.import", f"{kind.value} of plant {plant_id}", detail))
    finally:
        engine.dispose()


def _write(plants: PlantRepository, kind: Kind, plant_id: str, documents: list[Document], *, replace: bool) -> None:
    if kind is Kind.CALENDAR:
        plants.store_calendar(plant_id, documents[0])
        return
    machines = kind is Kind.MACHINES
    if replace:
        (plants.clear_machines if machines else plants.clear_jobs)(plant_id)
    with counted("importing", len(documents)) as on_progress:
        for first in range(0, len(documents), _CHUNK):
            some = documents[first : first + _CHUNK]
            (plants.store_machines if machines else plants.store_jobs)(plant_id, some)
            on_progress(len(some))


def _described(pruned: Pruned) -> str:
    rows = number_of(pruned.decisions, "decision"), number_of(pruned.evaluations, "evaluation")
    return ", ".join((*rows, f"{number_of(pruned.feedback, 'row')} of feedback"))


def _kept(pruned: Pruned) -> str:
    plans = number_of(pruned.planned, "latest plan")
    reasons = f"{plans}, {pruned.claimed:,} with a key, {pruned.reported:,} reported on since"
    return f"older ones that are kept: {pruned.kept:,} ({reasons})"


def _share(count: int, decisions: int) -> str:
    return f"{count / decisions:,.0f}" if decisions else "-"
