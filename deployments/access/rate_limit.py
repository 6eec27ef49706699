"""How often a key may ask.

Router replicas share nothing but the work, which the proxy deals out evenly. So each of them grants its part
of the whole: never more together than the limit, but for rounding each part up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from deployments.access.client import Client
from deployments.errors import RateLimited

MOST_REQUESTS = 100_000


def rate_of(text: str) -> RateLimitItem:
    """`1200/minute` or `10 per 2 seconds` as a rate. Raises `ValueError`."""
    rate = parse(text)
    # Every request of the window is remembered, so there is a most.
    if not 1 <= rate.amount <= MOST_REQUESTS:
        raise ValueError(f"must allow 1 to {MOST_REQUESTS:,} requests, was {text!r}")
    return rate


class RateLimiter:
    """Counts the requests of each key in a sliding window; `rate` None lets everything pass."""

    def __init__(self, rate: RateLimitItem | None, *, router_count: Callable[[], int] = lambda: 1) -> None:
        self._rate = rate
        self._router_count = router_count
        self._counter = MovingWindowRateLimiter(MemoryStorage())

    def count(self, client: Client) -> None:
        """One more request of the client's key. Raises `RateLimited` when it is one too many."""
        if self._rate is None:
            return
        part = type(self._rate)(math.ceil(self._rate.amount / max(1, self._router_count())), self._rate.multiples)
        key = client.key_id or client.name
        if self._counter.hit(part, key):
            return
        free_at = self._counter.get_window_stats(part, key).reset_time
        wait_seconds = max(1, math.ceil(free_at - time.time()))
        raise RateLimited(f"the key may ask {self._rate}; ask again in {wait_seconds} s", wait_seconds)
