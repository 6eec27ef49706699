"""Guardrails of one ramp and the comparison of its arms, fed once with every event, whichever router it comes from."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deployments.errors import UnreadableState
from deployments.rollout.analysis.guardrails import ComparisonEvent, Event, Guardrails
from deployments.rollout.analysis.outcomes import Baseline, Evaluation
from deployments.rollout.analysis.recomputations import Recomputation, RecomputationEvidence
from deployments.rollout.analysis.triggers import Guardrail, GuardrailReading, GuardrailRule, Limits, Trigger
from deployments.rollout.analysis.windows import SIZE_THIRDS
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.comparison import WindowComparison
from deployments.rollout.ramp.gate import Evidence, odds, odds_text
from deployments.rollout.ramp.state import RolloutState, Stage
from deployments.rollout_control.protocol import RouterReport

MAX_ROUTERS = 64
MAX_RECENT = 50
MAX_LATEST = 20_000
"""News of both arms that are remembered, because their rows may not be in the database yet when it is asked; and those
that the database has told, because a router may tell them after it."""
FORMAT = 3
READABLE_FORMATS = (1, 2, FORMAT)
UNCOUNTED = "windows of before are not counted yet"
"""Why the gate holds while what the database has of earlier windows has not been read."""
UNIDENTIFIED = "the manifest of an arm cannot be read, so whose windows are compared is not known"

_EventKey = tuple[bool, str]
_log = logging.getLogger(__name__)


class RampStatistics:
    """What is known of one ramp and of its arms, and how far each router's news have been taken.

    The guardrails are those of the ramp. The comparison belongs to challenger and champion, by their hashes, and lives
    through ramps, restarts and controllers.
    """

    def __init__(self, *, ramp: int, limits: Limits) -> None:
        self.ramp = ramp
        self.uncounted: str | None = UNCOUNTED
        """Why windows that the database may have are not in the comparison yet; None: they are."""
        self._limits = limits
        self._stage: Stage | None = None
        self._guardrails = Guardrails(ramp=ramp, limits=limits)
        self._comparison = WindowComparison(challenger="", champion="", limits=limits)
        self._served: Counter[str] = Counter()
        self._recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        self._received: OrderedDict[str, int] = OrderedDict()
        self._is_identified = True
        self._owner_token: int | None = None
        self._recounts = 0
        self._latest: deque[ComparisonEvent] = deque(maxlen=MAX_LATEST)
        self._known: frozenset[_EventKey] = frozenset()

    def enter(self, state: RolloutState, arms: tuple[str, str] | None) -> bool:
        """`state` is in force, with the hashes of challenger and champion as `arms`; whether that is anything new.

        With another ramp the guardrails begin anew, with other arms the comparison, and with another stage what is
        asked of the stage alone. What the routers have told stays told, and what is stored of these arms, of an earlier
        ramp or of another service, is to be counted. While nobody can tell the arms (None) the comparison stays as it
        is, and the gate holds.
        """
        is_known = (state.ramp, state.serving_stage) == (self.ramp, self._stage)
        is_other = arms is not None and arms != self._comparison.arms
        if is_known and not is_other and self._is_identified == (arms is not None):
            return False
        self._is_identified = arms is not None
        if arms is not None and is_other:
            challenger, champion = arms
            self._comparison = WindowComparison(challenger=challenger, champion=champion, limits=self._limits)
            of_ramp = [event for event in self._latest if event.ramp == state.ramp]
            self._latest.clear()
            # Of this ramp are those alone that came before its arms could be told.
            self._latest.extend(of_ramp)
            self._require_recount()
        if state.ramp != self.ramp:
            self._guardrails = Guardrails(ramp=state.ramp, limits=self._limits)
            self._served.clear()
            self._recent.clear()
        self.ramp, self._stage = state.ramp, state.serving_stage
        if not is_known or is_other:
            self._comparison.begin_stage(state.serving_stage)
        return True

    def own(self, token: int) -> bool:
        """The rollout is owned with this token; whether that is anything new.

        Where it does not follow on the last one, another service has owned the rollout since, whose routers told it
        what nobody here has heard.
        """
        if token == self._owner_token:
            return False
        if self._owner_token is None or token != self._owner_token + 1:
            self._require_recount()
        self._owner_token = token
        return True

    @property
    def recounts(self) -> int:
        """How often it turned out that what is stored must be counted: a recount answers those before it alone."""
        return self._recounts

    def with_latest(self, stored: Sequence[ComparisonEvent]) -> list[ComparisonEvent]:
        """`stored`, and what the routers told of these arms besides: the newest `MAX_LATEST`."""
        known = frozenset(map(_key_of, stored))
        return [*stored, *(event for event in self._latest if _key_of(event) not in known)]

    @property
    def arms(self) -> tuple[str, str]:
        """Hashes of the challenger and the champion that are compared."""
        return self._comparison.arms

    def adopt(self, counted: WindowComparison, events: Sequence[ComparisonEvent]) -> None:
        """The comparison goes on from `counted`, which has counted `events`, and from what came meanwhile.

        Of recomputations there are no rows of before 0.3.0, and none that were pruned: so what the routers have told
        goes on where it is more of them.
        """
        if self._stage is not None and counted.windows.stage != self._stage.value:
            counted.begin_stage(self._stage)
        for event in self.with_latest(events)[len(events) :]:
            counted.observe(event)
        if counted.recomputations.count < self._comparison.recomputations.count:
            counted.recomputations = self._comparison.recomputations
        newest = sorted(events, key=lambda event: event.at)[-MAX_LATEST:]
        self._known = frozenset(map(_key_of, newest))
        self._comparison, self.uncounted = counted, None

    def close(self, now: datetime) -> list[Trigger]:
        """Counts the windows that are over at `now`; what the evidence triggers.

        None closes before what is stored has been counted.
        """
        if self.uncounted is None and self._is_identified:
            self._comparison.close(now)
        fired = (self._guardrails.note(self._harm(baseline, now)) for baseline in self._comparison.windows.harmed)
        return [trigger for trigger in fired if trigger is not None]

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

    @property
    def windows(self) -> int:
        """How many have closed."""
        return self._comparison.windows.windows

    @property
    def worse_at_the_door(self) -> frozenset[str]:
        """Kinds of lists on which the challenger is shown to be worse, as far as a router can tell them beforehand.

        None while it is not known whose windows they are, or not all of them are counted.
        """
        if self.uncounted is not None or not self._is_identified:
            return frozenset()
        return frozenset(self._comparison.windows.worse_strata) - frozenset(SIZE_THIRDS)

    def readings(self) -> tuple[GuardrailReading, ...]:
        """Every rule as it stands."""
        return self._guardrails.readings()

    def breaches(self) -> tuple[GuardrailReading, ...]:
        """Point breaches of this moment."""
        return self._guardrails.breaches()

    def evidence(self, stage: Stage, integrity: tuple[str, ...] = ()) -> Evidence:
        """What the gate must know about `stage`; `integrity` is what makes the experiment doubtful."""
        unknown = (self.uncounted or "") if self._is_identified else UNIDENTIFIED
        return self._comparison.evidence(stage, self._guardrails, integrity, unknown=unknown)

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
            "stage": None if self._stage is None else self._stage.value,
            "comparison": None if self.uncounted else self._comparison.snapshot(),
            "arms": list(self.arms),
            "recomputations": self._comparison.recomputations.snapshot(),
            "served": dict(self._served),
            "recent": self.recent,
            "received": dict(self._received),
            "owner_token": self._owner_token,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, limits: Limits) -> RampStatistics:
        """The statistics that `snapshot` described. Raises `UnreadableState`.

        Of format 1, which compared pair by pair, the guardrails are kept, and windows are to be counted from the
        database; so they are where a controller died before it had done that. Recomputations are kept there too, since
        none may promote what they speak against meanwhile.
        """
        if document.get("format") not in READABLE_FORMATS:
            raise UnreadableState(f"statistics must have format {FORMAT}, had {document.get('format')}")
        try:
            statistics = cls(ramp=int(document["ramp"]), limits=limits)
            statistics._guardrails = Guardrails.restored(document["guardrails"], limits=limits)
            if document["format"] != 1 and document["comparison"] is not None:
                statistics._comparison = WindowComparison.restored(document["comparison"], limits=limits)
                statistics._stage = None if document["stage"] is None else Stage(document["stage"])
                statistics.uncounted = None
            elif "recomputations" in document:
                challenger, champion = map(str, document["arms"])
                statistics._comparison = WindowComparison(challenger=challenger, champion=champion, limits=limits)
                if document["stage"] is not None:
                    statistics._stage = Stage(document["stage"])
                    statistics._comparison.begin_stage(statistics._stage)
                statistics._comparison.recomputations = RecomputationEvidence.restored(document["recomputations"])
            token = document.get("owner_token")
            statistics._owner_token = None if token is None else int(token)
            statistics._served.update(document["served"])
            statistics._recent.extend(document["recent"])
            statistics._received.update({str(name): int(number) for name, number in document["received"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"statistics are damaged: {error!r}") from error
        return statistics

    def _require_recount(self) -> None:
        self.uncounted = UNCOUNTED
        self._recounts += 1
        self._known = frozenset()

    def _observe(self, event: Event) -> Trigger | None:
        if event.ramp != self.ramp:
            return None
        if isinstance(event, ComparisonEvent) and _key_of(event) not in self._known:
            self._latest.append(event)
            if self.uncounted is None and not self._is_identified:
                # It may be of other arms than those that are compared, so it is counted when they are known.
                self._require_recount()
            if self.uncounted is None or (isinstance(event, Recomputation) and self._is_identified):
                self._comparison.observe(event)
        if isinstance(event, Evaluation):
            if event.is_served:
                self._served[f"{event.stage}/{event.arm.value}"] += 1
            if event.arm is ArmRole.PPO:
                self._recent.append(event.as_json())
        return self._guardrails.observe(event)

    def _harm(self, baseline: Baseline, at: datetime) -> Trigger:
        windows = self._comparison.windows
        reading = windows.harm_of(baseline)
        return Trigger(
            guardrail=Guardrail.MAKESPAN,
            rule=GuardrailRule.EVIDENCE,
            at=at,
            decision_id="",
            value=odds(reading.log_e),
            limit=odds(reading.log_threshold),
            n=reading.n,
            baseline=baseline,
            detail=f"{odds_text(odds(reading.log_e))} to 1 that plans are longer by more than "
            f"{self._limits.makespan_increase:.0%}, after {reading.n} windows",
        )


def _key_of(event: ComparisonEvent) -> _EventKey:
    """One decision may be a pair, or lose it, and be computed again besides."""
    return isinstance(event, Recomputation), event.decision_id
