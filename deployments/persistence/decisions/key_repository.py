"""API keys: who may call, for what and until when. The keys themselves are never here, only their digests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from deployments.access.key_keeper import KnownKeys
from deployments.access.key_ring import Client, Scope, StoredKey
from deployments.persistence.database import address_of
from deployments.persistence.errors import KeyRefused
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import API_KEY
from deployments.runtime.clock import utc_now

ACTIVE_KEYS_OF_CLIENT = 2
_SHOWN_AFTER_EXPIRY = timedelta(days=30)
_SEEN = tuple(column for column in API_KEY.c if column.name not in {"digest", "slot"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """What may be shown of a stored key. `plants` None: all of them."""

    key_id: str
    client: str
    key_name: str
    scopes: frozenset[Scope]
    plants: frozenset[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_active(self, now: datetime) -> bool:
        """Whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@contextmanager
def key_work(engine: Engine) -> Iterator[KeyRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield KeyRepository(connection)


class KeyRepository:
    """The stored keys within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def insert(self, entry: KeyEntry, digest: bytes) -> None:
        """Stores a new key. Raises `KeyRefused` when its client has two active keys already."""
        self._free_slots(entry.client, entry.created_at)
        row = {column.name: getattr(entry, column.name) for column in _SEEN}
        row |= {"scopes": _json(entry.scopes), "plants": None if entry.plants is None else _json(entry.plants)}
        taken = set(self.connection.execute(select(API_KEY.c.slot).where(_holds_slot(entry.client))).scalars())
        free = [slot for slot in range(ACTIVE_KEYS_OF_CLIENT) if slot not in taken]
        if not free:
            raise self._full(entry.client)
        try:
            self.connection.execute(insert(API_KEY).values(**row, digest=digest.hex(), slot=free[0]))
        except IntegrityError as error:
            # Somebody else has taken the slot since it was seen to be free.
            raise self._full(entry.client) from error

    def entries(self, client: str | None = None) -> list[KeyEntry]:
        """All keys that ever were, by client and age."""
        query = select(*_SEEN).order_by(API_KEY.c.client, API_KEY.c.created_at, API_KEY.c.key_id)
        if client is not None:
            query = query.where(API_KEY.c.client == client)
        return [_entry(row) for row in self.connection.execute(query).mappings()]

    def entry(self, key_id: str) -> KeyEntry:
        """One key. Raises `KeyRefused` when there is none of that id."""
        row = self.connection.execute(select(*_SEEN).where(API_KEY.c.key_id == key_id)).mappings().one_or_none()
        if row is None:
            raise KeyRefused(f"key must be one that `gantry keys list` shows, was {key_id[:100]!r}")
        return _entry(row)

    def revoke(self, key_id: str, now: datetime) -> KeyEntry:
        """The key as it is afterwards; one that was revoked before stays as it was. Raises `KeyRefused`."""
        self.entry(key_id)
        not_yet = and_(API_KEY.c.key_id == key_id, API_KEY.c.revoked_at.is_(None))
        self.connection.execute(update(API_KEY).where(not_yet).values(revoked_at=now, slot=None))
        return self.entry(key_id)

    def expire(self, key_id: str, at: datetime) -> KeyEntry:
        """The key as it is when it ends at `at`, or earlier if it would have anyway. Raises `KeyRefused`."""
        later = or_(API_KEY.c.expires_at.is_(None), API_KEY.c.expires_at > at)
        self.connection.execute(update(API_KEY).where(API_KEY.c.key_id == key_id, later).values(expires_at=at))
        return self.entry(key_id)

    def known_keys(self, now: datetime) -> KnownKeys:
        """What a router must know: every key that is not revoked, expired ones for a while, so that it can say so."""
        recent = or_(API_KEY.c.expires_at.is_(None), API_KEY.c.expires_at > now - _SHOWN_AFTER_EXPIRY)
        query = select(API_KEY).where(API_KEY.c.revoked_at.is_(None), recent)
        keys = tuple(_stored(row) for row in self.connection.execute(query).mappings())
        admin = select(API_KEY.c.key_id).where(API_KEY.c.scopes.like(f'%"{Scope.ADMIN.value}"%')).limit(1)
        return KnownKeys(keys=keys, had_admin=self.connection.execute(admin).first() is not None, read_at=now)

    def note_uses(self, used_at: Mapping[str, datetime]) -> None:
        """Moves the last use of each key forward, never back."""
        for key_id, at in used_at.items():
            earlier = or_(API_KEY.c.last_used_at.is_(None), API_KEY.c.last_used_at < at)
            self.connection.execute(update(API_KEY).where(API_KEY.c.key_id == key_id, earlier).values(last_used_at=at))

    def _free_slots(self, client: str, now: datetime) -> None:
        ended = and_(_holds_slot(client), API_KEY.c.expires_at <= now)
        self.connection.execute(update(API_KEY).where(ended).values(slot=None))

    def _full(self, client: str) -> KeyRefused:
        ids = self.connection.execute(select(API_KEY.c.key_id).where(_holds_slot(client))).scalars()
        holders = ", ".join(sorted(ids))
        return KeyRefused(
            f"client {client} must have at most {ACTIVE_KEYS_OF_CLIENT} active keys, has {holders}: "
            "revoke one first with `gantry keys revoke`"
        )


class DatabaseKeys:
    """The stored keys as a router asks for them: each question is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def known_keys(self) -> KnownKeys:
        """The keys that are valid now. Raises `DatabaseError`."""
        with key_work(self._engine) as keys:
            return keys.known_keys(utc_now())

    def note_uses(self, used_at: Mapping[str, datetime]) -> None:
        """When each key, by its id, was last used. Raises `DatabaseError`."""
        with key_work(self._engine) as keys:
            keys.note_uses(used_at)


def _holds_slot(client: str) -> ColumnElement[bool]:
    return and_(API_KEY.c.client == client, API_KEY.c.slot.is_not(None))


def _json(words: frozenset[Any]) -> str:
    return json.dumps(sorted(map(str, words)), ensure_ascii=False)


def _entry(row: Mapping[Any, Any]) -> KeyEntry:
    scopes = frozenset(map(Scope, json.loads(row["scopes"])))
    plants = None if row["plants"] is None else frozenset(json.loads(row["plants"]))
    return KeyEntry(**{**row, "scopes": scopes, "plants": plants})


def _stored(row: RowMapping) -> StoredKey:
    entry = _entry({column.name: row[column.name] for column in _SEEN})
    client = Client(
        name=entry.client, scopes=entry.scopes, plants=entry.plants, key_id=entry.key_id, key_name=entry.key_name
    )
    return StoredKey(digest=bytes.fromhex(row["digest"]), client=client, expires_at=entry.expires_at)
