"""Runs in a database: who plans what, until when, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import Engine

from deployments.errors import KeyConflict, Overloaded
from deployments.persistence.decisions.plan_run import BestSoFar, RunRequest, RunState
from deployments.persistence.decisions.plan_run_repository import (
    CRASHED,
    KEPT_SECONDS,
    LEASE_SECONDS,
    LOST_SECONDS,
    MAX_QUEUED_OF_A_CLIENT,
    RunRepository,
)
from deployments.persistence.tables import DECISION, SPOOL_OWNER

OWNER = "1" * 36
ANOTHER = "another"
BEST = BestSoFar(makespan_seconds=7, bound_seconds=7, tardiness_seconds=0, found_seconds=0.1, improvements=0)
_ids = count(1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def runs(engine: Engine, clock: Clock) -> Iterator[RunRepository]:
    with engine.begin() as connection:
        yield RunRepository(connection, clock)


def wanted(client: str = "ours", key: str | None = None, digest: str = "a") -> RunRequest:
    return RunRequest(
        run_id=f"{next(_ids):036d}",
        client=client,
        plant_id="penang",
        key=key,
        request_sha256=digest * 64,
        request=b'{"jobs": []}',
        is_strict=True,
        budget_ms=60_000,
    )


def test_run_goes_from_queued_to_done(engine: Engine, clock: Clock) -> None:
    """Whoever takes it gets the request as it was sent; the best so far and the end can be asked for."""
    asked = wanted()
    with runs(engine, clock) as repository:
        assert repository.accept(asked).run.state is RunState.QUEUED
        assert repository.take(OWNER) == asked
        assert repository.take(ANOTHER) is None
        assert repository.renew(asked, OWNER, BEST) is False
        running = repository.get(asked.run_id, "ours")
        assert running is not None
        assert (running.state, running.best) == (RunState.RUNNING, BEST)
        repository.finish(asked.run_id, OWNER, RunState.DONE, None, BEST)
        done = repository.get(asked.run_id, None)
        assert done is not None
        assert done.state is RunState.DONE


def test_run_of_another_client_does_not_exist(engine: Engine, clock: Clock) -> None:
    """Ownership is by client."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        assert repository.get(asked.run_id, "theirs") is None


def test_stop_is_heard_by_whoever_plans_and_ends_what_waits(engine: Engine, clock: Clock) -> None:
    """A run that has begun is asked to end, one that has not is over at once."""
    first, second = wanted(), wanted()
    with runs(engine, clock) as repository:
        repository.accept(first)
        clock.pass_by(1)
        repository.accept(second)
        assert repository.take(OWNER) == first
        repository.stop(first.run_id)
        repository.stop(second.run_id)
        assert repository.renew(first, OWNER, None)
        assert repository.take(ANOTHER) is None
        stopped = repository.get(second.run_id, None)
        assert stopped is not None
        assert (stopped.state, stopped.reason) == (RunState.STOPPED, "stopped before it began")


def test_same_key_is_the_same_run_until_it_has_failed(engine: Engine, clock: Clock) -> None:
    """Sent again it is replayed, with another body refused; a failed one starts again under a new id."""
    first = wanted(key="k")
    with runs(engine, clock) as repository:
        repository.accept(first)
        again = repository.accept(wanted(key="k"))
        assert (again.is_replayed, again.run.run_id) == (True, first.run_id)
        with pytest.raises(KeyConflict):
            repository.accept(wanted(key="k", digest="b"))
        assert not repository.accept(wanted(client="theirs", key="k")).is_replayed
        assert repository.take(OWNER) == first
        repository.finish(first.run_id, OWNER, RunState.FAILED, "because", None)
        anew = wanted(key="k")
        assert not repository.accept(anew).is_replayed
        assert repository.accept(wanted(key="k")).run.run_id == anew.run_id
        assert repository.get(first.run_id, None) is not None


