"""The controller over a real journal: what it decides survives it, and what it does not know it does not serve."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import RolloutUnavailable, StaleVersion, TransitionRefused
from deployments.persistence.decisions.records import EvaluationRecord
from deployments.persistence.decisions.rollout_repository import insert_evaluations
from deployments.persistence.tables import ROLLOUT_TRANSITION
from deployments.rollout.analysis.outcomes import Alarm, CorruptionKind, Outcome, PairedObservation
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.gate import GateVerdict
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import DAY_SECONDS, Action, Order, Stage, Transition
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.agreement import ControlSettings, ModelIdentity
from deployments.rollout_control.controller import Command, Controller
from deployments.rollout_control.database_sync import LEASE_SECONDS, TAKEOVER_SECONDS
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.ramp_statistics import UNIDENTIFIED
from deployments.rollout_control.transition_log import JOURNAL, STATISTICS, ControllerJournal, ControllerTaken, Entry
from env.schedule import KeyFigures
from tests.deployments.rollout_control.events import NOW, QUICK, Clock, evaluation, report, state
from tests.deployments.rollout_control.shared_database import SharedDatabase

CRASHES_TO_FIRE = 3


class Ears:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[Entry] = []

    def hear(self, entry: Entry) -> None:
        self.heard.append(entry)


class Plant:
    """A controller over a folder, which may be started again and again."""

    def __init__(self, folder: Path, *, initial: Stage = Stage.EXPANDED, **changes: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.ears = Ears()
        self.database = SharedDatabase(self.clock.now, self.clock.steady)
        self.line = self.database.line()
        self.settings = ControlSettings(
            configuration=QUICK, initial_stage=initial, seed="gantry", challenger=PUBLISHED, **changes
        )

    async def start(self, heartbeat_seconds: float = 3600.0) -> Controller:
        control = Controller(
            self.settings,
            journal=ControllerJournal(self.folder),
            database=self.database.sync(self.line),
            listeners=(self.ears,),
            clock=self.clock.now,
            heartbeat_seconds=heartbeat_seconds,
            meeting_seconds=3600.0,
        )
        await control.open()
        return control

    @property
    def incidents(self) -> list[Incident]:
        return [entry for entry in self.ears.heard if isinstance(entry, Incident)]

    @property
    def transitions(self) -> list[Transition]:
        return [entry for entry in self.ears.heard if isinstance(entry, Transition)]


def command(action: Action, expected_version: int | None = None, **changes: Any) -> Command:
    order = Order(actor="ops", reason="because", at=NOW, expected_version=expected_version)
    return Command(action=action, order=order, **changes)


def stage_of(control: Controller) -> str:
    assert control.transition_log.state is not None
    return control.transition_log.state.stage.value


@pytest.mark.parametrize("initial", [Stage.SHADOW, Stage.FULL])
async def test_new_rollout_begins_where_the_settings_say(tmp_path: Path, initial: Stage) -> None:
    """In a new database, and once: a restart begins nothing."""
    plant = Plant(tmp_path, initial=initial)
    for _ in range(2):
        control = await plant.start()
        assert (stage_of(control), len(control.transition_log.transitions)) == (initial.value, 1)
        await control.close()


async def test_walk_survives_restarts_between_its_steps(tmp_path: Path) -> None:
    """Each promotion needs the one before, and is there after the controller's death."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    for version, expected in enumerate(("limited", "expanded", "full"), start=1):
        control = await plant.start()
        found = await control.command(command(Action.PROMOTE, version, force=True))
        assert found.stage.value == expected
        # No close: it died. Only its lock must go, as it does with a process.
        control._journal.close()
    control = await plant.start()
    assert [each.to_stage.value for each in control.transition_log.transitions] == [
        "shadow",
        "limited",
        "expanded",
        "full",
    ]
    await control.close()


async def test_orders_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    """Without data no promotion, with an old version no order, and nothing has changed."""
    control = await Plant(tmp_path, initial=Stage.SHADOW).start()
    with pytest.raises(TransitionRefused, match="better: no window has closed yet, needs 508 to 1"):
        await control.command(command(Action.PROMOTE, 1))
    with pytest.raises(StaleVersion, match="expected_version must be 1, was 7"):
        await control.command(command(Action.PAUSE, 7))
    with pytest.raises(TransitionRefused, match="sample ratio mismatch"):
        await control.command(command(Action.PROMOTE, 1, force=True, integrity=("sample ratio mismatch",)))
    assert stage_of(control) == "shadow"
    await control.close()


async def test_pause_holds_and_resume_goes_on(tmp_path: Path) -> None:
    """The share stays, and a promotion has to wait."""
    control = await Plant(tmp_path).start()
    paused = await control.command(command(Action.PAUSE, 1))
    assert (paused.stage.value, paused.share) == ("paused", 0.5)
    with pytest.raises(TransitionRefused, match="resume it first"):
        await control.command(command(Action.PROMOTE, 2, force=True))
    assert (await control.command(command(Action.RESUME, 2))).stage.value == "expanded"
    await control.close()


