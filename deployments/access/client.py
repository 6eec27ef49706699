"""Who calls, what that caller may do, and how often."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from limits import RateLimitItem, parse

from deployments.errors import Forbidden, RateLimited

DEFAULT_CLIENT = "default"
MAX_REQUESTS = 100_000


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
    """Counts the requests of each key in a sliding window; `rate` None lets everything pass.

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

    def count(self, client: Client) -> None:
        """One more request of the client's key. Raises `RateLimited` when it is one too many."""
        if self._rate is None:
            return
        part = math.ceil(self._rate.amount / max(1, self._router_count()))
        now, window = self._stopwatch(), float(self._rate.get_expiry())
        asked = self._asked.setdefault(client.key_id or client.name, deque())
        while asked and asked[0] <= now - window:
            asked.popleft()
        if len(asked) < part:
            asked.append(now)
            return
        # There may be more than a part: it was larger before another router came.
        wait_seconds = max(1, math.ceil(asked[len(asked) - part] + window - now))
        raise RateLimited(f"the key may ask {self._rate}; ask again in {wait_seconds} s", wait_seconds)
