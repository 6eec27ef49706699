"""Challenger against champion by windows: what they say, what is missing, and the evidence that reaches the gate."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import HARM, WindowEvidence
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.margins import MarginEvidence
from deployments.rollout.analysis.outcomes import LossCause, MissingPair, PairedObservation, since_0_3
from deployments.rollout.analysis.recomputations import Recomputation, RecomputationEvidence
from deployments.rollout.analysis.sample_ratio import LossCounts
from deployments.rollout.analysis.triggers import Limits
from deployments.rollout.analysis.windows import (
    Amounts,
    ListInWindow,
    SizeThirds,
    WindowLog,
    WindowObservation,
    WindowPair,
    window_of,
)
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.gate import Evidence
from deployments.rollout.ramp.state import Stage, Transition
from env.schedule import KeyFigures

DISPLAY_ALPHA = 0.05
SNAPSHOT_FORMAT = 3
READABLE_FORMATS = (2, SNAPSHOT_FORMAT)
"""Format 1 was the comparison pair by pair, whose means say nothing of windows; format 2 knew no margins."""

MAX_TRIALS = 4096
"""Requests that are remembered, so that pressing again counts nothing new; of more, the oldest are forgotten."""

_PAIR = "pair"
_SECONDS_OF_HOUR = 3600.0


class WindowComparison:
    """All windows of one challenger against one champion, through stages, ramps and restarts; both are hashes.

    Feed every pair and every missing pair once, in the order of arrival, and `close` windows as time goes by.
    """

    def __init__(self, *, challenger: str, champion: str, limits: Limits) -> None:
        harm = replace(HARM, center=limits.log_makespan_limit)
        self.windows = WindowEvidence(challenger=challenger, champion=champion, harm=harm)
        self._log = WindowLog()
        self._sizes = SizeThirds()
        self._requests: Counter[str] = Counter()
        # By what a request was: stage, arm, window and job list.
        self._trials: dict[str, None] = {}
        self._lists = 0
        self._margins = MarginEvidence(limits.margins)
        self._rates = limits.margins.rates
        self.recomputations = RecomputationEvidence()
        """Served plans of the present stage that were computed again."""

    @property
    def arms(self) -> tuple[str, str]:
        """Hashes of challenger and champion."""
        return self.windows.challenger, self.windows.champion

    @property
    def lists(self) -> int:
        """Pairs of the windows that have closed, presses too."""
        return self._lists

    @property
    def late(self) -> int:
        """Pairs that came after the close of their window and counted in the day that was open."""
        return self._log.late

    @property
    def partial(self) -> tuple[WindowObservation, ...]:
        """Windows that are open yet: to be shown, never decided on."""
        return self._log.partial()

    def begin_stage(self, stage: Stage) -> None:
        """`stage` has begun: its losses, its recomputations and its own question begin anew."""
        self.windows.begin_stage(stage.value)
        self.recomputations = RecomputationEvidence()
        for key in [key for key in self._requests if key.startswith(f"{stage.value}/")]:
            del self._requests[key]
        for key in [key for key in self._trials if key.startswith(f"{stage.value}/")]:
            del self._trials[key]

    def observe(self, event: Event) -> None:
        """Take one event; those that say nothing of both arms leave no trace."""
        # One of the stage before may come after its end, where all is asked anew.
        if isinstance(event, Recomputation) and event.stage == self.windows.stage:
            self.recomputations.add(event)
        if not isinstance(event, PairedObservation | MissingPair):
            return
        # What routers before 0.3.0 told was assigned somehow; in one arm it weighs against neither.
        arm: ArmRole = since_0_3(event, "assigned") or ArmRole.MANUAL
        came_to = _PAIR
        if isinstance(event, MissingPair):
            came_to = since_0_3(event, "cause", LossCause.DROPPED).value
        else:
            self._log.observe(self._pair(event))
        if self._is_new(event, arm):
            self._requests[f"{event.stage}/{arm.value}/{came_to}"] += 1

    def _is_new(self, event: PairedObservation | MissingPair, arm: ArmRole) -> bool:
        """Whether the request is the first of its list in its window, stage and arm.

        Presses of one list fare alike, so they are one trial, and what became of the first is what it came to. News of
        routers before 0.3.0 do not tell which list was lost: each of those is a trial.
        """
        unit, digest = since_0_3(event, "unit"), since_0_3(event, "job_list_digest")
        if unit is None or digest is None:
            return True
        request = hashlib.sha256(f"{window_of(unit, event.at)}\0{digest}".encode()).hexdigest()[:16]
        key = f"{event.stage}/{arm.value}/{request}"
        is_new = key not in self._trials
        self._trials[key] = None
        if len(self._trials) > MAX_TRIALS:
            del self._trials[next(iter(self._trials))]
        return is_new

    def close(self, now: datetime) -> tuple[WindowObservation, ...]:
        """Counts the windows that are over at `now`."""
        closed = self._log.close(now)
        if not closed:
            return ()
        self.windows.add(closed)
        self._margins.add(closed)
        self._lists += sum(observation.lists for observation in closed)
        return closed

    def losses(self, stage: Stage) -> LossCounts:
        """Requests of `stage` with and without a pair, by the arm that they were assigned."""
        lost = {
            arm: {cause: self._requests[f"{stage.value}/{arm.value}/{cause.value}"] for cause in LossCause}
            for arm in ArmRole
        }
        return LossCounts(
            accepted={
                arm: self._requests[f"{stage.value}/{arm.value}/{_PAIR}"] + sum(lost[arm].values()) for arm in ArmRole
            },
            lost=lost,
        )

    def evidence(
        self, stage: Stage, guardrails: Guardrails, integrity: tuple[str, ...] = (), unknown: str = ""
    ) -> Evidence:
        """What the gate must know about `stage`; `integrity` comes from `sample_ratio`."""
        return Evidence(
            triggers=guardrails.triggers,
            breaches=guardrails.breaches(),
            integrity=(*integrity, *self.recomputations.findings),
            windows=self.windows,
            losses=self.losses(stage),
            margins=self._margins,
            unknown=unknown,
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "windows": self.windows.snapshot(),
            "log": self._log.snapshot(),
            "sizes": self._sizes.snapshot(),
            "requests": dict(self._requests),
            "trials": list(self._trials),
            "lists": self._lists,
            "margins": self._margins.snapshot(),
            "recomputations": self.recomputations.snapshot(),
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, limits: Limits) -> WindowComparison:
        """The comparison that `snapshot` described. Raises `UnreadableState`."""
        if document.get("format") not in READABLE_FORMATS:
            found = document.get("format")
            raise UnreadableState(f"comparison snapshot must have format {SNAPSHOT_FORMAT}, had {found}")
        try:
            comparison = cls(challenger="", champion="", limits=limits)
            harm = replace(HARM, center=limits.log_makespan_limit)
            comparison.windows = WindowEvidence.restored(document["windows"], harm)
            comparison._log = WindowLog.restored(document["log"])
            comparison._sizes = SizeThirds(document["sizes"])
            comparison._requests.update(document["requests"])
            comparison._trials = dict.fromkeys(map(str, document.get("trials", ())))
            comparison._lists = int(document["lists"])
            if document["format"] != READABLE_FORMATS[0]:
                comparison._margins = MarginEvidence.restored(document["margins"], limits.margins)
                comparison.recomputations = RecomputationEvidence.restored(document["recomputations"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"comparison snapshot is damaged: {error!r}") from error
        return comparison

    def _pair(self, event: PairedObservation) -> WindowPair:
        third = None if event.sketch is None else self._sizes.of(event.sketch.jobs)
        seconds: float | None = since_0_3(event, "champion_seconds")
        return WindowPair(
            item=ListInWindow.of(event),
            at=event.at,
            stage=event.stage,
            baseline=event.baseline,
            log_ratio=event.log_makespan_ratio,
            hours=1.0 if seconds is None else seconds / _SECONDS_OF_HOUR,
            strata=(*since_0_3(event, "strata", ()), *(() if third is None else (third,))),
            differences=event.differences,
            amounts=self._amounts(event),
        )

    def _amounts(self, event: PairedObservation) -> Amounts | None:
        figures: tuple[KeyFigures, KeyFigures] | None = since_0_3(event, "figures")
        if figures is None:
            return None
        costs = map(self._rates.cost_of, figures, since_0_3(event, "changed_jobs", (0, 0)))
        return Amounts(float(figures[1].tardiness_seconds), *costs)


def replay(
    comparison: WindowComparison, events: Iterable[Event], transitions: Sequence[Transition], *, now: datetime
) -> tuple[tuple[datetime, WindowObservation], ...]:
    """Feeds a new comparison with what was stored, as time went by; the windows that closed, each with when it did.

    `transitions` tell when stages began. Windows close by the hour, as far as events come; in the end those before
    `now` do.
    """
    changes = sorted(transitions, key=lambda each: each.version)
    closed: list[tuple[datetime, WindowObservation]] = []
    begun: tuple[int, Stage] | None = None
    place, hour = 0, None

    def pass_time(at: datetime) -> None:
        nonlocal begun, place
        closed.extend((at, observation) for observation in comparison.close(at))
        while place < len(changes) and changes[place].at <= at:
            state = changes[place].state
            if (state.ramp, state.serving_stage) != begun:
                comparison.begin_stage(state.serving_stage)
            begun, place = (state.ramp, state.serving_stage), place + 1

    for event in sorted(events, key=lambda each: each.at):
        this_hour = event.at.replace(minute=0, second=0, microsecond=0)
        if this_hour != hour or (place < len(changes) and changes[place].at <= event.at):
            pass_time(event.at)
            hour = this_hour
        comparison.observe(event)
    pass_time(now)
    return tuple(closed)
