"""What a router knows about its neighbours: learned from answers, kept through slowness, lost by failure and time."""

from __future__ import annotations

import asyncio

import pytest

from deployments.errors import Overloaded
from deployments.persistence.delivery.drain import DrainState
from deployments.persistence.errors import CorruptionEvent, CorruptionLog, FoundBy
from deployments.persistence.spool.spool import SpoolDepth
from deployments.serve.health import MODEL_PATIENCE_SECONDS, HealthMonitor, Probe

NO_DEPTH = SpoolDepth(
    records=0,
    bytes=0,
    oldest_age_seconds=None,
    disk_bytes=0,
    capacity_bytes=1,
    damaged_regions=0,
    dead_letter_files=0,
)


class FakeClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Neighbour:
    """Answers, raises what it is told to, or is silent."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_silent = False

    async def __call__(self) -> object:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return "here"


def watched() -> tuple[Probe, Neighbour, FakeClock]:
    neighbour, clock = Neighbour(), FakeClock()
    return Probe("it", neighbour, clock=clock, timeout_seconds=0.01, patience_seconds=20.0), neighbour, clock


async def test_neighbour_that_has_just_answered_is_not_asked() -> None:
    """Half a period after an answer to anybody it is asked again, and one that was full is asked each time."""
    clock, asked = FakeClock(), list[float]()

    async def ask() -> object:
        asked.append(clock.now)
        raise Overloaded("full", 1)

    probe = Probe("it", ask, clock=clock, period_seconds=0.01)
    probe.heard()
    await probe.ask_and_wait()
    assert asked == []
    clock.now += 0.006
    await probe.ask_and_wait()
    await probe.ask_and_wait()
    assert len(asked) == 2


async def test_watch_holds_from_the_first_answer() -> None:
    """Nobody is there until it has answered once."""
    probe, _, _ = watched()
    assert not probe.holds
    await probe.ask_once()
    assert probe.holds


async def test_watch_is_lost_by_a_failure() -> None:
    """An error is an answer too: the neighbour is not there, at once."""
    probe, neighbour, _ = watched()
    await probe.ask_once()
    neighbour.error = ConnectionError("gone")
    await probe.ask_once()
    assert not probe.holds


async def test_watch_is_patient_with_silence() -> None:
    """A busy neighbour is not sent away before the patience is over."""
    probe, neighbour, clock = watched()
    await probe.ask_once()
    neighbour.is_silent = True
    clock.now += 19.9
    await probe.ask_once()
    assert probe.holds
    clock.now += 0.2
    assert not probe.holds


async def test_watch_takes_a_full_queue_as_an_answer() -> None:
    """Who sheds load is there."""
    probe, neighbour, _ = watched()
    neighbour.error = Overloaded("full")
    await probe.ask_once()
    assert probe.holds


@pytest.mark.parametrize(("disk_bytes", "has_room"), [(0, True), (100, False)])
async def test_monitor_reports_what_it_knows(disk_bytes: int, has_room: bool) -> None:
    """A report puts together watches, spool and uptime, without asking anyone."""
    clock = FakeClock()
    model, judge, database = (watched()[0] for _ in range(3))
    await model.ask_once()
    depth = SpoolDepth(
        records=3,
        bytes=90,
        oldest_age_seconds=2.5,
        disk_bytes=disk_bytes,
        capacity_bytes=100,
        damaged_regions=0,
        dead_letter_files=0,
    )
    health = HealthMonitor(model=model, judge=judge, database=database, depth=lambda: depth, clock=clock)
    clock.now += 7.0
    report = await health.report()
    assert (report.model_loaded, report.judge_reachable, report.database_connected) == (True, False, False)
    assert (report.spool_has_room, report.spool_records, report.spool_bytes) == (has_room, 3, 90)
    assert (report.spool_oldest_seconds, report.uptime_seconds) == (2.5, 7.0)


async def test_monitor_raises_each_alarm() -> None:
    """What a person must look at is told in words; a failing disk is told from a full one."""
    probes = [watched()[0] for _ in range(3)]
    depth = SpoolDepth(
        records=0,
        bytes=0,
        oldest_age_seconds=None,
        disk_bytes=0,
        capacity_bytes=1,
        damaged_regions=2,
        dead_letter_files=1,
        dead_letter_cause="it is too large",
        failure="could not append to the spool: Input/output error",
    )
    corruption = CorruptionLog()
    corruption.report(CorruptionEvent(found_by=FoundBy.READ, detail="decision 7"))
    health = HealthMonitor(
        model=probes[0],
        judge=probes[1],
        database=probes[2],
        depth=lambda: depth,
        drain=lambda: DrainState(failures_in_a_row=3, advice="mend it"),
        corruption=corruption,
        skew_seconds=lambda: -5.04,
        losses=lambda: (4, 9),
        rollout_alarms=lambda: ("version 2 was decided twice",),
    )
    report = await health.report()
    assert not report.spool_works
    assert report.alarms == (
        "it has not answered yet; manual serves",
        "it has not answered yet",
        "of the last 9 requests the policy had no room or no time for 4: manual served them",
        "version 2 was decided twice",
        "the database takes no decisions, they wait in the spool: mend it",
        "the database's clock is -5.0 s off that of this machine: let a time service set both",
        "1 file of dead letters, the newest because it is too large: look at `gantry db spool show`",
        "2 damaged regions in the spool: look at `gantry db spool status`",
        "1 corruption event since the start: the log names each decision",
    )


async def test_policy_that_is_dead_or_full_is_a_reason_within_five_seconds() -> None:
    """Silence of four seconds, an outright failure and a full queue are told in words, and an answer ends them."""
    probe, neighbour, clock = watched()
    neighbour.is_silent = True
    await probe.ask_once()
    assert probe.complaint == "it has not answered yet"
    probe.heard()
    assert probe.complaint is None
    clock.now += 4.0
    await probe.ask_once()
    assert probe.complaint == "it has not answered for 4 s: dead, overloaded, or unable to start"
    neighbour.is_silent = False
    neighbour.error = Overloaded("full")
    await probe.ask_once()
    assert probe.complaint == "it is overloaded: its queue is full"
    neighbour.error = ConnectionError("gone")
    clock.now += 1.0
    await probe.ask_once()
    assert probe.complaint == "it has not answered for 1 s: dead, overloaded, or unable to start"
    neighbour.error = None
    await probe.ask_once()
    assert (probe.complaint, probe.answered_at) == (None, clock.now)


async def test_monitor_is_ready_without_a_policy_that_was_there_once_or_never_came() -> None:
    """A start waits for the policy, for a while; what comes later is told and keeps nobody from asking."""
    clock = FakeClock()
    probes = [Probe("it", Neighbour(), clock=clock, patience_seconds=8.0) for _ in range(3)]
    health = HealthMonitor(model=probes[0], judge=probes[1], database=probes[2], depth=lambda: NO_DEPTH, clock=clock)
    for probe in probes[1:]:
        await probe.ask_once()
    assert (await health.report()).obstacles == ("the model is not loaded yet",)
    await probes[0].ask_once()
    assert (await health.report()).shortcomings == ()
    clock.now += MODEL_PATIENCE_SECONDS
    for probe in probes[1:]:
        probe.heard()
    report = await health.report()
    assert report.obstacles == ()
    assert report.shortcomings == (
        "the model is not loaded",
        "it has not answered for 30 s: dead, overloaded, or unable to start; manual serves",
    )
    clock.now += 10.0
    assert (await health.report()).obstacles == ("the judge is not reachable",)


@pytest.mark.parametrize(
    ("age_seconds", "words"), [(9.9, ()), (10.1, ("decisions have waited 10 s for the database",))]
)
async def test_monitor_tells_what_waits_too_long_whatever_the_reason(
    age_seconds: float, words: tuple[str, ...]
) -> None:
    """A lock or a hung network raises nothing for a long time; that decisions are still here is enough."""
    depth = SpoolDepth(
        records=1,
        bytes=1,
        oldest_age_seconds=age_seconds,
        disk_bytes=0,
        capacity_bytes=1,
        damaged_regions=0,
        dead_letter_files=0,
    )
    probes = [watched()[0] for _ in range(3)]
    for probe in probes:
        probe.heard()
    health = HealthMonitor(model=probes[0], judge=probes[1], database=probes[2], depth=lambda: depth)
    alarms = (await health.report()).alarms
    assert tuple(alarm.partition(":")[0] for alarm in alarms) == words


async def test_monitor_asks_in_the_background_until_stopped() -> None:
    """After a start the watches fill by themselves, and no task outlives the stop."""
    probes = [Probe("it", Neighbour(), period_seconds=0.01) for _ in range(3)]
    health = HealthMonitor(model=probes[0], judge=probes[1], database=probes[2], depth=lambda: NO_DEPTH)
    health.start()
    while not all(probe.holds for probe in probes):
        await asyncio.sleep(0)
    await health.stop()
    assert (await health.report()).shortcomings == ()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("needs_database", [True, False])
async def test_database_that_alone_acknowledges_makes_unready(needs_database: bool) -> None:
    """While it is away nothing could be answered with 200; where the disk acknowledges it is only missed."""
    probes = [Probe(name, Neighbour()) for name in ("the policy", "the judge", "the database")]
    model, judge, database = probes
    monitor = HealthMonitor(
        model=model,
        judge=judge,
        database=database,
        depth=lambda: NO_DEPTH,
        needs_database=needs_database,
        node_fault=lambda: "must be database on 2 nodes",
    )
    for probe in (model, judge):
        await probe.ask_once()
    report = await monitor.report()
    words = "the database is not connected, and acknowledges alone"
    assert report.blockers == ((words,) if needs_database else ())
    assert report.obstacles == (*report.blockers, "must be database on 2 nodes")
    await database.ask_once()
    assert (await monitor.report()).blockers == ()
