"""`gantry notify`: whether whoever should be told can be told."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deployments.rollout_control.notifications import Message

TIMEOUT_SECONDS = 20.0
notify = typer.Typer(name="notify", no_args_is_help=True, help="Notifications to people.")


def register(app: typer.Typer) -> None:
    """Add the group to `app`."""
    app.add_typer(notify)


@notify.callback()
def _group() -> None:
    """Notifications to people."""


@notify.command()
def test() -> None:
    """Send one message to every target of GANTRY_NOTIFY_URLS now; a row each says whether it was taken.

    Exit 1 when there is no target, or one did not take it within 20 s.

    Example: gantry notify test
    """
    from deployments.rollout_control.notifications import Message
    from deployments.settings.connections import urls_of
    from deployments.settings.service import load_settings

    settings = load_settings()
    message = Message(f"Gantry {settings.plant_id}: test", "This is a test. Nothing happened, nothing is to be done.")
    urls = urls_of(settings.notify_urls)
    if not urls:
        typer.echo("GANTRY_NOTIFY_URLS is not set: nobody is told", err=True)
        raise typer.Exit(1)
    complaints = [_told(number, url, message) for number, url in enumerate(urls, 1)]
    if any(complaints):
        raise typer.Exit(1)


@notify.command("list")
def list_() -> None:
    """Show what each target, and the webhook, was told and did not take: of this machine's rollout, newest first.

    Exit 1 when a target has given up a notice, or its file cannot be read.

    Example: gantry notify list
    """
    from deployments.errors import UnreadableState
    from deployments.rollout_control.notifications import file_of
    from deployments.rollout_control.webhook import NAME, Deliveries
    from deployments.settings.connections import urls_of
    from deployments.settings.service import load_settings

    settings = load_settings()
    files = [] if settings.webhook_url is None else [("webhook", NAME)]
    files += [(_named(number, url), file_of(url)) for number, url in enumerate(urls_of(settings.notify_urls), 1)]
    if not files:
        typer.echo("neither GANTRY_NOTIFY_URLS nor GANTRY_WEBHOOK_URL is set: nobody is told", err=True)
        raise typer.Exit(1)
    is_well = True
    for name, file in files:
        try:
            found = Deliveries.read(settings.rollout_folder / file)
        except FileNotFoundError:
            print(f"{name}: no service has told it anything from {settings.rollout_folder}")
            continue
        except UnreadableState as error:
            typer.echo(f"{name}: {error}", err=True)
            is_well = False
            continue
        newest = max(found.delivered.values(), default=None)
        until = "" if newest is None else f", the newest of {newest:%Y-%m-%d %H:%M} UTC"
        print(f"{name}: {len(found.delivered):,} delivered{until}; {len(found.given_up):,} given up")
        for lost in reversed(found.given_up):
            print(f"  {lost.at:%Y-%m-%d %H:%M} UTC  {lost.key}: {lost.complaint}")
        is_well = is_well and not found.given_up
    if not is_well:
        raise typer.Exit(1)


def _named(number: int, url: str) -> str:
    """By number and kind: the rest of the URL is a secret."""
    return f"target {number} ({url.partition(':')[0]})"


def _told(number: int, url: str, message: Message) -> str | None:
    """What went wrong, None when it was taken, printed. A target that hangs keeps nobody: its thread dies with us."""
    from deployments.rollout_control.notifications import send

    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(send(url, message)), daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    complaint = answers[0] if answers else f"did not answer within {TIMEOUT_SECONDS:g} s"
    print(f"{_named(number, url)} {complaint or 'took it'}", file=sys.stderr if complaint else sys.stdout)
    return complaint
