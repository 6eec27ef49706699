"""`gantry keys` and `gantry audit`: made once, shown once, ended for good, and written down."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments import cli
from deployments.access import KeyRing
from deployments.errors import InvalidRequest, Unauthenticated
from deployments.persistence.database import create_engine
from deployments.persistence.decisions.key_repository import DatabaseKeys
from deployments.persistence.errors import KeyRefused, SchemaMismatch

CREATE = ("keys", "create", "--client", "erp", "--scope", "schedule", "--scope", "read", "--plant", "penang")


@pytest.fixture(autouse=True)
def url(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that the commands find in their settings, migrated."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    url = f"sqlite:///{tmp_path / 'gantry.sqlite3'}"
    monkeypatch.setenv("GANTRY_DATABASE_URL", url)
    shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
    return url


def run(*words: str) -> str:
    """What a command prints to stdout."""
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def made(*options: str) -> dict[str, Any]:
    """A key that was just created."""
    document: dict[str, Any] = json.loads(run(*CREATE, *options, "--json"))
    return document


def listed() -> list[dict[str, Any]]:
    """All keys as the command lists them."""
    entries: list[dict[str, Any]] = json.loads(run("keys", "list", "--json"))["keys"]
    return entries


def ring(url: str) -> KeyRing:
    """The keys as a router finds them."""
    engine = create_engine(url)
    try:
        return KeyRing(DatabaseKeys(engine).known_keys().keys)
    finally:
        engine.dispose()


def test_created_key_is_alone_on_stdout_and_works(url: str) -> None:
    """What is printed can be piped into a secret store, and opens what was asked for."""
    printed = run(*CREATE)
    client = ring(url).authenticate(printed.strip())
    assert printed.count("\n") == 1
    assert (client.name, sorted(client.scopes), client.plants) == ("erp", ["read", "schedule"], frozenset({"penang"}))


def test_key_is_shown_once() -> None:
    """Neither the list nor the audit trail has it."""
    key = made()["key"]
    for words in (("keys", "list"), ("keys", "list", "--json"), ("audit",), ("audit", "--json")):
        shown = run(*words)
        assert key.split("_")[1] in shown
        assert key.split("_")[2] not in shown


def test_list_shows_state_and_rights() -> None:
    """One line for each key, with its client, scopes, plants and state."""
    run(*CREATE, "--name", "night run")
    (line,) = [line for line in run("keys", "list").splitlines() if "erp" in line]
    assert all(word in line for word in ("night run", "read schedule", "penang", "active", "never"))
    (entry,) = listed()
    assert (entry["state"], entry["last_used_at"], entry["revoked_at"]) == ("active", None, None)


def test_list_shows_names_as_they_were_given() -> None:
    """What stands in brackets or between colons is part of the name."""
    run(*CREATE, "--name", "[ops] night :key:")
    assert "[ops] night :key:" in run("keys", "list")


def test_key_expires_after_a_year_unless_told_otherwise() -> None:
    """A key that nobody thinks of any more ends by itself."""
    expires_at = datetime.fromisoformat(made()["expires_at"])
    assert timedelta(days=364) < expires_at - datetime.now(UTC) < timedelta(days=366)
    assert made("--days", "0")["expires_at"] is None


def test_revoked_key_opens_nothing(url: str) -> None:
    """The command says since when, and a second time says the same."""
    key = made()
    first, again = run("keys", "revoke", key["id"]), run("keys", "revoke", key["id"])
    assert first == again
    assert first.startswith(f"key {key['id']} of client erp is revoked since 20")
    with pytest.raises(Unauthenticated, match="not recognised"):
        ring(url).authenticate(key["key"])
    assert listed()[0]["state"] == "revoked"


def test_key_across_clients_is_a_reader(url: str) -> None:
    """It widens `read`, which must be there; a router knows it, and the list says so."""
    words = ("keys", "create", "--client", "bi", "--all-plants", "--all-clients", "--json")
    document = json.loads(run(*words, "--scope", "read"))
    assert document["scopes"] == ["read", "read_all_clients"]
    ours = made()["key"]
    assert ring(url).authenticate(document["key"]).reads is None
    assert ring(url).authenticate(ours).reads == "erp"
    assert "read read_all_clients" in run("keys", "list")
    with pytest.raises(InvalidRequest, match="--all-clients: must come with --scope read"):
        run(*words, "--scope", "schedule")


def test_rotation_gives_the_same_rights_and_keeps_the_old_key(url: str) -> None:
    """Both keys open until the old one is revoked."""
    old = made()
    new = json.loads(run("keys", "rotate", old["id"], "--json"))
    keys = ring(url)
    first, second = keys.authenticate(old["key"]), keys.authenticate(new["key"])
    assert (first.name, first.scopes, first.plants) == (second.name, second.scopes, second.plants)
    assert first.key_id != second.key_id


def test_rotation_may_end_the_old_key(url: str) -> None:
    """With an overlap of nothing the old key has ended when the new one is shown."""
    old = made()
    run("keys", "rotate", old["id"], "--overlap-hours", "0")
    with pytest.raises(Unauthenticated, match="was expired at"):
        ring(url).authenticate(old["key"])


def test_rotation_needs_a_free_place_and_an_active_key() -> None:
    """A client in the middle of a rotation, or with a key that has ended, is told what to do."""
    old = made()
    run("keys", "rotate", old["id"])
    with pytest.raises(KeyRefused, match="must have at most 2 active keys"):
        run("keys", "rotate", old["id"])
    run("keys", "revoke", old["id"])
    with pytest.raises(KeyRefused, match="must be active to be rotated, is revoked: create a new one"):
        run("keys", "rotate", old["id"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--plant: must name a plant, once for each, or --all-plants must be given; both were absent"),
        (("--plant", "penang", "--all-plants"), "--plant: must not be given together with --all-plants"),
    ],
)
def test_plants_must_be_decided(options: tuple[str, ...], message: str) -> None:
    """Nobody gets every plant by forgetting to name one."""
    with pytest.raises(InvalidRequest, match=message):
        run("keys", "create", "--client", "erp", "--scope", "read", *options)


@pytest.mark.parametrize(
    "command",
    [("keys", "list"), ("audit",), ("db", "size"), ("db", "prune", "--before", "2026-01-01"), ("rollout", "replay")],
)
def test_nothing_to_read_leaves_nothing_behind(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before the first start there is no database: said so, with what makes one, and no empty file is left."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", f"sqlite:///{tmp_path / 'none.sqlite3'}")
    with pytest.raises(
        SchemaMismatch, match=r"there is no database .*none\.sqlite3 yet: `gantry serve` and `gantry db"
    ):
        run(*command)
    assert not list(tmp_path.glob("none.sqlite3*"))


@pytest.mark.parametrize("client", ["", " erp", "e\nrp", "e" * 129])
def test_names_are_printable(client: str) -> None:
    """A name that would deface a list is refused."""
    with pytest.raises(InvalidRequest, match="--client: must be 1 to 128 printable characters"):
        run("keys", "create", "--client", client, "--scope", "read", "--all-plants")


@pytest.mark.parametrize("words", [CREATE, ("keys", "list"), ("audit",), ("db", "backup", "x"), ("db", "size")])
def test_schema_must_be_current(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was never migrated is left alone."""
    (tmp_path / "other.sqlite3").touch()
    monkeypatch.setenv("GANTRY_DATABASE_URL", f"sqlite:///{tmp_path / 'other.sqlite3'}")
    with pytest.raises(SchemaMismatch, match="run `gantry db upgrade`"):
        run(*words)


def test_every_change_is_in_the_audit_trail() -> None:
    """Who did what to which key, newest first; a refused change leaves no row."""
    old = made()
    new = json.loads(run("keys", "rotate", old["id"], "--json"))
    with pytest.raises(KeyRefused):
        run(*CREATE)
    run("keys", "revoke", old["id"])
    lines = run("audit").splitlines()
    acts = [line.split(": ", 1)[1] for line in lines]
    assert acts == [
        f"keys.revoke {old['id']}",
        f"keys.rotate {old['id']} to {new['id']}",
        f"keys.create key {old['id']} of client erp: read, schedule in penang",
    ]
    assert all(" cli:" in line for line in lines)
    assert json.loads(run("audit", "--json", "--limit", "1"))["action"] == "keys.revoke"
