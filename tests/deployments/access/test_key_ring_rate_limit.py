"""How often a key may ask."""

from __future__ import annotations

import time

import pytest

from deployments.access import Client, Scope
from deployments.access.key_ring import RateLimiter, rate_of
from deployments.errors import RateLimited


def client(key_id: str | None = "0" * 12) -> Client:
    """The ERP with one of its keys."""
    return Client(name="erp", scopes=frozenset({Scope.READ}), key_id=key_id)


def granted(limiter: RateLimiter, asked: int, caller: Client) -> int:
    """How many of `asked` requests in a row pass."""
    passed = 0
    for _ in range(asked):
        try:
            limiter.count(caller)
        except RateLimited:
            continue
        passed += 1
    return passed


def test_key_may_ask_as_often_as_the_rate_says() -> None:
    """Three an hour are three; the fourth is told how long to wait."""
    limiter = RateLimiter(rate_of("3/hour"))
    assert granted(limiter, 3, client()) == 3
    with pytest.raises(RateLimited, match=r"the key may ask 3 per 1 hour; ask again in \d+ s") as caught:
        limiter.count(client())
    assert 3500 < caught.value.retry_after_seconds <= 3600


def test_keys_are_counted_apart() -> None:
    """One key that asks too often is no trouble for another, not even of the same client."""
    limiter = RateLimiter(rate_of("3/hour"))
    assert granted(limiter, 10, client()) == 3
    assert granted(limiter, 10, client("1" * 12)) == 3
    assert granted(limiter, 10, client(None)) == 3


def refused(limiter: RateLimiter, asked: int, address: str) -> int:
    """How many of `asked` requests without a valid key are counted."""
    counted = 0
    for _ in range(asked):
        try:
            limiter.count_refusal(address)
        except RateLimited:
            continue
        counted += 1
    return counted


def test_addresses_without_a_key_are_counted_apart() -> None:
    """Each has the rate of a key; a customer's network of IPv6 is one, whichever of its addresses it takes."""
    limiter = RateLimiter(rate_of("3/hour"))
    assert refused(limiter, 5, "192.0.2.7") == refused(limiter, 5, "192.0.2.8") == 3
    assert refused(limiter, 2, "2001:db8::1") == 2
    assert refused(limiter, 5, "2001:db8::ffff") == 1
    assert refused(limiter, 5, "2001:db8:0:1::1") == 3
    assert refused(limiter, 5, "no address") == 3
    assert granted(limiter, 5, client()) == 3
    assert refused(RateLimiter(None), 5, "192.0.2.7") == 5


def test_addresses_are_forgotten_before_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has as many as he likes fills no memory; the one that was silent for longest begins anew."""
    monkeypatch.setattr("deployments.access.key_ring.MAX_ADDRESSES", 2)
    limiter = RateLimiter(rate_of("1/hour"))
    assert [refused(limiter, 1, each) for each in ("a", "b", "a", "c", "a", "b")] == [1, 1, 0, 1, 0, 1]


def test_window_slides() -> None:
    """Each request counts for an hour from its own second; refused ones do not count."""
    times = iter((0.0, 10.0, 20.0, 3599.5, 3600.0, 3601.0))
    limiter = RateLimiter(rate_of("2/hour"), stopwatch=lambda: next(times))
    for wait_seconds in (0, 0, 3580, 1, 0, 9):
        if not wait_seconds:
            limiter.count(client())
        else:
            with pytest.raises(RateLimited) as caught:
                limiter.count(client())
            assert caught.value.retry_after_seconds == wait_seconds


def test_clock_that_is_put_back_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the wall clock says is nothing to a rate."""
    limiter = RateLimiter(rate_of("2/second"))
    assert granted(limiter, 3, client()) == 2
    an_hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: an_hour_ago)
    with pytest.raises(RateLimited) as caught:
        limiter.count(client())
    assert caught.value.retry_after_seconds == 1


@pytest.mark.parametrize(("routers", "part"), [(1, 9), (2, 5), (4, 3), (100, 1)])
def test_routers_share_the_rate(routers: int, part: int) -> None:
    """Each replica grants its part, rounded up, so that a rate is never nothing."""
    assert granted(RateLimiter(rate_of("9/hour"), router_count=lambda: routers), 20, client()) == part


def test_without_a_rate_everything_passes() -> None:
    """Off is off."""
    assert granted(RateLimiter(None), 2000, client()) == 2000


@pytest.mark.parametrize("text", ["", "often", "0/minute", "-1/minute", "5/fortnight", "100001/minute"])
def test_rate_that_means_nothing_is_refused(text: str) -> None:
    """A typing error is no licence."""
    with pytest.raises(ValueError):  # noqa: PT011 in part the words of the library
        rate_of(text)
