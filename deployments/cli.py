"""The `gantry` command: assembled from `deployments.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from deployments.commands import demo, keys, notify, schedules, selftest, serve, settings, solve, train, validate
from deployments.commands.bench import speed
from deployments.commands.db import backup, schema, spool
from deployments.commands.rollout import operate
from env.errors import GantryError

COMMANDS = (
    demo,
    serve,
    solve,
    validate,
    selftest,
    train,
    speed,
    schema,
    spool,
    backup,
    operate,
    schedules,
    keys,
    notify,
    settings,
)

app = typer.Typer(
    name="gantry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Typer's own default takes what stands in square brackets for a style, and leaves it out.
    rich_markup_mode="markdown",
)
for command in COMMANDS:
    command.register(app)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"gantry {version('gantry')}")
        raise typer.Exit


@app.callback()
def gantry(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Production scheduling by a PPO policy: judged, durable, and rolled out with proof."""


def main() -> None:
    """Entry point. An expected failure is one line on stderr and exit code 1; so is a file that cannot be used."""
    try:
        app()
    except GantryError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename} cannot be used: {error.strerror}")


def _fail(message: str) -> None:
    print(f"gantry: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
