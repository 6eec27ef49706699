"""`gantry rollout`."""

from __future__ import annotations

import typer

from deployments.commands.rollout.operate import pause, promote, report, resume, rollback, status
from deployments.commands.rollout.simulate import simulate

rollout = typer.Typer(no_args_is_help=True, help="From shadow to full production.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    app.add_typer(rollout, name="rollout")


@rollout.callback()
def group() -> None:
    """From shadow to full production."""


for command in (status, promote, pause, resume, rollback, report, simulate):
    rollout.command()(command)
