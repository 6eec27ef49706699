"""What one router acts on: the newest fresh state, its own latch above it, and nothing when it knows nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployments.rollout.analysis.outcomes import Alarm, CorruptionKind, Outcome
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import Stage
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.router_view import LatchFile, RolloutView, StateSync
from tests.deployments.rollout_control.events import NOW, Clock, evaluation, state
from tests.deployments.shipped_policy import LIMITS


def view(tmp_path: Path, clock: Clock | None = None, **changes: Any) -> RolloutView:
    """A router's view over a folder."""
    times = clock or Clock()
    return RolloutView(
        router="r1",
        latches=LatchFile(tmp_path),
        seed="gantry",
        find_model=lambda _: None,
        clock=times.now,
        steady=times.steady,
        limits=LIMITS,
        **changes,
    )


async def test_router_without_a_state_knows_nothing(tmp_path: Path) -> None:
    """Before the first exchange the rule serves."""
    split = view(tmp_path).traffic_split()
    assert (split.stage, split.assign("unit").arm.is_rule) == ("unknown", True)


async def test_state_goes_stale_after_five_seconds(tmp_path: Path) -> None:
    """State older than that is no state; the next exchange makes it one again."""
    clock = Clock()
    router = view(tmp_path, clock)
    router.learn(state(), clock.seconds)
    clock.seconds = 4.9
    assert (router.traffic_split().stage, router.is_current) == ("expanded", True)
    clock.seconds = 5.1
    assert (router.traffic_split().stage, router.is_current) == ("unknown", False)
    router.learn(state(), clock.seconds)
    assert router.traffic_split().stage == "expanded"


async def test_lower_version_is_never_accepted(tmp_path: Path) -> None:
    """A controller that lost its memory cannot undo a rollback."""
    router = view(tmp_path)
    router.learn(state(version=9, stage=Stage.ROLLED_BACK, share=0.0), 0.0)
    router.learn(state(version=8), 0.0)
    assert router.traffic_split().stage == "rolled_back"


@pytest.mark.parametrize(
    "event",
    [
        evaluation(1, Outcome.CRITICAL),
        Alarm(decision_id="d", at=NOW, ramp=1, stage="expanded", corruption=CorruptionKind.TWO_PAYLOADS),
        Alarm(decision_id="d", at=NOW, ramp=1, stage="expanded", corruption=None),
    ],
)
async def test_one_event_latches_at_once_and_for_good(tmp_path: Path, event: Any) -> None:
    """In force before anything else happens, on disk soon after, in force again after a restart."""
    router = view(tmp_path)
    router.learn(state(), 0.0)
    router.observe(event)
    assert router.traffic_split().stage == "rolled_back"
    assert router.news.is_set()
    await router.close()
    again = view(tmp_path)
    await again.open()
    again.learn(state(version=50), 0.0)
    assert again.traffic_split().stage == "rolled_back"
    assert again.report().latch is not None


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (evaluation(1, Outcome.CRITICAL, is_forced=True), state()),
        (evaluation(1, Outcome.CRITICAL, ramp=9), state()),
        (evaluation(1, Outcome.CRITICAL, stage="shadow"), state(stage=Stage.SHADOW, share=0.0)),
        (evaluation(1, Outcome.INCOMPLETE), state()),
        (evaluation(1, Outcome.CRASH), state()),
    ],
)
async def test_other_events_do_not_latch(tmp_path: Path, event: Any, found: Any) -> None:
    """Forced requests, another ramp, a stage that serves nothing, and what takes more than one event."""
    router = view(tmp_path)
    router.learn(found, 0.0)
    router.observe(event)
    assert router.traffic_split().stage == found.stage.value
    assert router.latch is None


async def test_dry_run_does_not_latch(tmp_path: Path) -> None:
    """Guardrails on trial roll nothing back."""
    router = view(tmp_path, is_dry_run=True)
    router.learn(state(), 0.0)
    router.observe(evaluation(1, Outcome.CRITICAL))
    assert router.traffic_split().stage == "expanded"


