"""The `gantry` command: assembled from the rooms of `deployments.commands`."""

from __future__ import annotations

import sys

import typer

from deployments.commands import (
    archiving,
    auditing,
    benchmarking,
    database,
    demonstration,
    granting,
    importing,
    judging,
    keys,
    learning,
    pruning,
    rollout,
    serving,
    solving,
    spooling,
)
from env.errors import GantryError

ROOMS = (
    demonstration,
    serving,
    solving,
    judging,
    learning,
    benchmarking,
    database,
    importing,
    spooling,
    archiving,
    pruning,
    rollout,
    keys,
    auditing,
    granting,
)

app = typer.Typer(
    name="gantry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Production scheduling by a PPO policy: judged, durable, and rolled out with proof.",
)
for room in ROOMS:
    room.register(app)


def main() -> None:
    """Entry point. An expected failure is one line on stderr and exit code 1."""
    try:
        app()
    except GantryError as error:
        print(f"gantry: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
