"""`gantry keys`, `gantry audit`: who may do what, made and ended beside the service, and who did what."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.access.key_ring import Scope
from deployments.commands.database import actor, event_of, opened
from deployments.commands.terminal import plain_console
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.access.key_ring import NewKey
    from deployments.persistence.decisions.key_repository import KeyEntry, KeyRepository
    from deployments.persistence.decisions.records import AuditEvent

keys = typer.Typer(no_args_is_help=True, help="API keys: who may call, for what and until when.")

DEFAULT_DAYS = 365
_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_KEY_ID = Annotated[str, typer.Argument(help="The id of the key, as `gantry keys list` shows it.")]
_DAYS = Annotated[int, typer.Option(min=0, help="Days until the key expires; 0: never.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(keys, name="keys")
    app.command()(audit)


@keys.callback()
def group() -> None:
    """API keys: who may call, for what and until when."""


@keys.command()
def create(
    client: Annotated[str, typer.Option(help="Whose key it is; decisions belong to this name.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
    name: Annotated[str, typer.Option(help="What audit rows call it; default: client and id.")] = "",
    plant: Annotated[list[str] | None, typer.Option(help="A plant it may name and see; several times.")] = None,
    all_plants: Annotated[bool, typer.Option("--all-plants", help="Every plant, present and future.")] = False,
    all_clients: Annotated[
        bool, typer.Option("--all-clients", help="With --scope read: the decisions of every client, for reports.")
    ] = False,
    days: _DAYS = DEFAULT_DAYS,
    as_json: _JSON = False,
) -> None:
    """Make a key and show it once: only its digest is stored. A client has at most two active keys.

    Example: gantry keys create --client erp --scope schedule --scope read --plant penang
    """
    from deployments.access.key_ring import new_key
    from deployments.errors import InvalidRequest
    from deployments.persistence.decisions.key_repository import KeyEntry

    if not plant and not all_plants:
        message = "must name a plant, once for each, or --all-plants must be given; both were absent"
        raise InvalidRequest((("--plant", message),))
    if plant and all_plants:
        raise InvalidRequest((("--plant", "must not be given together with --all-plants, which has every plant"),))
    if all_clients:
        scope = [*scope, Scope.READ_ALL_CLIENTS]
    if Scope.READ_ALL_CLIENTS in scope and Scope.READ not in scope:
        raise InvalidRequest((("--all-clients", "must come with --scope read, which it widens"),))
    made, now = new_key(), utc_now()
    entry = KeyEntry(
        key_id=made.key_id,
        client=_named("--client", client),
        key_name=_named("--name", name or f"{client} {made.key_id}"),
        scopes=frozenset(scope),
        plants=None if all_plants else frozenset(_named("--plant", each) for each in plant or ()),
        created_at=now,
        created_by=actor(),
        expires_at=now + timedelta(days=days) if days else None,
        revoked_at=None,
        last_used_at=None,
    )
    with _audited("keys.create", _described(entry)) as stored:
        stored.insert(entry, made.digest)
    _show_new(entry, made, as_json)


@keys.command(name="list")
def list_(
    client: Annotated[str | None, typer.Option(help="Only keys of this client.")] = None, as_json: _JSON = False
) -> None:
    """Show all keys that ever were: whose, for what, until when, last used. Never the keys themselves.

    Example: gantry keys list --client erp
    """
    from deployments.persistence.decisions.key_repository import key_work

    with opened() as engine, key_work(engine) as stored:
        entries = stored.entries(client)
    if as_json:
        print(json.dumps({"keys": [_document(entry) for entry in entries]}, indent=2))
    else:
        _show_table(entries)


@keys.command()
def revoke(key_id: _KEY_ID, as_json: _JSON = False) -> None:
    """End a key. Routers refuse it within five seconds while the database is up, after it at the latest.

    Example: gantry keys revoke 0123456789ab
    """
    with _audited("keys.revoke", key_id) as stored:
        entry = stored.revoke(key_id, utc_now())
    _show(entry, as_json, f"key {entry.key_id} of client {entry.client} is revoked since {_instant(entry.revoked_at)}")


@keys.command()
def rotate(
    key_id: _KEY_ID,
    overlap_hours: Annotated[
        float | None, typer.Option(min=0, help="Hours until the old key ends; default: when it is revoked.")
    ] = None,
    days: _DAYS = DEFAULT_DAYS,
    as_json: _JSON = False,
) -> None:
    """Make a second key with the same rights, so that its holder can change over without an interruption.

    Example: gantry keys rotate 0123456789ab --overlap-hours 24
    """
    from dataclasses import replace

    from deployments.access.key_ring import new_key

    made, now = new_key(), utc_now()
    with _audited("keys.rotate", f"{key_id} to {made.key_id}") as stored:
        old = stored.entry(key_id)
        _require_active(old, now)
        entry = replace(
            old,
            key_id=made.key_id,
            key_name=f"{old.client} {made.key_id}" if old.key_name == f"{old.client} {old.key_id}" else old.key_name,
            created_at=now,
            created_by=actor(),
            expires_at=now + timedelta(days=days) if days else None,
            last_used_at=None,
        )
        stored.insert(entry, made.digest)
        if overlap_hours is not None:
            old = stored.expire(key_id, now + timedelta(hours=overlap_hours))
    _show_new(entry, made, as_json)
    if not as_json:
        until = f"until {_instant(old.expires_at)}" if old.expires_at else f"until `gantry keys revoke {key_id}`"
        print(f"the old key {key_id} works {until}")


def audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest rows.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show who operated the service or changed its keys, newest first: one line for each act.

    Example: gantry audit --limit 20
    """
    from deployments.persistence.decisions.audit_repository import audit_work

    with opened() as engine, audit_work(engine) as trail:
        events = trail.page(limit=limit)
    for event in events:
        print(json.dumps(event.to_fields()) if as_json else _audit_line(event))


