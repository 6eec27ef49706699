"""`gantry db upgrade` and `gantry db grants`: the schema, and the rights of the service's own database user in it."""

from __future__ import annotations

from typing import Annotated

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

    from deployments.persistence.maintenance.grants import service_grants
    from deployments.settings.service import load_settings

    name = schema or make_url(load_settings().database_url.get_secret_value()).database or ""
    for statement in service_grants(name, user, host):
        print(statement)
