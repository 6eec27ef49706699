"""Guardrails and comparison of one ramp, fed once with every event, whichever router it comes from."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import Evaluation
from deployments.rollout.analysis.triggers import GuardrailReading, Limits, Trigger
from deployments.rollout.assignment import ArmRole
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.comparison import PairedComparison
from deployments.rollout.ramp.gate import Evidence
from deployments.rollout.ramp.state import Stage
from deployments.rollout_control.protocol import RouterReport

MAX_ROUTERS = 64
MAX_RECENT = 50
FORMAT = 1

_log = logging.getLogger(__name__)


class RampStatistics:
    """What is known of one ramp, and how far each router's news have been taken."""

    def __init__(self, *, ramp: int, limits: Limits) -> None:
        self.ramp = ramp
        self._limits = limits
        self._guardrails = Guardrails(ramp=ramp, limits=limits)
        self._comparison = PairedComparison(ramp=ramp)
        self._served: Counter[str] = Counter()
        self._recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        self._received: OrderedDict[str, int] = OrderedDict()

    def begin(self, ramp: int) -> None:
        """The next ramp: nothing of the last one counts, but what the routers have told stays told."""
        self.ramp = ramp
        self._guardrails = Guardrails(ramp=ramp, limits=self._limits)
        self._comparison = PairedComparison(ramp=ramp)
        self._served.clear()
        self._recent.clear()

    def take(self, report: RouterReport) -> list[Trigger]:
        """Every event of the report that has not been taken before; what they trigger, in order.

        Events that do not follow on those that were taken are left for the router to send again. One that raises is
        logged and skipped: sent again it would raise again, and none after it would ever count.
        """
        expected = self._received.get(report.router, report.oldest)
        expected = max(expected, report.oldest)
        self._received[report.router] = expected
        self._received.move_to_end(report.router)
        if len(self._received) > MAX_ROUTERS:
            self._received.popitem(last=False)
        if report.first > expected:
            return []
        triggers = []
        for number, event in enumerate(report.events[expected - report.first :], start=expected):
            self._received[report.router] = number + 1
            try:
                trigger = self._observe(event)
            except Exception:  # the edge where a router's news arrive: whatever it is, the rest must count
                _log.exception("event %d of router %s cannot be counted and is skipped", number, report.router)
                continue
            if trigger is not None:
                triggers.append(trigger)
        return triggers

    def received(self, router: str) -> int:
        """The number of the first event of that router which has not been taken."""
        return self._received.get(router, 0)

    @property
    def all_received(self) -> Mapping[str, int]:
        """The same for every router."""
        return dict(self._received)

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """What has fired in this ramp."""
        return self._guardrails.triggers

    def readings(self) -> tuple[GuardrailReading, ...]:
        """Every rule as it stands."""
        return self._guardrails.readings()

    def breaches(self) -> tuple[GuardrailReading, ...]:
        """Point breaches of this moment."""
        return self._guardrails.breaches()

    def evidence(self, stage: Stage, integrity: tuple[str, ...] = ()) -> Evidence:
        """What the gate must know about `stage`; `integrity` is what makes the experiment doubtful."""
        return self._comparison.evidence(stage, self._guardrails, integrity)

    def served_share(self, stage: Stage) -> float | None:
        """The challenger's part of what was served within `stage`; None before anything was."""
        counts = [self._served[f"{stage.value}/{arm.value}"] for arm in (ArmRole.PPO, ArmRole.MANUAL)]
        return counts[0] / sum(counts) if sum(counts) else None

    @property
    def recent(self) -> list[dict[str, Any]]:
        """The last evaluations of the challenger, oldest first: evidence for incidents."""
        return list(self._recent)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": FORMAT,
            "ramp": self.ramp,
            "guardrails": self._guardrails.snapshot(),
            "comparison": self._comparison.snapshot(),
            "served": dict(self._served),
            "recent": self.recent,
            "received": dict(self._received),
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, limits: Limits) -> RampStatistics:
        """The statistics that `snapshot` described. Raises `UnreadableState`."""
        if document.get("format") != FORMAT:
            raise UnreadableState(f"statistics must have format {FORMAT}, had {document.get('format')}")
        try:
            statistics = cls(ramp=int(document["ramp"]), limits=limits)
            statistics._guardrails = Guardrails.restored(document["guardrails"], limits=limits)
            statistics._comparison = PairedComparison.restored(document["comparison"])
            statistics._served.update(document["served"])
            statistics._recent.extend(document["recent"])
            statistics._received.update({str(name): int(number) for name, number in document["received"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"statistics are damaged: {error!r}") from error
        return statistics

    def _observe(self, event: Event) -> Trigger | None:
        if event.ramp != self.ramp:
            return None
        self._comparison.observe(event)
        if isinstance(event, Evaluation):
            if event.is_served:
                self._served[f"{event.stage}/{event.arm.value}"] += 1
            if event.arm is ArmRole.PPO:
                self._recent.append(event.as_json())
        return self._guardrails.observe(event)
