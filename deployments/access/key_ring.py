"""The keys that are valid now, and a key as its holder has it: `gantry_<id>_<secret>_<checksum>`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from deployments.access.client import ALL_SCOPES, DEFAULT_CLIENT, Client
from deployments.errors import Unauthenticated
from deployments.runtime.clock import Clock, utc_now

PREFIX = "gantry_"
KEY_ID_LENGTH = 12
_SECRET_BYTES = 32
_FORM = re.compile(
    rf"{PREFIX}(?P<id>[0-9a-f]{{{KEY_ID_LENGTH}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}_(?P<sum>[0-9a-f]{{8}})"
)
_CHECKSUM_LENGTH = 8
_NOBODYS_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made: the only moment at which anyone but its holder knows `text`."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        """Without the text, which a log line or a traceback might quote."""
        return f"NewKey(key_id={self.key_id!r}, text='***')"

    @property
    def digest(self) -> bytes:
        """What is stored of it."""
        return key_digest(self.text)


def new_key() -> NewKey:
    """A key that nobody has had before."""
    key_id = secrets.token_hex(KEY_ID_LENGTH // 2)
    unchecked = f"{PREFIX}{key_id}_{secrets.token_hex(_SECRET_BYTES)}_"
    return NewKey(key_id=key_id, text=unchecked + _checksum(unchecked))


def require_well_typed(key: str) -> None:
    """Raises `Unauthenticated` for a key that begins as one of ours and is incomplete or mistyped."""
    if not key.startswith(PREFIX):
        return
    unchecked, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    if _FORM.fullmatch(key) is None or checksum != _checksum(unchecked):
        raise Unauthenticated("the header X-API-Key must carry a whole key, was incomplete or mistyped")


def key_digest(key: str) -> bytes:
    """SHA-256 of the key; keys are long and random, so no salt or stretching is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _checksum(unchecked: str) -> str:
    return f"{zlib.crc32(unchecked.encode()):08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as it may be kept: `digest` is the SHA-256 of its UTF-8 text. Without `expires_at` it never ends."""

    digest: bytes
    client: Client
    expires_at: datetime | None = None


class KeyRing:
    """A set of keys, as they were at one moment."""

    def __init__(self, keys: Iterable[StoredKey], *, clock: Clock = utc_now) -> None:
        self._keys = {stored.digest: stored for stored in keys}
        self._clock = clock

    def authenticate(self, key: str | None) -> Client:
        """The holder of `key`. Raises `Unauthenticated` when it is missing, mistyped, expired or nobody's."""
        if not key:
            raise Unauthenticated("the header X-API-Key must carry a key, was absent")
        require_well_typed(key)
        stored = self.find(key)
        if stored is None:
            raise Unauthenticated("the header X-API-Key must carry a valid key, was not recognised")
        if stored.expires_at is not None and stored.expires_at <= self._clock():
            raise Unauthenticated(f"the header X-API-Key must carry a valid key, was expired at {stored.expires_at}")
        return stored.client

    def find(self, key: str) -> StoredKey | None:
        """The key as it is stored, valid or not, None when nobody holds it."""
        # Found by digest: what a guess learns from the time of this look-up is about SHA-256 and not the key.
        digest = key_digest(key)
        stored = self._keys.get(digest)
        is_equal = hmac.compare_digest(_NOBODYS_DIGEST if stored is None else stored.digest, digest)
        return stored if is_equal else None


def key_of_settings(key: str) -> StoredKey:
    """`GANTRY_API_KEY`: every scope in every plant, held by the client "default"."""
    return StoredKey(digest=key_digest(key), client=Client(name=DEFAULT_CLIENT, scopes=ALL_SCOPES))
