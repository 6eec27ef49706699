"""Who calls, by which key or session, what that caller may do, and how often.

A key as its holder has it is `gantry_<id>_<secret>_<checksum>`. A session is a key in a sealed cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from limits import RateLimitItem, parse

from deployments.errors import Forbidden, RateLimited, Unauthenticated
from deployments.runtime.clock import Clock, utc_now

DEFAULT_CLIENT = "default"
MAX_REQUESTS = 100_000
MAX_ADDRESSES = 10_000
PREFIX = "gantry_"
KEY_ID_LENGTH = 12
_SECRET_BYTES = 32
_IPV4 = 4
_CUSTOMER_BITS = 64
_FORM = re.compile(
    rf"{PREFIX}(?P<id>[0-9a-f]{{{KEY_ID_LENGTH}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}_(?P<sum>[0-9a-f]{{8}})"
)
_CHECKSUM_LENGTH = 8
_NOBODYS_DIGEST = bytes(32)
SESSION_LIFETIME = timedelta(hours=12)
"""A shift and its handover."""
_ENDED = "the session has ended, or is not of this service; sign in again"


class Scope(StrEnum):
    """What a key may do. The last is none by itself: it widens what `read` shows, and no key has it unasked."""

    READ = "read"
    SCHEDULE = "schedule"
    ROLLBACK = "rollback"
    OPERATE = "operate"
    ADMIN = "admin"
    READ_ALL_CLIENTS = "read_all_clients"


ALL_SCOPES = frozenset(Scope) - {Scope.READ_ALL_CLIENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who calls. Decisions belong to the client by its name, whichever of its keys was used.

    `plants` are the plants that the key may name and see, None: all. `key_id` and `key_name` tell which key
    was used; they are None for the key of the settings.
    """

    name: str
    scopes: frozenset[Scope]
    plants: frozenset[str] | None = None
    key_id: str | None = None
    key_name: str | None = None

    @property
    def actor(self) -> str:
        """Whom an audit trail names: the key, or the client when the key has no name."""
        return self.key_name or self.name

    @property
    def reads(self) -> str | None:
        """Whose decisions the key shows: its client's; None: those of every client, for its plants."""
        return None if self.scopes >= {Scope.READ, Scope.READ_ALL_CLIENTS} else self.name

    def require(self, *scopes: Scope) -> None:
        """Raises `Forbidden` unless the client holds at least one of `scopes`."""
        if self.scopes.isdisjoint(scopes):
            wanted = " or ".join(scopes)
            raise Forbidden(f"the key must have the scope {wanted}, had {', '.join(sorted(self.scopes)) or 'none'}")

    def may_see(self, plant_id: str | None) -> bool:
        """Whether something of this plant exists for the client at all."""
        return self.plants is None or plant_id in self.plants

    def require_plant(self, plant_id: str) -> None:
        """Raises `Forbidden` for a plant that is not the key's; a plant that nobody has gets the same answer."""
        if not self.may_see(plant_id):
            raise Forbidden(f"the key is not for plant {plant_id!r}")


def rate_of(text: str) -> RateLimitItem:
    """`1200/minute` or `10 per 2 seconds` as a rate. Raises `ValueError`."""
    rate = parse(text)
    # Every request of the window is remembered, so there is a most.
    if not 1 <= rate.amount <= MAX_REQUESTS:
        raise ValueError(f"must allow 1 to {MAX_REQUESTS:,} requests, was {text!r}")
    return rate


