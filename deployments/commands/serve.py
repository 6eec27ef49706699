"""`gantry serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PORT = 8000
DEFAULT_GRACE_SECONDS = 15.0


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = DEFAULT_PORT,
    config: Annotated[Path | None, typer.Option(help="Serve configuration; default: the shipped one.")] = None,
    grace: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds for requests under way when the service is told to stop.")
    ] = DEFAULT_GRACE_SECONDS,
    first: Annotated[
        bool, typer.Option("--first", help="Refuse without a verified backup of the last day, as GANTRY_FIRST_START.")
    ] = False,
) -> None:
    """Run the service in the foreground; Ctrl-C or SIGTERM drains.

    It ends with 75 when Ray died under it, so that a supervisor starts it anew; with 1 when a person must look first.

    Example: gantry serve --port 8000
    """
    from deployments.commands.terminal import StepDisplay, plain_console
    from deployments.local_cluster.service import DEFAULT_CONFIG
    from deployments.local_cluster.service import serve as run
    from deployments.settings.service import load_settings, unread_variables

    # Before the settings are checked: what they lack may stand in one of these.
    for sentence in unread_variables():
        _say(f"warning: {sentence}")
    # Only a terminal is worth the memory of what draws on it.
    display = StepDisplay(_say, plain_console() if sys.stdout.isatty() else None)
    # By its variable, because the processes of the service find their settings in the environment.
    if first:
        os.environ["GANTRY_FIRST_START"] = "1"
    run(load_settings(), config or DEFAULT_CONFIG, port, display=display, grace_seconds=grace)


def _say(line: str) -> None:
    # Whoever waits for the readiness line reads a pipe, which would otherwise keep it back.
    print(line, flush=True)
