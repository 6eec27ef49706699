"""The triggers that roll back at once, as an accumulator that is fed event by event.

Why not plain point rules: looked at after every request, "below 95 % over the last hundred" fires sooner or
later in almost every healthy rollout. A bound that holds at every moment does not, but goes blind after
thousands of healthy requests; hence a CUSUM and a window beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.errors import UnreadableState
from deployments.rollout.analysis.guardrail_rules import Completion, LossRate, Makespan
from deployments.rollout.analysis.outcomes import Alarm, Baseline, Evaluation, MissingPair, Outcome, PairedObservation
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule, Limits, Trigger
from deployments.rollout.analysis.windows import ListInWindow, Trials
from deployments.rollout.assignment import ArmRole

ComparisonEvent = PairedObservation | MissingPair | Recomputation
"""What says something of both arms; rows tell it as the routers do."""
Event = Evaluation | ComparisonEvent | Alarm

SNAPSHOT_FORMAT = 2
READABLE_FORMATS = (1, SNAPSHOT_FORMAT)


def one_event_trigger(event: Event) -> Trigger | None:
    """The trigger that this event is by itself; a router needs nothing else to latch."""
    if isinstance(event, Alarm):
        guardrail = Guardrail.CRITICAL if event.corruption is None else Guardrail.CORRUPTION
        found = "a served schedule failed re-validation" if event.corruption is None else event.corruption.value
        return _event_trigger(guardrail, event, f"{found}: {event.detail}" if event.detail else found)
    if isinstance(event, Evaluation) and _is_judged(event) and event.outcome is Outcome.CRITICAL:
        return _event_trigger(Guardrail.CRITICAL, event, event.detail)
    return None


class Guardrails:
    """All guardrails of one ramp. Feed every event once, in the order of arrival; sequences run through the stages.

    Events of another ramp, forced requests and outcomes that are not counted leave no trace. A rate has one trial for
    each list group of a window, and a makespan one pair: who presses again learns nothing new, and proves nothing.
    """

    def __init__(self, *, ramp: int, limits: Limits) -> None:
        self.ramp = ramp
        self.limits = limits
        self._triggers: dict[Guardrail, Trigger] = {}
        self._events: dict[Guardrail, int] = {Guardrail.CRITICAL: 0, Guardrail.CORRUPTION: 0}
        self._crashes = LossRate(limits, Guardrail.CRASH, Outcome.CRASH, limits.crash_alpha)
        self._unjudged = LossRate(limits, Guardrail.UNJUDGED, Outcome.UNJUDGED, limits.unjudged_alpha)
        self._completion = Completion(self.limits)
        self._trials = Trials()
        self._makespans = {baseline: Makespan(self.limits, baseline) for baseline in Baseline}

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """The first trigger of each guardrail that ever fired in this ramp, in the order in which they did."""
        return tuple(self._triggers.values())

    def observe(self, event: Event) -> Trigger | None:
        """Take one event; the trigger that it fires, if its guardrail has not fired before."""
        if event.ramp != self.ramp:
            return None
        trigger = self._trigger_of(event)
        return None if trigger is None else self.note(trigger)

    def note(self, trigger: Trigger) -> Trigger | None:
        """Take a trigger that something else has found; it, if its guardrail has not fired before."""
        if trigger.guardrail in self._triggers:
            return None
        self._triggers[trigger.guardrail] = trigger
        return trigger

    def readings(self) -> tuple[GuardrailReading, ...]:
        """Every rule as it stands."""
        rules = [self._event_reading(guardrail) for guardrail in self._events]
        rules += self._crashes.readings() + self._unjudged.readings() + self._completion.readings()
        for makespan in self._makespans.values():
            rules += makespan.readings()
        return tuple(rules)

    def breaches(self) -> tuple[GuardrailReading, ...]:
        """Point breaches of this moment; they block promotion and clear by themselves."""
        return tuple(reading for reading in self.readings() if reading.condition is Condition.BREACH)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse. The limits are not part of it: they are configuration."""
        return {
            "format": SNAPSHOT_FORMAT,
            "ramp": self.ramp,
            "triggers": [trigger.as_json() for trigger in self._triggers.values()],
            "events": {guardrail.value: count for guardrail, count in self._events.items()},
            "crashes": self._crashes.snapshot(),
            "unjudged": self._unjudged.snapshot(),
            "completion": self._completion.snapshot(),
            "trials": self._trials.snapshot(),
            "makespans": {baseline.value: makespan.snapshot() for baseline, makespan in self._makespans.items()},
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, limits: Limits) -> Guardrails:
        """The guardrails that `snapshot` described; of format 1 its counts stay. Raises `UnreadableState`."""
        if document.get("format") not in READABLE_FORMATS:
            raise UnreadableState(
                f"guardrail snapshot must have format {SNAPSHOT_FORMAT}, had {document.get('format')}"
            )
        try:
            guardrails = cls(ramp=int(document["ramp"]), limits=limits)
            for stored in document["triggers"]:
                trigger = Trigger.from_json(stored)
                guardrails._triggers[trigger.guardrail] = trigger
            guardrails._events = {Guardrail(name): int(count) for name, count in document["events"].items()}
            guardrails._crashes.restore(document["crashes"])
            if "unjudged" in document:  # not in what v0.2 wrote
                guardrails._unjudged.restore(document["unjudged"])
            guardrails._completion.restore(document["completion"])
            for name, stored in document["makespans"].items():
                guardrails._makespans[Baseline(name)].restore(stored)
            if document["format"] != 1:
                guardrails._trials = Trials.restored(document["trials"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"guardrail snapshot is damaged: {error!r}") from error
        return guardrails

    def _trigger_of(self, event: Event) -> Trigger | None:
        single = one_event_trigger(event)
        if single is not None:
            self._events[single.guardrail] += 1
        match event:
            case Evaluation() if _is_judged(event):
                is_trial = self._trials.is_new(event)
                rules = (self._crashes, self._unjudged, self._completion)
                later = [rule.feed(event, is_trial) for rule in rules]
                return next((trigger for trigger in (single, *later) if trigger is not None), None)
            case PairedObservation() if self._trials.is_new(event):
                return self._makespans[event.baseline].feed(event, ListInWindow.of(event).window)
            case _:
                return single

    def _event_reading(self, guardrail: Guardrail) -> GuardrailReading:
        count = self._events[guardrail]
        return GuardrailReading(
            guardrail=guardrail,
            rule=GuardrailRule.EVENT,
            value=float(count),
            limit=0.0,
            n=self._crashes.trials,
            condition=Condition.TRIGGERED if count else Condition.HEALTHY,
        )


def _is_judged(event: Evaluation) -> bool:
    return event.arm is ArmRole.PPO and not event.is_forced and event.outcome.is_counted


def _event_trigger(guardrail: Guardrail, event: Evaluation | Alarm, detail: str) -> Trigger:
    return Trigger(
        guardrail=guardrail,
        rule=GuardrailRule.EVENT,
        at=event.at,
        decision_id=event.decision_id,
        value=1.0,
        limit=0.0,
        n=1,
        detail=detail,
    )