class RateLimiter:
    """Counts the requests of each key, and those without one from each address, in a sliding window.

    `rate` None lets everything pass.

    By a steady `stopwatch`: a wall clock that is put back would shut a key out for as long.
    """

    def __init__(
        self,
        rate: RateLimitItem | None,
        *,
        router_count: Callable[[], int] = lambda: 1,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._router_count = router_count
        self._stopwatch = stopwatch
        # When each key asked within the window, oldest first.
        self._asked: dict[str, deque[float]] = {}
        self._refused: dict[str, deque[float]] = {}

    def count(self, client: Client) -> None:
        """One more request of the client's key. Raises `RateLimited` when it is one too many."""
        if self._rate is not None:
            self._take(self._rate, self._asked.setdefault(client.key_id or client.name, deque()), "the key")

    def count_refusal(self, address: str) -> None:
        """One more request without a valid key from `address`. Raises `RateLimited` when it is one too many.

        Of IPv6 a network of 64 bits counts as one, which is what a customer has. `MAX_ADDRESSES` are remembered.
        """
        if self._rate is None:
            return
        place = _network_of(address)
        asked = self._refused[place] = self._refused.pop(place, deque())
        if len(self._refused) > MAX_ADDRESSES:
            # The one that has been silent for longest.
            del self._refused[next(iter(self._refused))]
        self._take(self._rate, asked, "who has no valid key")

    def _take(self, rate: RateLimitItem, asked: deque[float], who: str) -> None:
        part = math.ceil(rate.amount / max(1, self._router_count()))
        now, window = self._stopwatch(), float(rate.get_expiry())
        while asked and asked[0] <= now - window:
            asked.popleft()
        if len(asked) < part:
            asked.append(now)
            return
        # There may be more than a part: it was larger before another router came.
        wait_seconds = max(1, math.ceil(asked[len(asked) - part] + window - now))
        raise RateLimited(f"{who} may ask {rate}; ask again in {wait_seconds} s", wait_seconds)


def _network_of(address: str) -> str:
    """As whom an address counts; what is none counts as it is written."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(found if found.version == _IPV4 else ip_network((found, _CUSTOMER_BITS), strict=False))


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

    def expiring(self, within: timedelta) -> int:
        """How many keys are valid now and will have expired after that time."""
        now = self._clock()
        ends = (stored.expires_at for stored in self._keys.values() if stored.expires_at is not None)
        return sum(now < end <= now + within for end in ends)


def key_of_settings(key: str) -> StoredKey:
    """`GANTRY_API_KEY`: every scope in every plant, held by the client "default"."""
    return StoredKey(digest=key_digest(key), client=Client(name=DEFAULT_CLIENT, scopes=ALL_SCOPES))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContents:
    """What a sealed cookie holds. `csrf_token` must come along in a header with whatever changes something."""

    key: str
    csrf_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        """Without the key, which a log line or a traceback might quote."""
        return f"SessionContents(key='***', expires_at={self.expires_at!r})"


class Sessions:
    """Seals keys for the cookies of browsers, and opens them again: nothing is stored, so every router can.

    What is sealed is the key itself, so that a session ends with its key, and nobody who gets to know `secret`, what
    all routers have in common, can make one without a key. Sealed is by Fernet: AES-128-CBC with HMAC-SHA-256.
    """

    def __init__(self, secret: Iterable[str], *, clock: Clock = utc_now) -> None:
        material = hashlib.sha256()
        for part in secret:
            material.update(hashlib.sha256(part.encode()).digest())
        self._fernet = Fernet(base64.urlsafe_b64encode(_derived(material.digest(), b"gantry session")))
        self._csrf_key = _derived(material.digest(), b"gantry csrf")
        self._clock = clock

    def seal(self, key: str) -> str:
        """What the cookie holds; from now on it is good for `SESSION_LIFETIME`."""
        return self._fernet.encrypt_at_time(key.encode("utf-8", "surrogateescape"), self._now()).decode()

    def contents(self, sealed: str) -> SessionContents:
        """What was sealed. Raises `Unauthenticated` when it was not here, or too long ago."""
        token, lifetime = sealed.encode("utf-8", "surrogateescape"), int(SESSION_LIFETIME.total_seconds())
        try:
            key = self._fernet.decrypt_at_time(token, lifetime, self._now())
            begun = self._fernet.extract_timestamp(token)
        except InvalidToken:
            raise Unauthenticated(_ENDED) from None
        return SessionContents(
            key=key.decode("utf-8", "surrogateescape"),
            csrf_token=hmac.new(self._csrf_key, token, hashlib.sha256).hexdigest(),
            expires_at=datetime.fromtimestamp(begun, UTC) + SESSION_LIFETIME,
        )

    def _now(self) -> int:
        return int(self._clock().timestamp())


def require_csrf(contents: SessionContents, given: str | None) -> None:
    """Raises `Forbidden` unless `given` is the token of the session: a page of another origin cannot read it."""
    if not hmac.compare_digest(contents.csrf_token.encode(), (given or "").encode("utf-8", "surrogateescape")):
        raise Forbidden("the header X-CSRF-Token must carry csrf_token of the session, was absent or another")


def _derived(material: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(material)
