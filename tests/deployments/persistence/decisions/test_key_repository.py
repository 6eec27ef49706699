"""API keys in the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from deployments.access import KeyRing, Scope
from deployments.access.key_ring import NewKey, new_key
from deployments.persistence.decisions.key_repository import DatabaseKeys, KeyEntry, key_work
from deployments.persistence.errors import KeyRefused

NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)


def entry_of(key: NewKey, **changes: Any) -> KeyEntry:
    """A key of the ERP that never expires."""
    entry = KeyEntry(
        key_id=key.key_id,
        client="erp",
        key_name="erp night run",
        scopes=frozenset({Scope.SCHEDULE, Scope.READ}),
        plants=frozenset({"penang", "Kuala Lumpur, Süd"}),
        created_at=NOW,
        created_by="cli:anna",
        expires_at=None,
        revoked_at=None,
        last_used_at=None,
    )
    return replace(entry, **changes)


def insert(engine: Engine, **changes: Any) -> tuple[NewKey, KeyEntry]:
    """A new key of the ERP, stored."""
    key = new_key()
    entry = entry_of(key, **changes)
    with key_work(engine) as keys:
        keys.insert(entry, key.digest)
    return key, entry


def test_entry_comes_back_as_it_was_stored(engine: Engine) -> None:
    """All that may be shown survives, plants with commas included; None means all of them."""
    _, bound = insert(engine)
    _, free = insert(engine, plants=None, scopes=frozenset(Scope), expires_at=NOW + timedelta(days=1))
    with key_work(engine) as keys:
        assert {entry.key_id: entry for entry in keys.entries()} == {bound.key_id: bound, free.key_id: free}
        assert keys.entry(free.key_id) == free
        assert keys.entries("mes") == []


def test_database_holds_no_key(engine: Engine) -> None:
    """Neither the key nor its secret part stands in any column."""
    key, _ = insert(engine)
    with engine.connect() as connection:
        row = str(connection.execute(text("SELECT * FROM api_key")).one())
    assert key.digest.hex() in row
    assert key.text.split("_")[2] not in row


def test_router_finds_the_client_of_a_stored_key(engine: Engine) -> None:
    """What the repository knows, a key ring opens with."""
    key, entry = insert(engine)
    known = DatabaseKeys(engine).known_keys()
    client = KeyRing(known.keys).authenticate(key.text)
    assert (client.name, client.scopes, client.plants) == ("erp", entry.scopes, entry.plants)
    assert (client.key_id, client.actor) == (key.key_id, "erp night run")


def test_client_has_at_most_two_active_keys(engine: Engine) -> None:
    """The third is refused with the names of the two; another client is not concerned."""
    (first, _), (second, _) = insert(engine), insert(engine)
    with pytest.raises(KeyRefused) as caught:
        insert(engine)
    assert first.key_id in str(caught.value)
    assert second.key_id in str(caught.value)
    assert "must have at most 2 active keys" in str(caught.value)
    insert(engine, client="mes")


def test_revoked_key_makes_room(engine: Engine) -> None:
    """After one of two is revoked there is room for a new one, time after time."""
    for _ in range(2):
        insert(engine)
    for _ in range(3):
        with key_work(engine) as keys:
            active = next(entry for entry in keys.entries("erp") if entry.is_active(NOW))
            keys.revoke(active.key_id, NOW)
        insert(engine)


def test_expired_key_makes_room(engine: Engine) -> None:
    """A key that has ended does not count."""
    for _ in range(2):
        insert(engine, expires_at=NOW + timedelta(hours=1))
    insert(engine, created_at=NOW + timedelta(hours=1))


def test_revoked_key_is_unknown_to_routers_at_once(engine: Engine) -> None:
    """The next reading does not have it, and the row stays, with the instant."""
    key, _ = insert(engine)
    with key_work(engine) as keys:
        first = keys.revoke(key.key_id, NOW)
        again = keys.revoke(key.key_id, NOW + timedelta(days=1))
    assert first.revoked_at == again.revoked_at == NOW
    assert DatabaseKeys(engine).known_keys().keys == ()
    with key_work(engine) as keys:
        assert keys.entries() == [first]


def test_unknown_key_cannot_be_revoked(engine: Engine) -> None:
    """The message says where ids come from."""
    with (
        pytest.raises(KeyRefused, match="must be one that `gantry keys list` shows, was 'abc'"),
        key_work(engine) as keys,
    ):
        keys.revoke("abc", NOW)


def test_routers_know_a_key_for_a_while_after_its_end(engine: Engine) -> None:
    """They can tell a holder that his key is expired, but not for ever."""
    insert(engine, expires_at=NOW)
    with key_work(engine) as keys:
        assert len(keys.known_keys(NOW + timedelta(days=29)).keys) == 1
        assert keys.known_keys(NOW + timedelta(days=31)).keys == ()


def test_admin_key_that_ever_was_is_remembered(engine: Engine) -> None:
    """A revoked admin key still keeps the bootstrap shut; other keys do not."""
    insert(engine)
    assert not DatabaseKeys(engine).known_keys().had_admin
    key, _ = insert(engine, client="root", scopes=frozenset({Scope.ADMIN}))
    with key_work(engine) as keys:
        keys.revoke(key.key_id, NOW)
    assert DatabaseKeys(engine).known_keys().had_admin


def test_expiry_only_ever_comes_nearer(engine: Engine) -> None:
    """A rotation with an overlap does not prolong a key that ends earlier."""
    near, _ = insert(engine, expires_at=NOW + timedelta(hours=1))
    far, _ = insert(engine)
    with key_work(engine) as keys:
        assert keys.expire(near.key_id, NOW + timedelta(days=1)).expires_at == NOW + timedelta(hours=1)
        assert keys.expire(far.key_id, NOW + timedelta(days=1)).expires_at == NOW + timedelta(days=1)


def test_last_use_only_moves_forward(engine: Engine) -> None:
    """Routers whose clocks differ, or that were away, do not turn it back."""
    key, _ = insert(engine)
    store = DatabaseKeys(engine)
    for seconds in (10, 5):
        store.note_uses({key.key_id: NOW + timedelta(seconds=seconds)})
    with key_work(engine) as keys:
        assert keys.entry(key.key_id).last_used_at == NOW + timedelta(seconds=10)