def _pair(log_ratio: float, number: int, **changes: Any) -> PairedObservation:
    """One pair of `expanded`, alternating with `number` a little, so that there is a variance."""
    values: dict[str, Any] = {
        "at": NOW,
        "ramp": 1,
        "stage": "expanded",
        "baseline": evaluation().baseline,
        "budget_ms": 25,
        "log_makespan_ratio": log_ratio + 0.02 * (-1) ** number,
        "differences": (0.0,) * 5,
    }
    return PairedObservation(**values | changes)


def _pairs(count: int, log_ratio: float) -> list[PairedObservation]:
    return [
        _pair(log_ratio, number, decision_id=f"d{number}", unit=f"u{number}", job_list_digest=str(number))
        for number in range(count)
    ]


_TRIGGERS: dict[str, list[Any]] = {
    "critical_violation": [evaluation(1, Outcome.CRITICAL)],
    "data_corruption": [
        Alarm(decision_id="d", at=NOW, ramp=1, stage="expanded", corruption=CorruptionKind.CHECKSUM, detail="d")
    ],
    "crash_rate": [evaluation(number, Outcome.CRASH) for number in range(CRASHES_TO_FIRE)],
    "completion_rate": [evaluation(number, Outcome.INCOMPLETE) for number in range(6)],
    "makespan_increase": _pairs(QUICK.limits.window, 0.3),
}


@pytest.mark.parametrize("name", _TRIGGERS)
async def test_each_guardrail_rolls_back_with_evidence(tmp_path: Path, name: str) -> None:
    """Each of the five triggers leads to rolled back, an incident that says why, and nothing else."""
    plant = Plant(tmp_path)
    control = await plant.start()
    reply = await control.exchange(report(*_TRIGGERS[name]))
    assert reply.state is not None
    assert (reply.state.stage, reply.state.share) == (Stage.ROLLED_BACK, 0.0)
    (incident,) = plant.incidents
    assert (incident.trigger, incident.action, incident.stage) == (name, "rolled back", "expanded")
    assert incident.evidence["trigger"]["guardrail"] == name
    assert incident.evidence["readings"]
    assert plant.transitions[-1].actor == "guardrail"
    await control.close()


async def test_healthy_events_roll_nothing_back(tmp_path: Path) -> None:
    """Fifty good answers and better makespans leave the stage alone, and are counted; a day of them is one window."""
    plant = Plant(tmp_path)
    control = await plant.start()
    events = [evaluation(number) for number in range(50)]
    reply = await control.exchange(report(*events, *_pairs(100, -0.2)))
    assert reply.state is not None
    assert reply.state.stage is Stage.EXPANDED
    assert control.overview()["actual_share"] == 1.0
    assert control.gate().verdict.value == "HOLD"
    assert plant.incidents == []
    await control.close()


class Days:
    """A plant that is planned day by day, as a fake clock goes on; two lists a day, pressed three times each."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.day = 0
        self.told = 0

    async def play(self, control: Controller, days: int, log_ratio: float, stage: str, ramp: int = 1) -> None:
        """The pairs of these days are told, and their windows close."""
        for _ in range(days):
            at = self.plant.clock.now()
            pairs = [
                _pair(
                    log_ratio,
                    self.day,
                    decision_id=f"d{self.told + number}",
                    at=at,
                    ramp=ramp,
                    stage=stage,
                    unit=f"penang//{at.date()}",
                    job_list_digest=str(number // 3),
                    champion_seconds=72_000.0,
                    assigned=ArmRole.MANUAL,
                )
                for number in range(6)
            ]
            await control.exchange(report(*pairs, first=self.told))
            self.told, self.day = self.told + len(pairs), self.day + 1
            self.plant.clock.seconds += DAY_SECONDS
            await control.close_windows()

    async def rest(self, control: Controller) -> None:
        """Two days without a list: all windows are over."""
        self.plant.clock.seconds += 2 * DAY_SECONDS
        await control.close_windows()


async def test_windows_lead_from_shadow_to_full_through_a_restart(tmp_path: Path) -> None:
    """Ten per cent shorter: each promotion opens when its windows have shown it, by nobody's force."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control, days = await plant.start(), Days(plant)
    entered = []
    for stage in ("shadow", "limited", "expanded"):
        while (gate := control.gate()).verdict is GateVerdict.HOLD:
            with pytest.raises(TransitionRefused, match="the verdict is HOLD"):
                await control.command(command(Action.PROMOTE))
            await days.play(control, 1, -0.1, stage)
            if days.day == 7:
                await control.close()
                control = await plant.start()
        assert gate.verdict is GateVerdict.PROMOTE, gate.texts
        await control.command(command(Action.PROMOTE))
        entered.append(days.day)
    assert entered == sorted(entered)
    assert [round(day, -1) for day in entered] == [20, 30, 40]
    found = control.overview()["gate"]
    assert (found["verdict"], found["reasons"]) == ("COMPLETE", ["the challenger serves everything"])
    assert not any(transition.is_forced for transition in plant.transitions)
    await control.close()


