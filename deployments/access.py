"""API keys: who calls, and what that caller may do.

Only SHA-256 digests of keys are kept, and every comparison takes the same time whatever was sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from deployments.errors import Forbidden, Unauthenticated

DEFAULT_CLIENT = "default"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    SCHEDULE = "schedule"
    ROLLBACK = "rollback"
    OPERATE = "operate"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who calls. Decisions belong to the client by its name, whichever of its keys was used."""

    name: str
    scopes: frozenset[Scope]

    def require(self, *scopes: Scope) -> None:
        """Raises `Forbidden` unless the client holds at least one of `scopes`."""
        if self.scopes.isdisjoint(scopes):
            wanted = " or ".join(scopes)
            raise Forbidden(f"the key must have the scope {wanted}, had {', '.join(sorted(self.scopes)) or 'none'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as it may be kept: `digest` is the SHA-256 of its UTF-8 text."""

    digest: bytes
    client: Client


class KeyRing:
    """The keys that are valid now."""

    def __init__(self, keys: Iterable[StoredKey]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def of_single_key(cls, key: str) -> KeyRing:
        """One key with every scope, held by the client "default"."""
        client = Client(name=DEFAULT_CLIENT, scopes=ALL_SCOPES)
        return cls([StoredKey(digest=key_digest(key), client=client)])

    def authenticate(self, key: str | None) -> Client:
        """The holder of `key`. Raises `Unauthenticated` when it is missing or nobody holds it."""
        if not key:
            raise Unauthenticated("the header X-API-Key must carry a key, was absent")
        digest = key_digest(key)
        # No early exit: the time taken must not tell how far a guess got in the list.
        holders = [stored.client for stored in self._keys if hmac.compare_digest(stored.digest, digest)]
        if not holders:
            raise Unauthenticated("the header X-API-Key must carry a valid key, was not recognised")
        return holders[0]


def key_digest(key: str) -> bytes:
    """SHA-256 of the key; keys are long and random, so no salt or stretching is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
