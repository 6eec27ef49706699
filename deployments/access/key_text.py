"""A key as its holder has it: `gantry_<id>_<secret>_<checksum>`.

The id names the key in lists and logs. The secret is 32 random bytes. The checksum tells a typing error,
or half of a key, from a key that nobody holds, without asking anyone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass

from deployments.errors import Unauthenticated

PREFIX = "gantry_"
KEY_ID_LENGTH = 12
_SECRET_BYTES = 32
_FORM = re.compile(
    rf"{PREFIX}(?P<id>[0-9a-f]{{{KEY_ID_LENGTH}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}_(?P<sum>[0-9a-f]{{8}})"
)
_CHECKSUM_LENGTH = 8


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