async def test_equal_challenger_ends_futile_and_is_not_forced_to_full(tmp_path: Path) -> None:
    """A person forced it half-way; that it is not better is shown in the end, and there it stays."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control, days = await plant.start(), Days(plant)
    await days.play(control, 10, 0.0, "shadow")
    await control.command(command(Action.PROMOTE, force=True))
    await days.play(control, 100, 0.0, "limited")
    gate = control.gate()
    assert (gate.verdict, gate.can_be_forced) == (GateVerdict.FUTILE, True)
    await control.command(command(Action.PROMOTE, force=True))
    await days.play(control, 5, 0.0, "expanded")
    with pytest.raises(TransitionRefused, match="the verdict is FUTILE"):
        await control.command(command(Action.PROMOTE, force=True))
    await control.close()


async def test_harm_of_windows_rolls_back_with_an_incident(tmp_path: Path) -> None:
    """A few lists a day at +30 %: too few for the last hundred pairs; it stays a rollback in the next ramp."""
    plant = Plant(tmp_path)
    control, days = await plant.start(), Days(plant)
    while stage_of(control) == "expanded" and days.day < 60:
        await days.play(control, 1, 0.3, "expanded")
    assert (stage_of(control), days.day < 20) == ("rolled_back", True)
    (incident,) = plant.incidents
    assert (incident.trigger, incident.action) == ("makespan_increase", "rolled back")
    trigger = incident.evidence["trigger"]
    assert (trigger["rule"], trigger["baseline"]) == ("evidence over windows", "rule")
    assert "to 1 that plans are longer by more than 10%" in trigger["detail"]
    await control.command(command(Action.PROMOTE))
    await control.close_windows()
    assert (stage_of(control), control.gate().verdict) == ("shadow", GateVerdict.ROLLBACK)
    assert plant.incidents[-1].action == "promotion is blocked"
    await control.close()


async def test_plant_that_is_shown_to_be_worse_stays_on_the_champion(tmp_path: Path) -> None:
    """One of six at +25 %, the others shorter; without the database when it has one again; also after a restart."""
    plant = Plant(tmp_path)
    control = await plant.start()
    told, ratios = 0, {f"plant {letter}": 0.22 if letter == "f" else -0.1 for letter in "abcdef"}
    for day in range(40):
        at = plant.clock.now()
        pairs = [
            _pair(
                ratio,
                day,
                decision_id=f"{day} {name}",
                at=at,
                unit=f"{name.removeprefix('plant ')}//{at.date()}",
                job_list_digest=name,
                champion_seconds=72_000.0,
                assigned=ArmRole.MANUAL,
                strata=(name, "lists without setups"),
            )
            for name, ratio in ratios.items()
        ]
        await control.exchange(report(*pairs, first=told))
        told += len(pairs)
        plant.clock.seconds += DAY_SECONDS
        plant.line.is_cut = day < 35
        await control.close_windows()
        assert control.transition_log.state is not None
        if day < 35:
            assert control.transition_log.state.held_back == ()
            # An owner that was away takes the lease again when it meets.
        else:
            await control.meet()
    state = control.transition_log.state
    assert state.held_back == ("plant f",)
    (held,) = [each for each in plant.transitions if each.action is Action.HOLD_BACK]
    assert (held.actor, held.reason) == ("guardrail", "worse by more than 2 % in plant f")
    assert "worse by more than 2 % in plant f: these lists stay on the champion" in control.gate().texts
    assert control.overview()["held_back"] == ["plant f"]
    await control.close()
    control = await plant.start()
    assert control.overview()["held_back"] == ["plant f"]
    await control.close()


async def test_evidence_belongs_to_the_arms_and_not_to_the_ramp(tmp_path: Path) -> None:
    """It lives through a rollback, and through another name of the same policy; with another policy it begins anew."""
    hashes = {"published": "h1", "same@2": "h1", "other@1": "h2"}
    plant = Plant(
        tmp_path,
        initial=Stage.SHADOW,
        identify=lambda name: ModelIdentity(model_id=name, sha256=hashes.get(name, name)),
    )
    control, days = await plant.start(), Days(plant)
    await days.play(control, 10, -0.1, "shadow")
    await days.rest(control)
    await control.command(command(Action.ROLLBACK))
    await control.command(command(Action.PROMOTE))
    await control.command(command(Action.ACTIVATE, challenger="same@2"))
    assert control.gate().readings[0].n == 10
    await control.command(command(Action.ACTIVATE, challenger="other@1"))
    assert control.gate().readings[0].n == 0
    await control.close()


async def test_decision_after_the_close_counts_in_the_open_day(tmp_path: Path) -> None:
    """A clock that steps back, and news of a day that has closed: the window is not told twice."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control, days = await plant.start(), Days(plant)
    await days.play(control, 1, -0.1, "shadow")
    await days.rest(control)
    plant.clock.seconds -= 3 * DAY_SECONDS
    await days.play(control, 1, -0.1, "shadow")
    assert control.gate().readings[0].n == 1
    plant.clock.seconds += 9 * DAY_SECONDS
    await control.close_windows()
    assert control.gate().readings[0].n == 2
    await control.close()


