"""How a router hears that the service is about to end, and what it tells of its requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployments.serve.process import DrainNotice, NewcomersGate

FIRST, SECOND = 101, 102


@pytest.fixture
def notice(tmp_path: Path) -> DrainNotice:
    """Of a service that has just begun."""
    notice = DrainNotice(tmp_path / "run")
    notice.withdraw()
    return notice


def _nothing() -> None:
    """Somebody who is not interested in the end of the grace."""


def started(notice: DrainNotice, pid: int) -> NewcomersGate:
    """The gate of a router, without its background task."""
    gate = NewcomersGate(notice, pid)
    notice.report(pid, None)
    return gate


def test_router_that_has_not_heard_is_waited_for(notice: DrainNotice) -> None:
    """Nothing is known until every living router has looked."""
    first, second = started(notice, FIRST), started(notice, SECOND)
    notice.give()
    first.look()
    assert notice.in_flight({FIRST, SECOND}) is None
    second.look()
    assert notice.in_flight({FIRST, SECOND}) == 0
    assert first.refuses
    assert second.refuses


def test_requests_under_way_are_counted_until_they_are_answered(notice: DrainNotice) -> None:
    """Two in one router, one in another; each end is told."""
    first, second = started(notice, FIRST), started(notice, SECOND)
    with second.passing(_nothing):
        with first.passing(_nothing), first.passing(_nothing):
            notice.give()
            first.look()
            second.look()
            assert notice.in_flight({FIRST, SECOND}) == 3
        first.look()
        assert notice.in_flight({FIRST, SECOND}) == 1
    second.look()
    assert notice.in_flight({FIRST, SECOND}) == 0


def test_requests_are_called_off_when_the_grace_is_over(notice: DrainNotice) -> None:
    """Each that is still there, once; the notice of an earlier end calls off nothing."""
    called_off: list[int] = []
    gate = started(notice, FIRST)
    with gate.passing(lambda: called_off.append(1)), gate.passing(lambda: called_off.append(2)):
        with gate.passing(lambda: called_off.append(3)):
            notice.give()
            gate.look()
        notice.end_grace()
        gate.look()
        gate.look()
        assert called_off == [1, 2]
    notice.withdraw()
    again = started(notice, FIRST)
    with again.passing(lambda: called_off.append(4)):
        notice.give()
        again.look()
    assert called_off == [1, 2]


def test_dead_router_is_not_waited_for(notice: DrainNotice) -> None:
    """What it had under way is lost already."""
    gate = started(notice, FIRST)
    with gate.passing(_nothing):
        notice.give()
        gate.look()
    assert notice.in_flight({SECOND}) == 0


def test_router_takes_newcomers_until_the_notice(notice: DrainNotice) -> None:
    """Looking alone changes nothing; a notice that was withdrawn before the start is none."""
    notice.give()
    notice.withdraw()
    gate = started(notice, FIRST)
    gate.look()
    assert not gate.refuses
    assert notice.in_flight({FIRST}) is None


def test_router_that_starts_while_the_service_ends_refuses_at_once(notice: DrainNotice) -> None:
    """Its first answer is already a refusal, and when it has closed nobody waits for it."""

    async def live() -> NewcomersGate:
        gate = NewcomersGate(notice, FIRST)
        gate.start()
        assert gate.refuses
        assert notice.in_flight({FIRST}) == 0
        await gate.stop()
        return gate

    notice.give()
    assert asyncio.run(live()).refuses
    assert notice.in_flight({FIRST}) == 0