async def test_next_ramp_clears_the_latch(tmp_path: Path) -> None:
    """Only a person's new start does, and then from the disk as well."""
    router = view(tmp_path)
    router.learn(state(), 0.0)
    await router.roll_back("night shift", "late trucks")
    router.learn(state(version=60, stage=Stage.PAUSED, held_stage=Stage.EXPANDED), 0.0)
    assert router.traffic_split().stage == "rolled_back"
    router.learn(state(version=61, ramp=2, stage=Stage.SHADOW, share=0.0), 0.0)
    assert router.traffic_split().stage == "shadow"
    await router.close()
    assert LatchFile(tmp_path).read(NOW, "r2") is None


async def test_latch_reaches_the_other_routers_of_a_node_without_a_controller(tmp_path: Path) -> None:
    """The file beside the spool is enough; one of an earlier ramp is not."""
    one, other, later = view(tmp_path), view(tmp_path), view(tmp_path)
    for router, found in ((one, state()), (other, state()), (later, state(version=9, ramp=2))):
        await router.open()
        router.learn(found, 0.0)
    await one.roll_back("night shift", "late trucks")
    for router in (other, later):
        await router.look()
    assert (other.traffic_split().stage, later.traffic_split().stage) == ("rolled_back", "expanded")


async def test_rollback_of_a_router_that_knows_nothing_holds_later(tmp_path: Path) -> None:
    """Whatever ramp it hears of first is rolled back, and the disk learns which it was."""
    router = view(tmp_path)
    latch = await router.roll_back("night shift", "late trucks")
    assert latch.ramp == 0
    router.learn(state(), 0.0)
    assert router.traffic_split().stage == "rolled_back"
    await router.close()
    found = LatchFile(tmp_path).read(NOW, "r2")
    assert found is not None
    assert (found.ramp, found.actor) == (1, "night shift")


async def test_events_are_kept_until_the_controller_has_kept_them(tmp_path: Path) -> None:
    """What was received but not kept is told again to a controller that has lost it; what was kept is forgotten."""
    router = view(tmp_path)
    for number in range(4):
        router.observe(evaluation(number))
    assert (router.report().first, len(router.report().events)) == (0, 4)
    router.accept(ControllerReply(state=state(), received=4, kept=2), 0.0)
    assert (router.report().oldest, router.report().first, router.report().events) == (2, 4, ())
    router.accept(ControllerReply(state=state(), received=2, kept=2), 0.0)
    assert [event.decision_id for event in router.report().events] == ["decision-2", "decision-3"]  # type: ignore[union-attr]


async def test_memory_of_events_is_bounded(tmp_path: Path) -> None:
    """Without a controller the oldest events go, and their number is told."""
    router = view(tmp_path, max_events=3)
    for number in range(5):
        router.observe(evaluation(number))
    told = router.report()
    assert (told.first, told.oldest, told.dropped, len(told.events)) == (2, 2, 2, 3)


async def test_models_that_nobody_knows_serve_nothing(tmp_path: Path) -> None:
    """A state that names an artefact this node does not have is as good as none: the rule serves."""
    router = view(tmp_path)
    router.learn(state(challenger="full_production@9"), 0.0)
    assert router.traffic_split().assign("unit").arm.is_rule