def _stored(day: int, arm: ArmRole, makespan: float, model: str | None) -> EvaluationRecord:
    at = NOW + timedelta(days=day)
    names = ("setup_seconds", "tardiness_seconds", "utilisation_percent", "on_time_percent")
    figures = dict.fromkeys((*names, "important_on_time_percent", "completion_percent"), 0.0)
    return EvaluationRecord(
        decision_id=f"s{day}",
        arm=arm.value,
        role=arm.value,
        created_at=at,
        plant_id="penang",
        unit=f"penang//{at.date()}",
        stage="shadow",
        share=0.0,
        rollout_version=1,
        ramp=1,
        is_forced=False,
        job_list_sha256="0" * 64,
        is_served=arm is ArmRole.MANUAL,
        status="valid",
        outcome="ok",
        reason=None,
        model=model,
        source=None,
        baseline="rule",
        time_budget_ms=0,
        job_count=170,
        proposal_ms=1.0,
        judge_ms=1.0,
        figures=KeyFigures(makespan_seconds=makespan, **figures),  # type: ignore[arg-type]
        safety_score=1.0,
        violation_count=0,
        violations="[]",
    )


@pytest.mark.parametrize("before", [None, 1])
async def test_windows_of_an_earlier_version_are_counted_from_the_database(tmp_path: Path, before: int | None) -> None:
    """Statistics that compared pair by pair, or none at all: the gate holds and says so until the rows are counted."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control = await plant.start()
    await control.close()
    document = json.loads((tmp_path / STATISTICS).read_text()) if before else None
    (tmp_path / STATISTICS).unlink(missing_ok=True)
    if document is not None:
        (tmp_path / STATISTICS).write_text(json.dumps(document | {"format": 1, "comparison": {"format": 1}}))
    _store(plant, [*_rows(20), replace(_stored(50, ArmRole.PPO, 10.0, "earlier@1"), decision_id="x")])
    plant.clock.seconds += 30 * DAY_SECONDS
    control = await plant.start()
    plant.line.is_cut = True
    await control.close_windows()
    assert control.gate().texts[0].startswith("windows of before are not counted yet: ")
    plant.line.is_cut = False
    await control.close_windows()
    gate = control.gate()
    assert (gate.verdict, gate.readings[0].n) == (GateVerdict.PROMOTE, 20)
    await control.close()
    control = await plant.start()
    await control.close_windows()
    assert control.gate().readings[0].n == 20
    await control.close()
    # Another node, with an empty folder, knows of the rollout what the database tells it.
    successor = Plant(tmp_path / "elsewhere", initial=Stage.SHADOW)
    successor.database, successor.line = plant.database, plant.database.line()
    successor.clock.seconds = plant.clock.seconds
    control = await successor.start()
    await control.close_windows()
    assert control._statistics.windows == 20
    await control.close()


def _rows(days: int, makespan: float = 90.0, first: int = 0, **changes: Any) -> list[EvaluationRecord]:
    """Rows of both arms, one list a day, as every service stores them."""
    return [
        replace(_stored(day, arm, found, model), **changes)
        for day in range(first, first + days)
        for arm, found, model in ((ArmRole.PPO, makespan, PUBLISHED), (ArmRole.MANUAL, 100.0, None))
    ]


def _store(plant: Plant, rows: list[EvaluationRecord]) -> None:
    with plant.database.engine.begin() as connection:
        insert_evaluations(connection, rows)


async def _take_over(plant: Plant, control: Controller) -> None:
    """The lease of a dead owner expires, and that controller takes it."""
    for seconds in (LEASE_SECONDS, TAKEOVER_SECONDS, 0.0):
        plant.clock.seconds += seconds
        await control.meet()
    assert control.overview()["is_owner"]


async def test_whoever_takes_the_rollout_over_counts_what_the_owner_stored(tmp_path: Path) -> None:
    """A follower that had counted before, and then the first owner with its own statistics, see the other's harm."""
    first, second = Plant(tmp_path / "a"), Plant(tmp_path / "b")
    second.database, second.line, second.clock = first.database, first.database.line(), first.clock
    owner, follower = await first.start(), await second.start()
    for control in (owner, follower):
        await control.close_windows()
        assert control._statistics.uncounted is None
    _store(first, _rows(5, 100.0, stage="expanded"))
    await owner.close()
    first.clock.seconds += 30 * DAY_SECONDS
    await _take_over(second, follower)
    await follower.close_windows()
    assert (follower._statistics.windows, stage_of(follower)) == (5, "expanded")
    _store(first, _rows(20, 150.0, first=30, stage="expanded"))
    await follower.close()
    first.clock.seconds += 30 * DAY_SECONDS
    owner = await first.start()
    assert not owner.overview()["is_owner"]
    await _take_over(first, owner)
    await owner.close_windows()
    assert (owner._statistics.windows, stage_of(owner)) == (25, "rolled_back")
    await owner.close()


