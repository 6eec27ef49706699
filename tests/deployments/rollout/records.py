"""A whole rollout as stored rows: both arms on every request, windows in blocks, stages climbed by the real code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from deployments.rollout.analysis.outcomes import (
    CAUSE_OF,
    Alarm,
    Baseline,
    Evaluation,
    LossCause,
    MissingPair,
    Outcome,
)
from deployments.rollout.analysis.sample_ratio import AssignedUnit
from deployments.rollout.assignment import ArmRole, PlanningWindow
from deployments.rollout.ramp.gate import GateVerdict, PromotionGate
from deployments.rollout.ramp.stages import begin, promote
from deployments.rollout.ramp.state import Order, Stage, Transition
from deployments.rollout.report.arm_figures import Rating, RealisedJob
from deployments.rollout.report.report import Records
from env.schedule import KeyFigures
from tests.deployments.shipped_policy import CONFIGURATION, GOALS

START = datetime.combine(datetime.fromordinal(739_000).date(), datetime.min.time(), tzinfo=UTC)
OPEN = PromotionGate(verdict=GateVerdict.PROMOTE, reasons=())


@dataclass
class TransitionLog:
    """Rows of a rollout that is `shorter` by this log ratio; promoted on days 10 and 20, to `expanded`."""

    days: int = 40
    requests_per_day: int = 12
    log_ratio: float = -0.08
    deviation: float = 0.08
    planner_share: float = 0.25
    seed: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    missing: list[MissingPair] = field(default_factory=list)
    assignments: list[AssignedUnit] = field(default_factory=list)
    jobs: list[RealisedJob] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        order = Order(actor="operations", reason="a new rollout", at=START)
        first = begin(CONFIGURATION, stage=Stage.SHADOW, seed="gantry", challenger="full_production@3", order=order)
        self.transitions.append(first)
        self.state = first.state
        for day in range(self.days):
            if day in (10, 20):
                self._promote(day)
            self._day(day)

    def records(self, *, alarms: Sequence[Alarm] = (), since: datetime | None = None) -> Records:
        return Records(
            at=START + timedelta(days=self.days),
            state=self.state,
            configuration=CONFIGURATION,
            goals=GOALS,
            since=since,
            transitions=self.transitions,
            evaluations=self.evaluations,
            missing=self.missing,
            alarms=alarms,
            assignments=self.assignments,
            jobs=self.jobs,
            ratings=self.ratings,
            uptime_percent=99.95,
            uptime_checks=40 * 24 * 60,
        )

    def _promote(self, day: int) -> None:
        order = Order(actor="operations", reason="the pairs are better", at=START + timedelta(days=day))
        transition = promote(self.state, CONFIGURATION, order, OPEN)
        self.transitions.append(transition)
        self.state = transition.state

    def _day(self, day: int) -> None:
        begin_of_day = START + timedelta(days=day)
        window = PlanningWindow(plant_id="p", line_id=None, day=begin_of_day.date())
        assignment = self.state.assign(window)
        stage = assignment.stage
        for request in range(self.requests_per_day):
            at = begin_of_day + timedelta(minutes=6 * 60 + 40 * request)
            self.assignments.append(
                AssignedUnit(
                    unit=assignment.unit,
                    at=at,
                    ramp=1,
                    stage=stage,
                    share=assignment.share,
                    bucket=assignment.bucket,
                    seed=assignment.seed,
                    hash_version=assignment.hash_version,
                    arm=assignment.arm,
                )
            )
            self._request(at, stage, assignment.unit, assignment.arm, f"{day}-{request}")
        self._feedback(begin_of_day, stage, assignment.share, assignment.unit, assignment.arm)

    def _request(self, at: datetime, stage: str, unit: str, served: ArmRole, name: str) -> None:
        rng = self._rng
        manual = float(rng.normal(49.2, 2.0)) * 3600
        ppo = manual * float(np.exp(rng.normal(self.log_ratio, self.deviation)))
        outcome = Outcome(rng.choice(["ok", "incomplete", "crash"], p=[0.99, 0.008, 0.002]))
        baseline = Baseline.PLANNER if rng.random() < self.planner_share else Baseline.RULE
        common = {
            "decision_id": f"decision-{name}",
            "at": at,
            "ramp": 1,
            "stage": stage,
            "unit": unit,
            "job_list_digest": f"jobs-{name}",
            "baseline": baseline,
            "budget_ms": 500,
            "assigned": served,
        }
        self.evaluations.append(
            Evaluation(
                **common,
                arm=ArmRole.MANUAL,
                outcome=Outcome.OK,
                is_served=served is ArmRole.MANUAL or outcome is not Outcome.OK,
                latency_ms=float(rng.gamma(4, 3)),
                figures=self._key_figures(manual, 78.0),
            )
        )
        if rng.random() < 0.02:
            self._lose(common, LossCause.DROPPED, "queue full")
            return
        if outcome is not Outcome.OK:
            self._lose(common, CAUSE_OF[outcome], outcome.value)
        self.evaluations.append(
            Evaluation(
                **common,
                arm=ArmRole.PPO,
                outcome=outcome,
                is_served=served is ArmRole.PPO and outcome is Outcome.OK,
                model="full_production@3",
                latency_ms=float(rng.gamma(20, 20)),
                figures=self._key_figures(ppo, 83.0) if outcome is Outcome.OK else None,
            )
        )

    def _lose(self, common: dict[str, Any], cause: LossCause, reason: str) -> None:
        fields = {name: common[name] for name in ("decision_id", "at", "ramp", "stage")}
        self.missing.append(MissingPair(**fields, reason=reason, cause=cause, assigned=common["assigned"]))

    def _key_figures(self, makespan_seconds: float, utilisation_percent: float) -> KeyFigures:
        rng = self._rng
        return KeyFigures(
            makespan_seconds=makespan_seconds,
            setup_seconds=0,
            tardiness_seconds=float(rng.gamma(1.0, 1800.0)),
            utilisation_percent=float(rng.normal(utilisation_percent, 2.0)),
            on_time_percent=min(100.0, float(rng.normal(96.5, 1.5))),
            important_on_time_percent=min(100.0, float(rng.normal(99.0, 1.0))),
            completion_percent=100.0,
        )

    def _feedback(self, at: datetime, stage: str, share: float, unit: str, arm: ArmRole) -> None:
        rng = self._rng
        self.ratings.append(Rating(at=at, stage=stage, arm=arm, rating=int(rng.choice([3, 4, 5], p=[0.1, 0.4, 0.5]))))
        for job in range(3):
            end = at + timedelta(hours=20 + job)
            self.jobs.append(
                RealisedJob(
                    unit=unit,
                    at=at,
                    stage=stage,
                    share=share,
                    arm=arm,
                    job_id=f"job-{job}",
                    completed_at=end + timedelta(hours=float(rng.normal(0.3, 1.0))),
                    planned_end_at=end,
                    due_at=end + timedelta(hours=1),
                    begun_under=ArmRole.MANUAL if job == 0 else arm,
                )
            )
