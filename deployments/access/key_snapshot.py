"""The key ring on local disk, so that a start while the database is away can still tell who calls.

It holds digests and no key. Whoever may write to it may let himself in, so a file that others can write or
read is not believed, and neither is one that is older than a day.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deployments.access.client import Client, Scope
from deployments.access.key_ring import StoredKey
from env.errors import GantryError

_FORMAT = 1
_OWNER_ONLY = 0o600


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
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each process has a name of its own for the new file, because all routers of a node write the same one.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(_document(known), file)
    fresh.replace(path)


def load_snapshot(path: Path) -> KnownKeys:
    """What was saved. Raises `UnusableSnapshot`."""
    try:
        with path.open(encoding="utf-8") as file:
            _require_ours(path, os.fstat(file.fileno()))
            return _known(json.load(file))
    except OSError as error:
        raise UnusableSnapshot(f"snapshot {path} must be readable: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableSnapshot(f"snapshot {path} must be one that a router wrote: {error}") from error


def _require_ours(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~_OWNER_ONLY or status.st_uid != os.geteuid():
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
