"""`gantry db upgrade, grants, size, prune, partitions`: the schema, who may do what in it, and how it is kept small."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.database import event_of, named_url, opened
from deployments.commands.terminal import counted, number_of
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.maintenance.pruning import Pruned

Before = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Decisions made before this day (UTC) go.")]
Delete = Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only counted.")]


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


def _described(pruned: Pruned) -> str:
    rows = number_of(pruned.decisions, "decision"), number_of(pruned.evaluations, "evaluation")
    return ", ".join((*rows, f"{number_of(pruned.feedback, 'row')} of feedback"))


def _kept(pruned: Pruned) -> str:
    plans = number_of(pruned.planned, "latest plan")
    reasons = f"{plans}, {pruned.claimed:,} with a key, {pruned.reported:,} reported on since"
    return f"older ones that are kept: {pruned.kept:,} ({reasons})"


def _share(count: int, decisions: int) -> str:
    return f"{count / decisions:,.0f}" if decisions else "-"