@pytest.mark.parametrize(("is_decided", "state"), [(False, RunState.FAILED), (True, RunState.DONE)])
def test_run_whose_owner_died_has_failed_unless_it_left_a_decision(
    engine: Engine, clock: Clock, is_decided: bool, state: RunState
) -> None:
    """Not before its lease is over, and all that the owner had appended is stored."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        repository.take(OWNER)
        clock.pass_by(LEASE_SECONDS + 1)
        assert repository.fail_abandoned() == 0
    with engine.begin() as connection:
        connection.execute(SPOOL_OWNER.insert().values(owner_id=OWNER, drained_until=clock.now + timedelta(seconds=1)))
        if is_decided:
            columns = {
                column.name: b"" if "BLOB" in str(column.type) or "LargeBinary" in str(column.type) else 0
                for column in DECISION.c
                if not column.nullable
            }
            columns |= {"decision_id": asked.run_id, "created_at": clock.now, "client": "ours"}
            connection.execute(DECISION.insert().values(columns))
    with runs(engine, clock) as repository:
        assert repository.fail_abandoned() == 1
        ended = repository.get(asked.run_id, None)
        assert ended is not None
        assert (ended.state, ended.reason) == (state, None if is_decided else CRASHED)


def test_run_that_is_renewed_is_not_abandoned(engine: Engine, clock: Clock) -> None:
    """As long as its owner tells how far it is."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        repository.take(OWNER)
        clock.pass_by(LEASE_SECONDS - 1)
        repository.renew(asked, OWNER, None)
        clock.pass_by(LEASE_SECONDS - 1)
    with engine.begin() as connection:
        connection.execute(SPOOL_OWNER.insert().values(owner_id=OWNER, drained_until=clock.now + timedelta(days=1)))
    with runs(engine, clock) as repository:
        assert repository.fail_abandoned() == 0


def _given_up(engine: Engine, clock: Clock, asked: RunRequest) -> None:
    """As another router sees it, to which the owner, that the database has not heard for a while, looks dead."""
    with runs(engine, clock) as repository:
        repository.accept(asked)
        repository.take(OWNER)
        clock.pass_by(LEASE_SECONDS + 1)
    with engine.begin() as connection:
        connection.execute(SPOOL_OWNER.insert().values(owner_id=OWNER, drained_until=clock.now + timedelta(days=1)))
    with runs(engine, clock) as repository:
        assert repository.fail_abandoned() == 1


def test_run_that_was_given_up_goes_on_when_its_owner_is_heard_again(engine: Engine, clock: Clock) -> None:
    """Its owner lived; whoever asks sees it run again, and its end."""
    asked = wanted(key="k")
    _given_up(engine, clock, asked)
    with runs(engine, clock) as repository:
        assert repository.renew(asked, OWNER, BEST) is False
        alive = repository.get(asked.run_id, None)
        assert alive is not None
        assert (alive.state, alive.reason, alive.best) == (RunState.RUNNING, None, BEST)


def test_run_whose_key_names_another_is_lost(engine: Engine, clock: Clock) -> None:
    """Both would leave a decision; a run of somebody else is none of ours."""
    asked = wanted(key="k")
    _given_up(engine, clock, asked)
    with runs(engine, clock) as repository:
        assert not repository.accept(wanted(key="k")).is_replayed
        assert repository.renew(asked, OWNER, BEST) is None
        assert repository.renew(asked, ANOTHER, BEST) is None


def test_run_of_a_lost_disk_fails_at_last(engine: Engine, clock: Clock) -> None:
    """Nobody ever says that its owner has left nothing."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        repository.take(OWNER)
        clock.pass_by(LEASE_SECONDS + LOST_SECONDS - 1)
        assert repository.fail_abandoned() == 0
        clock.pass_by(2)
        assert repository.fail_abandoned() == 1


def test_what_was_taken_without_knowing_waits_again(engine: Engine, clock: Clock) -> None:
    """The answer to the transaction was lost: whoever takes the next one has it again, and nobody else before."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        assert repository.take(OWNER) == asked
        assert repository.take(ANOTHER) is None
        assert repository.take(OWNER) == asked


def test_request_whose_answer_was_lost_is_queued_once(engine: Engine, clock: Clock) -> None:
    """The same transaction again finds what it has done."""
    asked = wanted()
    with runs(engine, clock) as repository:
        repository.accept(asked)
        assert repository.accept(asked).run.run_id == asked.run_id


def test_queue_is_bounded_for_each_client(engine: Engine, clock: Clock) -> None:
    """One more than a client may have waiting is told to come later; another client still has room."""
    with runs(engine, clock) as repository:
        for _ in range(MAX_QUEUED_OF_A_CLIENT):
            repository.accept(wanted())
        with pytest.raises(Overloaded, match=f"{MAX_QUEUED_OF_A_CLIENT} of them yours"):
            repository.accept(wanted())
        repository.accept(wanted(client="theirs"))


def test_old_runs_are_forgotten_when_they_are_over(engine: Engine, clock: Clock) -> None:
    """After a day; what still waits is kept."""
    over, waiting = wanted(), wanted()
    with runs(engine, clock) as repository:
        repository.accept(over)
        repository.take(OWNER)
        repository.accept(waiting)
        repository.finish(over.run_id, OWNER, RunState.DONE, None, None)
        clock.pass_by(KEPT_SECONDS)
        assert repository.forget_old() == 1
        assert repository.get(over.run_id, None) is None
        assert repository.get(waiting.run_id, None) is not None