async def test_restart_of_the_same_owner_counts_nothing_again(tmp_path: Path) -> None:
    """Nobody else owned the rollout meanwhile: what the routers told is known, whatever the database has of it."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control, days = await plant.start(), Days(plant)
    await control.close_windows()
    await days.play(control, 10, -0.1, "shadow")
    await days.rest(control)
    await control.close()
    control = await plant.start()
    assert (control._statistics.uncounted, control._statistics.windows) == (None, 10)
    await control.close()


async def test_news_that_come_after_the_recount_count_once(tmp_path: Path) -> None:
    """Routers kept them while there was no controller; their rows were counted before they are told."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    _store(plant, _rows(1))
    control = await plant.start()
    plant.clock.seconds += 60
    await control.close_windows()
    comparison = control._statistics._comparison
    assert [each.lists for each in comparison.partial] == [1]
    pairs = [replace(_pairs(1, -0.1)[0], decision_id=name, stage="shadow") for name in ("s0", "new")]
    await control.exchange(report(*pairs))
    assert sum(comparison.losses(Stage.SHADOW).accepted.values()) == 2
    assert sum(each.lists for each in comparison.partial) == 2
    await control.close()


async def test_pairs_whose_rows_are_not_stored_yet_outlive_a_recount(tmp_path: Path) -> None:
    """They were told and counted; the spool brings their rows later."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control, days = await plant.start(), Days(plant)
    await control.close_windows()
    await days.play(control, 3, -0.1, "shadow")
    await days.rest(control)
    control._statistics.own(7)
    assert control.gate().texts[0].startswith("windows of before are not counted yet")
    await control.close_windows()
    assert (control._statistics.uncounted, control._statistics.windows) == (None, 3)
    await control.close()


async def test_harm_is_not_forgotten_by_another_challenger_and_back(tmp_path: Path) -> None:
    """What is stored of the same arms counts, whoever was compared in between; losses of the other do not."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control = await plant.start()
    _store(plant, _rows(20, 150.0))
    plant.clock.seconds += 30 * DAY_SECONDS
    await control.close_windows()
    assert control.gate().verdict is GateVerdict.ROLLBACK
    await control.command(command(Action.ACTIVATE, challenger="other@1"))
    await control.close_windows()
    assert (control.gate().verdict, control._statistics.windows) == (GateVerdict.HOLD, 0)
    lost = replace(_stored(31, ArmRole.MANUAL, 1.0, None), ramp=2, status="unanswered", outcome=None, figures=None)
    _store(plant, [lost])
    await control.command(command(Action.ACTIVATE, challenger=PUBLISHED))
    await control.close_windows()
    assert (control.gate().verdict, control._statistics.windows) == (GateVerdict.ROLLBACK, 20)
    assert sum(control._statistics._comparison.losses(Stage.SHADOW).lost[ArmRole.MANUAL].values()) == 0
    await control.close()


async def test_manifest_that_cannot_be_read_costs_no_evidence(tmp_path: Path) -> None:
    """At one start nobody can tell who the challenger is: the gate holds and says so, and goes on when it is known."""
    lost = [False]

    def identify(name: str) -> ModelIdentity | None:
        return None if lost[0] and name == PUBLISHED else ModelIdentity(model_id=name, sha256=name)

    plant = Plant(tmp_path, initial=Stage.SHADOW, identify=identify)
    control, days = await plant.start(), Days(plant)
    await control.close_windows()
    await days.play(control, 20, -0.1, "shadow")
    await days.rest(control)
    before = control.gate()
    await control.close()
    lost[0] = True
    control = await plant.start()
    await control.close_windows()
    assert (control.gate().verdict, control.gate().texts[0]) == (GateVerdict.HOLD, UNIDENTIFIED)
    await control.close()
    for is_lost in (True, False):
        lost[0] = is_lost
        control = await plant.start()
        lost[0] = False
        await control.meet()
        await control.close_windows()
        assert (control.gate().verdict, control.gate().readings) == (before.verdict, before.readings)
        await control.close()


