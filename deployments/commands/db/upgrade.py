"""`gantry db`."""

from __future__ import annotations

import typer

from deployments.commands.database import named_url

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