def _require_active(entry: KeyEntry, now: datetime) -> None:
    from deployments.persistence.errors import KeyRefused

    if not entry.is_active(now):
        raise KeyRefused(f"key {entry.key_id} must be active to be rotated, is {_state(entry, now)}: create a new one")


@contextmanager
def _audited(action: str, target: str) -> Iterator[KeyRepository]:
    """The stored keys in one transaction with the row that says who changed them."""
    from deployments.persistence.decisions.audit_repository import AuditRepository
    from deployments.persistence.decisions.key_repository import key_work

    with opened() as engine, key_work(engine) as stored:
        yield stored
        AuditRepository(stored.connection).insert([event_of(action, target)])


def _named(option: str, value: str) -> str:
    from deployments.errors import InvalidRequest

    if not 1 <= len(value) <= 128 or not value.isprintable() or value != value.strip():
        raise InvalidRequest(((option, f"must be 1 to 128 printable characters, was {value[:130]!r}"),))
    return value


def _show_new(entry: KeyEntry, made: NewKey, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_document(entry) | {"key": made.text}, indent=2))
        return
    # Only the key is on stdout, so that it can go straight into a secret store.
    print(f"{_described(entry)}; expires {_instant(entry.expires_at)}", file=sys.stderr)
    print("this is the only time that the key is shown:", file=sys.stderr, flush=True)
    print(made.text, flush=True)


def _show(entry: KeyEntry, as_json: bool, sentence: str) -> None:
    print(json.dumps(_document(entry), indent=2) if as_json else sentence)


def _show_table(entries: list[KeyEntry]) -> None:
    from rich.table import Table

    now, table = utc_now(), Table(box=None)
    for title in ("id", "client", "name", "scopes", "plants", "state", "created", "expires", "last used"):
        table.add_column(title, overflow="fold")
    for entry in entries:
        table.add_row(
            entry.key_id,
            entry.client,
            entry.key_name,
            " ".join(sorted(entry.scopes)),
            _plants(entry),
            _state(entry, now),
            _instant(entry.created_at),
            _instant(entry.expires_at),
            _instant(entry.last_used_at),
        )
    plain_console(file_width=240).print(table)


def _document(entry: KeyEntry) -> dict[str, Any]:
    def instant(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "id": entry.key_id,
        "client": entry.client,
        "name": entry.key_name,
        "scopes": sorted(entry.scopes),
        "plants": None if entry.plants is None else sorted(entry.plants),
        "state": _state(entry, utc_now()),
        "created_at": instant(entry.created_at),
        "created_by": entry.created_by,
        "expires_at": instant(entry.expires_at),
        "revoked_at": instant(entry.revoked_at),
        "last_used_at": instant(entry.last_used_at),
    }


def _described(entry: KeyEntry) -> str:
    scopes = ", ".join(sorted(entry.scopes))
    return f"key {entry.key_id} of client {entry.client}: {scopes} in {_plants(entry)}"


def _plants(entry: KeyEntry) -> str:
    return "all plants" if entry.plants is None else ", ".join(sorted(entry.plants))


def _state(entry: KeyEntry, now: datetime) -> str:
    if entry.revoked_at is not None:
        return "revoked"
    return "active" if entry.is_active(now) else "expired"


def _instant(value: datetime | None) -> str:
    return "never" if value is None else value.isoformat(timespec="seconds")


def _audit_line(event: AuditEvent) -> str:
    when = event.occurred_at.isoformat(timespec="seconds")
    status = "" if event.status is None else f" -> {event.status}"
    return f"{when} {event.actor}: {event.action} {event.target}{status} {event.detail or ''}".rstrip()