async def test_pairs_of_an_arm_that_nobody_can_name_count_when_it_is_known(tmp_path: Path) -> None:
    """They are not put down to the arms of before, and not lost."""
    lost = [False]

    def identify(name: str) -> ModelIdentity | None:
        return None if lost[0] and name == "other@1" else ModelIdentity(model_id=name, sha256=name)

    plant = Plant(tmp_path, initial=Stage.SHADOW, identify=identify)
    control, days = await plant.start(), Days(plant)
    await control.close_windows()
    lost[0] = True
    await control.command(command(Action.ACTIVATE, challenger="other@1"))
    await days.play(control, 5, -0.1, "shadow", ramp=2)
    await days.rest(control)
    assert control._statistics.windows == 0
    lost[0] = False
    await control.meet()
    await control.close_windows()
    assert (control._statistics.arms[0], control._statistics.windows) == ("other@1", 5)
    await control.close()


async def test_statistics_are_saved_while_windows_cannot_be_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the history raises, the heartbeat goes on."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)

    def damaged() -> list[dict[str, Any]]:
        raise RuntimeError("a word that nobody knows")

    plant.line.all_transitions = damaged  # type: ignore[method-assign]
    control = await plant.start(heartbeat_seconds=0.01)
    await control.exchange(report(evaluation(1, stage="shadow")))
    async with asyncio.timeout(10.0):
        while not (tmp_path / STATISTICS).exists() or "'rollout windows' failed" not in caplog.text:
            await asyncio.sleep(0.01)
    assert control.gate().texts[0] == "windows of before are not counted yet"
    await control.close()


async def test_recount_reads_pages_and_loses_no_row_between_them(tmp_path: Path) -> None:
    """More rows than a page holds, three lists at the same instant each day: every window has its three lists."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    plant.line.page_size = 5
    await (await plant.start()).close()
    (tmp_path / STATISTICS).unlink(missing_ok=True)
    with plant.database.engine.begin() as connection:
        rows = [
            replace(
                _stored(day, arm, makespan, model),
                decision_id=f"s{day:02}-{number}",
                job_list_sha256=f"{number:064}",
            )
            for day in range(20)
            for number in range(3)
            for arm, makespan, model in ((ArmRole.PPO, 90.0, PUBLISHED), (ArmRole.MANUAL, 100.0, None))
        ]
        insert_evaluations(connection, rows)
    plant.clock.seconds += 30 * DAY_SECONDS
    control = await plant.start()
    await control.close_windows()
    assert (control._statistics.windows, control._statistics._comparison.lists) == (20, 60)
    await control.close()


@pytest.mark.parametrize(
    ("initial", "is_dry_run", "action"),
    [(Stage.SHADOW, False, "promotion is blocked"), (Stage.EXPANDED, True, "dry run")],
)
async def test_trigger_where_nothing_is_to_be_rolled_back(
    tmp_path: Path, initial: Stage, is_dry_run: bool, action: str
) -> None:
    """In shadow, and on trial, a trigger opens an incident, stays, and stands in the way of promotion."""
    plant = Plant(tmp_path, initial=initial, is_dry_run=is_dry_run)
    control = await plant.start()
    await control.exchange(report(evaluation(1, Outcome.CRITICAL, stage=initial.value)))
    assert (stage_of(control), plant.incidents[0].action) == (initial.value, action)
    assert control.gate().verdict.value == "ROLLBACK"
    with pytest.raises(TransitionRefused, match="the verdict is ROLLBACK"):
        await control.command(command(Action.PROMOTE, 1, force=True))
    await control.close()


async def test_latch_of_a_router_rolls_all_back(tmp_path: Path) -> None:
    """A router's rollback becomes the state, once; after a person's new start it is of the past."""
    plant = Plant(tmp_path)
    control = await plant.start()
    latch = Latch(ramp=1, version=1, at=NOW, router="r1", actor="night shift", reason="late trucks")
    for _ in range(2):
        await control.exchange(report(latch=latch))
    assert (stage_of(control), len(plant.transitions), len(plant.incidents)) == ("rolled_back", 2, 1)
    assert plant.transitions[-1].actor == "night shift"
    again = await control.command(command(Action.PROMOTE, 2))
    assert (again.stage, again.ramp) == (Stage.SHADOW, 2)
    await control.exchange(report(latch=latch))
    assert stage_of(control) == "shadow"
    await control.close()


async def test_rollback_ignores_the_version_and_is_idempotent(tmp_path: Path) -> None:
    """From wherever, however often."""
    plant = Plant(tmp_path)
    control = await plant.start()
    for _ in range(2):
        found = await control.command(command(Action.ROLLBACK, 999))
        assert found.stage is Stage.ROLLED_BACK
    assert (len(plant.transitions), [each.trigger for each in plant.incidents]) == (2, ["by hand"])
    await control.close()


async def test_events_count_once_whoever_tells_them_again(tmp_path: Path) -> None:
    """A report that is sent twice, and one that overlaps, add nothing; a gap is asked for again."""
    control = await Plant(tmp_path).start()
    crashes = [evaluation(number, Outcome.CRASH) for number in range(2)]
    for _ in range(3):
        assert (await control.exchange(report(*crashes, first=5))).received == 7
    overlapping = report(*crashes, evaluation(9), first=5)
    assert (await control.exchange(overlapping)).received == 8
    assert (await control.exchange(report(evaluation(12, Outcome.CRASH), first=10, oldest=8))).received == 8
    assert stage_of(control) == "expanded"
    await control.close()


async def test_statistics_survive_the_controller(tmp_path: Path) -> None:
    """Two crashes before a restart and one after it are three; what was not kept is told again."""
    plant = Plant(tmp_path)
    control = await plant.start()
    await control.exchange(report(*(evaluation(number, Outcome.CRASH) for number in range(2))))
    await control.close()
    control = await plant.start()
    reply = await control.exchange(report(first=2, oldest=2))
    assert (reply.received, reply.kept) == (2, 2)
    await control.exchange(report(evaluation(3, Outcome.CRASH), first=2))
    assert stage_of(control) == "rolled_back"
    await control.close()


async def test_statistics_that_were_lost_are_told_again(tmp_path: Path) -> None:
    """A controller that dies before it has kept its events answers so that the router sends them again."""
    plant = Plant(tmp_path)
    control = await plant.start()
    reply = await control.exchange(report(evaluation(1), evaluation(2)))
    assert (reply.received, reply.kept) == (2, 0)
    control._journal.close()
    control = await plant.start()
    assert (await control.exchange(report(first=2, oldest=0))).received == 0
    await control.close()


async def test_rollback_that_died_with_its_controller_is_carried_out(tmp_path: Path) -> None:
    """The statistics knew of the third crash, the journal not yet of the rollback: the next controller rolls back."""
    plant = Plant(tmp_path)
    control = await plant.start()
    before = (tmp_path / JOURNAL).read_bytes()
    await control.exchange(report(*(evaluation(number, Outcome.CRASH) for number in range(3))))
    await control.close()
    (tmp_path / JOURNAL).write_bytes(before)
    control = await plant.start()
    assert stage_of(control) == "rolled_back"
    assert control.transition_log.transitions[-1].actor == "guardrail"
    await control.exchange(report(first=3, oldest=3))
    assert [each.to_stage.value for each in control.transition_log.transitions] == ["expanded", "rolled_back"]
    await control.close()


async def test_next_ramp_starts_from_nothing(tmp_path: Path) -> None:
    """What the last ramp did does not count against the next one."""
    control = await Plant(tmp_path).start()
    await control.exchange(report(*(evaluation(number, Outcome.CRASH) for number in range(3))))
    await control.command(command(Action.PROMOTE, 2))
    late = [evaluation(number, Outcome.CRASH) for number in range(3, 9)]
    await control.exchange(report(*late, first=3))
    assert (stage_of(control), control.overview()["triggers"]) == ("shadow", [])
    await control.close()


async def test_newer_state_of_the_database_wins(tmp_path: Path) -> None:
    """A controller on a new node, with an empty or an old journal, goes on where the database is."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    plant.database.put(state(version=40, stage=Stage.LIMITED, share=0.1))
    control = await plant.start()
    assert (stage_of(control), [each.version for each in control.transition_log.transitions]) == ("limited", [40])
    assert plant.transitions == [], "nobody here decided it"
    await control.close()


