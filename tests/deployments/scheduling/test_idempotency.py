"""Leases: renewed while a request runs, ended before anybody else may act."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import ClaimUnavailable, InvalidRequest, MalformedBody, NoSafeSchedule
from deployments.persistence.decisions.records import ClaimKey, Finished
from deployments.scheduling.idempotency import MARGIN_SECONDS, Idempotency, Lease, is_kept
from env.errors import InvalidProblem
from tests.deployments.fakes import MemoryClaims, request_of

CLAIM = ClaimKey(client="planner", route="schedule", key="k")
ANSWER = Finished(status=200, body=b"{}")


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _once(claims: MemoryClaims, clock: _Clock, lease_seconds: float = 30.0) -> Idempotency:
    ids = count(1)
    return Idempotency(
        claims, owner_id="0" * 32, lease_seconds=lease_seconds, stopwatch=clock, new_id=lambda: f"decision-{next(ids)}"
    )


async def test_lease_carries_the_id_of_the_decision() -> None:
    """The claim in the database and the decision have one id."""
    claims, seen = MemoryClaims(), []

    async def act(lease: Lease) -> Finished:
        seen.append(lease.decision_id)
        lease.begin_append()
        return ANSWER

    replayable = await _once(claims, _Clock()).once(CLAIM, "a", act)
    assert (replayable.finished, replayable.is_replayed) == (ANSWER, False)
    assert seen == ["decision-1"] == [claims.rows[CLAIM][0].decision_id]


@pytest.mark.parametrize("seconds", [30.0 - MARGIN_SECONDS, 31.0])
async def test_nothing_is_appended_at_the_end_of_a_lease(seconds: float) -> None:
    """Another router may be deciding by then, so this one must not; the claim is released."""
    claims, clock = MemoryClaims(), _Clock()

    async def act(lease: Lease) -> Finished:
        clock.now += seconds
        lease.begin_append()
        return ANSWER

    idempotency = _once(claims, clock)
    with pytest.raises(ClaimUnavailable, match="the lease of the Idempotency-Key ended"):
        await idempotency.once(CLAIM, "a", act)
    await idempotency.close()
    assert claims.rows == {}


async def test_lease_is_renewed_while_the_request_runs() -> None:
    """A request may take longer than a lease, also when a renewal fails in between."""
    claims, clock = MemoryClaims(), _Clock()

    async def act(lease: Lease) -> Finished:
        until = lease.held_until
        claims.error = ClaimUnavailable("down")
        await asyncio.sleep(0.05)
        assert lease.held_until == until
        claims.error = None
        clock.now += 10.0
        async with asyncio.timeout(10):
            while lease.held_until == until:
                await asyncio.sleep(0.001)
        return ANSWER

    await _once(claims, clock, lease_seconds=0.03).once(CLAIM, "a", act)


async def test_client_that_hangs_up_frees_its_key() -> None:
    """The release goes on although its request was cancelled."""
    claims, started = MemoryClaims(), asyncio.Event()

    async def act(lease: Lease) -> Finished:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    idempotency = _once(claims, _Clock())
    request = asyncio.create_task(idempotency.once(CLAIM, "a", act))
    await started.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await idempotency.close()
    assert claims.rows == {}


async def test_answer_does_not_depend_on_finishing_its_claim() -> None:
    """The database went away in between: the decision is durable, and finishes its claim later."""
    claims = MemoryClaims()

    async def act(lease: Lease) -> Finished:
        lease.begin_append()
        claims.error = ClaimUnavailable("down")
        return ANSWER

    assert (await _once(claims, _Clock()).once(CLAIM, "a", act)).finished == ANSWER


@pytest.mark.parametrize(
    ("error", "request_changes", "kept"),
    [
        (MalformedBody("no JSON"), None, True),
        (InvalidRequest((("jobs", "missing"),)), None, True),
        (InvalidProblem([("jobs", "unreachable")]), {}, True),
        (InvalidProblem([("jobs", "none pending")]), {"machines": None}, False),
        (InvalidProblem([("jobs", "unreachable from now")]), {"schedule_start": None}, False),
        (InvalidProblem([("jobs", "frozen")]), {"previous_schedule_id": "x"}, False),
        (InvalidRequest((("parent_schedule_id", "unknown"),)), {}, False),
        (NoSafeSchedule(()), {}, False),
    ],
)
def test_only_refusals_that_never_change_are_kept(
    error: Exception, request_changes: dict[str, object] | None, kept: bool
) -> None:
    """What depends on plant data, on earlier schedules or on the hour may be answered differently next time."""
    request: ScheduleRequest | None = None if request_changes is None else request_of(**request_changes)
    assert is_kept(error, request) is kept
