"""Keeps the key ring of one router in step with the database, and on local disk for starts without it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from deployments.access.key_ring import Client, KeyRing, Scope, StoredKey
from deployments.errors import KeysUnavailable, reason_of
from deployments.runtime.background import BackgroundTask, Threads
from deployments.runtime.durable_file import OWNER_ONLY, write_durably
from env.errors import GantryError

_FORMAT = 1
OLDEST = timedelta(hours=24)
_CLOCK_SKEW = timedelta(minutes=5)
_SAVED_EVERY = timedelta(seconds=60)
_NOTED_EVERY = timedelta(seconds=60)
_RETRY_AFTER_SECONDS = 5
_log = logging.getLogger(__name__)


class UnusableSnapshot(GantryError):
    """The file is absent, open to others, or not what this program wrote; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKeys:
    """The keys that were valid at `read_at`, and whether there had ever been one that may administer keys."""

    keys: tuple[StoredKey, ...]
    had_admin: bool
    read_at: datetime


def save_snapshot(path: Path, known: KnownKeys) -> None:
    """Replaces the file as a whole, readable by its owner only. Raises `OSError`."""
    write_durably(path, json.dumps(_document(known)))


def load_snapshot(path: Path) -> KnownKeys:
    """What was saved. Raises `UnusableSnapshot`."""
    try:
        with path.open(encoding="utf-8") as file:
            _require_ours(path, os.fstat(file.fileno()))
            return _known(json.load(file))
    except OSError as error:
        raise UnusableSnapshot(f"snapshot {path} must be readable: {reason_of(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableSnapshot(f"snapshot {path} must be one that a router wrote: {error}") from error


def _require_ours(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~OWNER_ONLY or status.st_uid != os.geteuid():
        found = f"was of user {status.st_uid} with mode {mode:04o}"
        raise UnusableSnapshot(f"snapshot {path} must be ours with mode 0600, {found}")


def _document(known: KnownKeys) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "read_at": known.read_at.isoformat(),
        "had_admin": known.had_admin,
        "keys": [_key_document(stored) for stored in known.keys],
    }


def _key_document(stored: StoredKey) -> dict[str, Any]:
    client = stored.client
    return {
        "digest": stored.digest.hex(),
        "expires_at": None if stored.expires_at is None else stored.expires_at.isoformat(),
        "client": client.name,
        "scopes": sorted(client.scopes),
        "plants": None if client.plants is None else sorted(client.plants),
        "key_id": client.key_id,
        "key_name": client.key_name,
    }


def _known(document: dict[str, Any]) -> KnownKeys:
    if document["format"] != _FORMAT:
        raise ValueError(f"format must be {_FORMAT}, was {document['format']!r}")
    read_at = datetime.fromisoformat(document["read_at"])
    if read_at.tzinfo is None:
        raise ValueError("read_at must have a time zone")
    keys = tuple(map(_stored_key, document["keys"]))
    return KnownKeys(keys=keys, had_admin=bool(document["had_admin"]), read_at=read_at)


def _stored_key(document: dict[str, Any]) -> StoredKey:
    expires_at, plants = document["expires_at"], document["plants"]
    client = Client(
        name=document["client"],
        scopes=frozenset(map(Scope, document["scopes"])),
        plants=None if plants is None else frozenset(plants),
        key_id=document["key_id"],
        key_name=document["key_name"],
    )
    return StoredKey(
        digest=bytes.fromhex(document["digest"]),
        client=client,
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )


class KeyStore(Protocol):
    """Where keys are stored. Both methods block, and raise `GantryError` when the store does not answer."""

    def known_keys(self) -> KnownKeys:
        """The keys that are valid now."""
        ...

    def note_uses(self, used_at: Mapping[str, datetime]) -> None:
        """When each key, by its id, was last used."""
        ...


class KeyKeeper:
    """Asks the store every `period_seconds`, so that a revoked key is refused soon after.

    While the store is away the keys last seen stay valid for a day, across a restart by the snapshot, and
    then no stored key is accepted at all. `own` is the key of the settings: always valid with `own_always`,
    else until the first key that may administer keys is stored.
    """

    def __init__(
        self,
        store: KeyStore,
        snapshot: Path,
        *,
        own: StoredKey | None,
        own_always: bool,
        clock: Callable[[], datetime],
        period_seconds: float = 2.0,
        first_answer_seconds: float = 10.0,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._own = own
        self._own_always = own_always
        self._clock = clock
        self._period_seconds = period_seconds
        self._first_answer_seconds = first_answer_seconds
        # One thread: a store that hangs is asked again only after it has answered.
        self._threads = Threads("keys", 1)
        self._read_at: datetime | None = None
        self._saved: KnownKeys | None = None
        self._used_at: dict[str, datetime] = {}
        self._noted_at: dict[str, datetime] = {}
        self._asked = asyncio.Event()
        self._task = BackgroundTask("keys", self._ask_and_wait)
        self._ring = self._ring_of(None)

    @property
    def age_seconds(self) -> float | None:
        """How long ago the store was last heard, None: not within memory."""
        return None if self._read_at is None else max(0.0, (self._clock() - self._read_at).total_seconds())

    def expiring(self, within: timedelta) -> int:
        """How many keys are valid now and will have expired after that time."""
        return self._ring.expiring(within)

    def authenticate(self, key: str | None) -> Client:
        """The holder of `key`. Raises `Unauthenticated`, and `KeysUnavailable` when nobody can tell."""
        if key and not self._is_current() and not (self._own_always and self._ring.find(key)):
            raise KeysUnavailable("keys cannot be checked until the database answers", _RETRY_AFTER_SECONDS)
        client = self._ring.authenticate(key)
        if client.key_id is not None:
            self._used_at[client.key_id] = self._clock()
        return client

    async def start(self) -> None:
        """Returns with the keys of the store, else of the snapshot, else with none; then goes on asking."""
        self._task.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._first_answer_seconds):
                await self._asked.wait()
        if self._read_at is None:
            self._restore()

    async def stop(self) -> None:
        """Ask no more. What the store has not heard about the last uses is lost."""
        await self._task.stop()
        self._threads.close()

    async def _ask_and_wait(self) -> None:
        try:
            await self._threads.run(self._read)
        finally:
            self._asked.set()
        await asyncio.sleep(self._period_seconds)

    def _read(self) -> None:
        try:
            known = self._store.known_keys()
        except GantryError as error:
            _log.warning("keys cannot be read: %s", error)
            return
        self._learn(known)
        self._save(known)
        self._note_uses()

    def _note_uses(self) -> None:
        """Tells the store, of each key at most once a minute."""
        # A copy, because the event loop adds to it meanwhile.
        used_at = dict(self._used_at)
        fresh = {key_id: at for key_id, at in used_at.items() if self._is_worth_noting(key_id, at)}
        try:
            if fresh:
                self._store.note_uses(fresh)
        except GantryError as error:
            _log.warning("last uses of keys cannot be stored: %s", error)
            return
        self._noted_at |= fresh

    def _is_worth_noting(self, key_id: str, used_at: datetime) -> bool:
        noted_at = self._noted_at.get(key_id)
        return noted_at is None or used_at - noted_at >= _NOTED_EVERY

    def _learn(self, known: KnownKeys) -> None:
        self._ring, self._read_at = self._ring_of(known), known.read_at

    def _ring_of(self, known: KnownKeys | None) -> KeyRing:
        opens = self._own_always or (known is not None and not known.had_admin)
        own = (self._own,) if self._own is not None and opens else ()
        return KeyRing((*(known.keys if known is not None else ()), *own), clock=self._clock)

    def _save(self, known: KnownKeys) -> None:
        last = self._saved
        if last is not None and not _is_news(last, known):
            return
        try:
            save_snapshot(self._snapshot, known)
        except OSError as error:
            _log.warning("snapshot of the keys cannot be written: %s", reason_of(error))
            return
        self._saved = known

    def _restore(self) -> None:
        try:
            known = load_snapshot(self._snapshot)
        except UnusableSnapshot as error:
            _log.warning("no keys until the database answers: %s", error)
            return
        if known.read_at > self._clock() + _CLOCK_SKEW:
            _log.warning("no keys until the database answers: snapshot %s is from the future", self._snapshot)
            return
        self._learn(known)
        _log.warning("the database does not answer; keys are those of %s", known.read_at.isoformat())

    def _is_current(self) -> bool:
        return self._read_at is not None and self._clock() - self._read_at <= OLDEST


def _is_news(last: KnownKeys, known: KnownKeys) -> bool:
    has_changed = (known.keys, known.had_admin) != (last.keys, last.had_admin)
    return has_changed or known.read_at - last.read_at >= _SAVED_EVERY