async def test_journal_of_another_rollout_gives_way_to_the_database(tmp_path: Path) -> None:
    """Two states under one version: the database's is the truth, and it is said that there was another one."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    await control.close()
    plant.database = SharedDatabase(plant.clock.now, plant.clock.steady)
    plant.line = plant.database.line()
    plant.database.put(state(version=1, stage=Stage.LIMITED, share=0.1))
    control = await plant.start()
    assert stage_of(control) == "limited"
    (alarm,) = (await control.exchange(report())).alarms
    assert alarm == (
        "version 1 of this service (full) was never in the database, which holds version 1 (limited): "
        "the database's is in force"
    )
    assert plant.incidents[-1].trigger == "conflicting version"
    await control.close()


async def test_journal_that_is_ahead_of_a_strange_database_means_manual(tmp_path: Path) -> None:
    """Its routers would not go back a version, so nobody knows the stage until a person has chosen a folder."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control = await plant.start()
    await control.command(command(Action.PROMOTE, 1, force=True))
    await control.close()
    plant.database = SharedDatabase(plant.clock.now, plant.clock.steady)
    plant.line = plant.database.line()
    plant.database.put(state(version=1, stage=Stage.LIMITED, share=0.1))
    control = await plant.start()
    reply = await control.exchange(report())
    assert reply.state is None
    assert "the journal is of another rollout, move it away" in reply.alarms[0]
    assert len(plant.database.rows()) == 1
    await control.close()