class Controller:
    """Answers with a state, fails as often as it is told to, and remembers what it heard."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.heard: list[RouterReport] = []

    async def tell(self, report: RouterReport) -> ControllerReply:
        self.heard.append(report)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("gone")
        return ControllerReply(state=state(), received=report.first + len(report.events), kept=0)


async def test_exchange_survives_a_lost_controller(tmp_path: Path) -> None:
    """A failed exchange loses nothing: the next one tells the same, and the state is fresh from when it was asked."""
    clock, controller = Clock(), Controller(failures=1)
    router = view(tmp_path, clock)
    router.observe(evaluation(1))
    exchange = StateSync(router, controller.tell, steady=clock.steady)
    assert not await exchange.once()
    assert not router.is_current
    assert await exchange.once()
    assert router.is_current
    assert [len(report.events) for report in controller.heard] == [1, 1]


class SilentController:
    """Takes every report and never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def tell(self, _: RouterReport) -> ControllerReply:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def test_latch_of_a_neighbour_acts_while_the_controller_hangs(tmp_path: Path) -> None:
    """A call that nobody answers holds up nothing else."""
    clock = Clock()
    router, neighbour = view(tmp_path, clock), view(tmp_path, clock)
    for each in (router, neighbour):
        each.learn(state(), clock.seconds)
    controller = SilentController()
    exchange = StateSync(router, controller.tell, steady=clock.steady, watch_seconds=0.01, max_call_seconds=0.5)
    exchange.start()
    await neighbour.roll_back("anna", "late trucks")
    while router.latch is None:
        await asyncio.sleep(0.01)
    assert (router.traffic_split().stage, controller.asked) == ("rolled_back", 1)
    await exchange.stop()


@pytest.mark.parametrize("outcome", [Outcome.CRASH, Outcome.INCOMPLETE])
async def test_router_guards_itself_while_the_controller_is_silent(tmp_path: Path, outcome: Outcome) -> None:
    """Six failures in a row, and nobody else to look at them: two missed exchanges later the router latches."""
    clock = Clock()
    router = view(tmp_path, clock)
    router.learn(state(), clock.seconds)
    for number in range(6):
        router.observe(evaluation(number, outcome))
    clock.seconds = 0.4
    await router.look()
    assert router.latch is None, "the controller has answered a moment ago: it is the controller's to say"
    clock.seconds = 0.5
    await router.look()
    assert router.latch is not None
    assert router.latch.trigger is not None
    assert router.traffic_split().stage == "rolled_back"
    await router.close()
    assert LatchFile(tmp_path).read(NOW, "r2") == router.latch


@pytest.mark.parametrize(
    ("changes", "is_dry_run"), [({"stage": Stage.SHADOW, "share": 0.0}, False), ({"ramp": 2}, False), ({}, True)]
)
async def test_router_guards_only_what_it_serves(tmp_path: Path, changes: dict[str, Any], is_dry_run: bool) -> None:
    """In shadow, for events of an earlier ramp and in a dry run nothing is latched."""
    clock = Clock()
    router = view(tmp_path, clock, is_dry_run=is_dry_run)
    router.learn(state(**changes), clock.seconds)
    for number in range(6):
        router.observe(evaluation(number, Outcome.CRASH))
    clock.seconds = 0.7
    await router.look()
    assert router.latch is None


async def test_healthy_router_is_left_alone_without_a_controller(tmp_path: Path) -> None:
    """One crash among forty plans is no reason to stop, however silent the controller is."""
    clock = Clock()
    router = view(tmp_path, clock)
    router.learn(state(), clock.seconds)
    for number in range(40):
        router.observe(evaluation(number, Outcome.CRASH if number == 20 else Outcome.OK))
    clock.seconds = 0.7
    await router.look()
    assert router.latch is None


async def test_exchange_does_not_wait_for_urgent_news(tmp_path: Path) -> None:
    """A latch travels with the next exchange, which comes at once."""
    controller = Controller()
    router = view(tmp_path)
    exchange = StateSync(router, controller.tell, steady=Clock().steady, interval_seconds=3600.0)
    exchange.start()
    while not router.is_current:
        await asyncio.sleep(0)
    router.observe(evaluation(1, Outcome.CRITICAL))
    while not any(report.latch for report in controller.heard):
        await asyncio.sleep(0)
    await exchange.stop()
    latch = controller.heard[-1].latch
    assert isinstance(latch, Latch)
    assert latch.router == "r1"