async def test_empty_journal_without_a_database_knows_nothing(tmp_path: Path) -> None:
    """It does not begin anew: the stage is unknown, so routers serve manual, until the database tells."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    plant.line.is_cut = True
    control = await plant.start()
    assert (await control.exchange(report(evaluation(1)))).state is None
    for action in (Action.PROMOTE, Action.ROLLBACK):
        with pytest.raises(RolloutUnavailable, match="the stage is not known"):
            await control.command(command(action))
    plant.database.put(state(version=12, stage=Stage.LIMITED, share=0.1))
    plant.line.is_cut = False
    await control.meet()
    assert stage_of(control) == "limited"
    assert (await control.exchange(report(evaluation(1)))).received == 1
    await control.close()


async def test_own_journal_is_enough(tmp_path: Path) -> None:
    """With the database down a controller that has a journal starts as if nothing were."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    await control.close()
    plant.line.is_cut = True
    control = await plant.start()
    assert stage_of(control) == "full"
    await control.close()


@pytest.mark.parametrize("name", [JOURNAL, STATISTICS])
async def test_damaged_journal_means_manual(tmp_path: Path, name: str) -> None:
    """What cannot be read is set aside, and the rollout is rolled back: whatever the database says."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    await control.exchange(report(evaluation(1)))
    await control.close()
    (tmp_path / name).write_text('{"kind": "transition", "transition": {}}\n')
    control = await plant.start()
    assert stage_of(control) == "rolled_back"
    assert control.transition_log.state is not None
    assert control.transition_log.state.version == 2
    assert list(tmp_path.glob("*.damaged-*"))
    await control.close()


async def test_unreadable_database_means_manual(tmp_path: Path) -> None:
    """A state that this version does not understand is not guessed at; when somebody has mended it, it is in force."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    plant.database.put(state(version=2), {"state": '{"version": 2}'})
    await control.meet()
    reply = await control.exchange(report())
    assert reply.state is None
    assert reply.alarms == ("the rollout's newest state in the database cannot be read, so manual serves",)
    with plant.database.engine.begin() as connection:
        connection.execute(ROLLOUT_TRANSITION.delete().where(ROLLOUT_TRANSITION.c.version == 2))
    await control.meet()
    assert (stage_of(control), (await control.exchange(report())).alarms) == ("full", ())
    await control.close()


async def test_order_that_waits_too_long_for_the_database_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller may have been told so by then, and would give it again."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    monkeypatch.setattr("deployments.rollout_control.agreement.MAX_ORDER_SECONDS", -1.0)
    with pytest.raises(RolloutUnavailable, match="nothing was changed"):
        await control.command(command(Action.PAUSE))
    assert [each.to_stage for each in plant.transitions] == [Stage.FULL]
    assert (await control.command(command(Action.ROLLBACK))).stage is Stage.ROLLED_BACK
    await control.close()


async def test_torn_last_line_was_never_promised(tmp_path: Path) -> None:
    """A death in the middle of a rollback leaves the state before it, and the journal goes on."""
    plant = Plant(tmp_path, initial=Stage.FULL)
    control = await plant.start()
    # It died before the database had heard of it.
    plant.line.is_cut = True
    await control.command(command(Action.ROLLBACK))
    await control.close()
    plant.line.is_cut = False
    path = tmp_path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9])
    control = await plant.start()
    assert stage_of(control) == "full"
    await control.command(command(Action.ROLLBACK))
    await control.close()
    kinds = [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]
    assert kinds == ["transition", "transition", "incident"]


async def test_new_numbers_are_a_transition(tmp_path: Path) -> None:
    """Another share in the settings takes effect at the next start, and stands in the trail."""
    plant = Plant(tmp_path, initial=Stage.EXPANDED)
    control = await plant.start()
    await control.close()
    steps = replace(QUICK, expanded=replace(QUICK.expanded, share=0.6))
    plant.settings = replace(plant.settings, configuration=steps)
    control = await plant.start()
    assert control.transition_log.state is not None
    assert control.transition_log.state.share == 0.6
    assert control.transition_log.transitions[-1].actor == "configuration"
    await control.close()


async def test_clock_that_steps_back_changes_nothing(tmp_path: Path) -> None:
    """The trail never runs backwards, and the stage has lasted no less than nothing."""
    plant = Plant(tmp_path, initial=Stage.SHADOW)
    control = await plant.start()
    plant.clock.seconds = -3600.0
    await control.command(command(Action.PROMOTE, 1, force=True))
    first, second = control.transition_log.transitions
    assert second.at >= first.at
    assert control.overview()["seconds_in_stage"] == 0.0
    await control.close()


async def test_second_controller_does_not_start(tmp_path: Path) -> None:
    """One stage has one owner."""
    control = await Plant(tmp_path).start()
    with pytest.raises(ControllerTaken, match="must belong to one rollout controller"):
        ControllerJournal(tmp_path).open(patience_seconds=0.0)
    await control.close()
