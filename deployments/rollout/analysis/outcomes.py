"""What one evaluation of an arm was and what a pair of them says."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from deployments.rollout.assignment import ArmRole
from env.judge.verdict import Verdict, ViolationCode
from env.schedule import KeyFigures

MAX_HASHES = 256
"""Jobs that a sketch names one by one; of a longer list it keeps those with the least hashes."""

SKETCH_FORMAT = 1
PAIRING_FORMAT = 1

MAX_EFFORT_RATIO = 1.1
"""Of the CPU seconds of two policies whose plans are compared."""


class Outcome(StrEnum):
    """How one evaluation of the challenger ended, served or in shadow; exactly one of these.

    `LATE` work came to nothing in time but did end, `SHED` work was not begun, and on an `UNJUDGED` plan the judge
    failed that judged the other arm's.
    """

    OK = "ok"
    INCOMPLETE = "incomplete"
    CRITICAL = "critical"
    CRASH = "crash"
    UNJUDGED = "unjudged"
    LATE = "late"
    SHED = "shed"
    INPUT = "input"

    @property
    def is_counted(self) -> bool:
        """Whether the outcome says something about the challenger; bad input and work lost to load do not."""
        return self not in (Outcome.LATE, Outcome.SHED, Outcome.INPUT)

    @property
    def loses_pair(self) -> bool:
        """Whether the request would have been compared had the challenger not lost it for want of time or room."""
        return self in (Outcome.UNJUDGED, Outcome.LATE, Outcome.SHED)


class LossCause(StrEnum):
    """Why an accepted request has no pair."""

    INCOMPLETE = "incomplete"
    CRASH = "crash"
    UNJUDGED = "unjudged"
    LATE = "late"
    UNANSWERED = "unanswered"
    CLIENT_GONE = "client gone"
    REJECTED = "rejected"
    DROPPED = "dropped"
    EFFORT = "effort"
    FORCED = "forced"


ASKED_FOR_ARM = "the request asked for its arm"
"""The reason of a pair that is missing for `FORCED`."""

CAUSE_OF = {
    Outcome.INCOMPLETE: LossCause.INCOMPLETE,
    Outcome.CRITICAL: LossCause.REJECTED,
    Outcome.CRASH: LossCause.CRASH,
    Outcome.UNJUDGED: LossCause.UNJUDGED,
    Outcome.LATE: LossCause.LATE,
    Outcome.SHED: LossCause.LATE,
}
"""Of an arm's outcome that leaves a request without a pair; bad input and plans that may be compared are no loss."""


class Baseline(StrEnum):
    """Where the champion's plan came from: the rule (or a model), or a planner's own plan in the request."""

    RULE = "rule"
    PLANNER = "planner"


class CorruptionKind(StrEnum):
    """How stored data turned out not to be what was written."""

    CHECKSUM = "checksum mismatch on read-back"
    TWO_PAYLOADS = "two payloads under one decision id"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """How a key figure is compared between the arms, by difference in its own unit.

    `deviation_floor` is the least standard deviation that is believed, `notable` half the width of a plot.
    """

    deviation_floor: float
    notable: float
    is_more_better: bool = True


COMPARED_FIGURES = {
    "tardiness_seconds": ComparedFigure(deviation_floor=60.0, notable=8 * 3600.0, is_more_better=False),
    "utilisation_percent": ComparedFigure(deviation_floor=0.1, notable=10.0),
    "on_time_percent": ComparedFigure(deviation_floor=0.1, notable=10.0),
    "important_on_time_percent": ComparedFigure(deviation_floor=0.1, notable=10.0),
    "completion_percent": ComparedFigure(deviation_floor=0.1, notable=5.0),
}
"""Those of `KeyFigures` that are compared by difference; makespan is compared by ratio."""
DIFFERENCE_NAMES = tuple(COMPARED_FIGURES)
MAKESPAN = "log_makespan_ratio"
KPI_NAMES = ("makespan_seconds", *DIFFERENCE_NAMES, "flow_time_mean_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSketch:
    """Which jobs a list has, small enough to travel with each event.

    `hashes` are the least 32-bit hashes of its different jobs in rising order, four big-endian bytes each, at most
    `MAX_HASHES`: the whole set of a list of so many jobs. `jobs` is how many different jobs there are.
    """

    jobs: int
    hashes: bytes

    def __post_init__(self) -> None:
        if self.jobs < 1 or len(self.hashes) != 4 * min(self.jobs, MAX_HASHES):
            raise ValueError(f"a sketch of {self.jobs} jobs must not have {len(self.hashes)} bytes of hashes")

    @classmethod
    def of(cls, job_ids: Iterable[str]) -> JobSketch:
        """The sketch of a list, whatever the order of its jobs. Raises `ValueError` without a job."""
        hashes = np.fromiter((_hash(job_id) for job_id in set(job_ids)), dtype=np.uint32)
        least = np.sort(hashes)[:MAX_HASHES].astype(">u4")
        return cls(jobs=len(hashes), hashes=least.tobytes())

    def overlap(self, other: JobSketch) -> float:
        """Jaccard index of both sets of jobs, 0 to 1: exact up to `MAX_HASHES` jobs each, an estimate beyond.

        The estimate is the part of the least hashes of the union that both have (Broder, "On the resemblance and
        containment of documents", 1997); its standard error is at most 0.5 / sqrt(256) = 0.03.
        """
        mine, theirs = _members(self.hashes), _members(other.hashes)
        union = mine | theirs
        if max(self.jobs, other.jobs) > MAX_HASHES:
            union = frozenset(sorted(union)[:MAX_HASHES])
        return len(mine & theirs & union) / len(union)

    def as_text(self) -> str:
        """One word, with the version of its format; `from_text` is the inverse."""
        return f"{SKETCH_FORMAT}.{self.jobs}.{base64.urlsafe_b64encode(self.hashes).decode()}"

    @classmethod
    def from_text(cls, text: str) -> JobSketch:
        """Raises `ValueError` for anything that `as_text` did not write."""
        version, jobs, hashes = text.split(".")
        if version != str(SKETCH_FORMAT):
            raise ValueError(f"a sketch must have format {SKETCH_FORMAT}, had {version}")
        return cls(jobs=int(jobs), hashes=base64.b64decode(hashes, altchars=b"-_", validate=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a policy spent on one plan; `iterations` of search, None where a budget of time ended it."""

    iterations: int | None
    cpu_seconds: float

    def is_like(self, other: Effort) -> bool:
        """Whether two plans may be compared: the same iterations, or CPU seconds within `MAX_EFFORT_RATIO`."""
        if self.iterations is not None and self.iterations == other.iterations:
            return True
        return max(self.cpu_seconds, other.cpu_seconds) <= MAX_EFFORT_RATIO * min(self.cpu_seconds, other.cpu_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What the served plan of `arm` came to when it was computed once more: see `recomputations.Recomputation`."""

    arm: ArmRole
    log_ratio: float
    is_same: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What one arm's evaluation is compared by, as far as it is stored with it: see `Evaluation`.

    `repetition` is that of the served arm where the evaluated one was computed, None where there was none. Without
    `is_sampled` the arms of the request were not to be compared.
    """

    jobs: JobSketch | None = None
    strata: tuple[str, ...] = ()
    effort: Effort | None = None
    repetition: Repetition | None = None
    is_sampled: bool = True

    def as_text(self) -> str:
        """One line of JSON, with the version of its format; `from_text` is the inverse."""
        document: dict[str, Any] = {"format": PAIRING_FORMAT, "strata": self.strata}
        if self.jobs is not None:
            document["jobs"] = self.jobs.as_text()
        if self.effort is not None:
            document["effort"] = [self.effort.iterations, self.effort.cpu_seconds]
        if (again := self.repetition) is not None:
            document["again"] = [again.arm.value, again.log_ratio, again.is_same]
        if not self.is_sampled:
            document["sampled"] = False
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Pairing:
        """Raises `ValueError` for anything that `as_text` did not write."""
        try:
            document = json.loads(text)
            if document["format"] != PAIRING_FORMAT:
                raise ValueError(f"a pairing must have format {PAIRING_FORMAT}, had {document['format']}")
            jobs, effort, again = (document.get(name) for name in ("jobs", "effort", "again"))
            return cls(
                jobs=None if jobs is None else JobSketch.from_text(jobs),
                strata=tuple(map(str, document["strata"])),
                effort=None if effort is None else Effort(iterations=effort[0], cpu_seconds=float(effort[1])),
                repetition=None if again is None else _repetition(*again),
                is_sampled=document.get("sampled", True) is not False,
            )
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"a pairing is damaged: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One arm, evaluated on one request.

    `ramp` is the number of the rollout's attempt (see `stages`), so that late news of an earlier attempt
    cannot count against the next. `source` names the replica that a crash is blamed on. `job_list_digest`
    identifies the request's job list. `is_forced` marks a request that asked for its arm: left out of every
    statistic. `figures` is None when no schedule was judged. `budget_ms` is the time that the arm was given.
    `jobs` tells which lists are alike, `strata` is what kinds of lists this one belongs to, and `assigned` the arm that
    its unit was given. `effort` is None where nothing was searched, as by a rule. `changed_jobs` are those that it
    moves, adds or removes against the plan that the request continues. News of routers before 0.3.0 lack all of these.
    """

    decision_id: str
    at: datetime
    ramp: int
    stage: str
    unit: str
    job_list_digest: str
    arm: ArmRole
    outcome: Outcome
    is_served: bool
    baseline: Baseline = Baseline.RULE
    model: str | None = None
    source: str | None = None
    budget_ms: int = 0
    latency_ms: float | None = None
    figures: KeyFigures | None = None
    is_forced: bool = False
    detail: str = ""
    jobs: JobSketch | None = None
    strata: tuple[str, ...] = ()
    assigned: ArmRole | None = None
    effort: Effort | None = None
    changed_jobs: int = 0

    def __post_init__(self) -> None:
        _require_zone(self.at)

    @property
    def sketch(self) -> JobSketch | None:
        """`jobs`, also of an event that was pickled before there was such a field."""
        found: JobSketch | None = since_0_3(self, "jobs")
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain values only; without what is for the statistics alone and says nothing to people."""
        hidden = ("figures", "jobs", "strata", "assigned", "effort", "changed_jobs")
        names = (field.name for field in fields(self) if field.name not in hidden)
        document = {name: getattr(self, name) for name in names}
        return document | {"at": self.at.isoformat(), "kpis": None if self.figures is None else asdict(self.figures)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedObservation:
    """Both arms on the same request with the same budget: challenger against champion.

    `log_makespan_ratio` is ln(challenger / champion), negative when the challenger is shorter. `differences`
    are challenger minus champion, in the order of `DIFFERENCE_NAMES` and in their units. The makespans themselves
    are in seconds, `figures` and `changed_jobs` those of both in this order. News of routers before 0.3.0 lack some.
    """

    decision_id: str
    at: datetime
    ramp: int
    stage: str
    unit: str
    job_list_digest: str
    baseline: Baseline
    budget_ms: int
    log_makespan_ratio: float
    differences: tuple[float, ...]
    jobs: JobSketch | None = None
    challenger_seconds: float | None = None
    champion_seconds: float | None = None
    strata: tuple[str, ...] = ()
    assigned: ArmRole | None = None
    figures: tuple[KeyFigures, KeyFigures] | None = None
    changed_jobs: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        _require_zone(self.at)
        if len(self.differences) != len(DIFFERENCE_NAMES):
            raise ValueError(f"differences must be {len(DIFFERENCE_NAMES)}, were {len(self.differences)}")
        if not all(map(math.isfinite, (self.log_makespan_ratio, *self.differences))):
            raise ValueError(f"a paired observation must be finite, was {self.log_makespan_ratio}, {self.differences}")

    @property
    def sketch(self) -> JobSketch | None:
        """`jobs`, also of an event that was pickled before there was such a field."""
        found: JobSketch | None = since_0_3(self, "jobs")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPair:
    """An accepted request without a pair, for `cause`; `assigned` is the arm that its unit was given.

    `unit` and `job_list_digest` are those of the request, None where they are not known.
    """

    decision_id: str
    at: datetime
    ramp: int
    stage: str
    reason: str
    cause: LossCause = LossCause.DROPPED
    assigned: ArmRole | None = None
    unit: str | None = None
    job_list_digest: str | None = None

    def __post_init__(self) -> None:
        _require_zone(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A finding outside any evaluation that rolls back at once: corrupt data, or a served schedule that is wrong.

    `corruption` is None when a schedule that was served failed re-validation.
    """

    decision_id: str
    at: datetime
    ramp: int
    stage: str
    corruption: CorruptionKind | None
    detail: str = ""

    def __post_init__(self) -> None:
        _require_zone(self.at)


def judged_outcome(challenger: Verdict, champion: Verdict) -> Outcome:
    """Outcome of a challenger that answered, given what the judge said of both plans.

    A missed deadline is reported, never critical. When the champion is rejected too, the input is at fault.
    """
    objections = {violation.code for violation in challenger.violations if violation.is_critical}
    if not objections:
        return Outcome.OK
    if any(violation.is_critical for violation in champion.violations):
        return Outcome.INPUT
    return Outcome.INCOMPLETE if objections == {ViolationCode.MISSING_OPERATION} else Outcome.CRITICAL


def paired(challenger: Evaluation, champion: Evaluation) -> PairedObservation | None:
    """The two evaluations of one decision as one observation; None where they must not be compared.

    They are compared when both have a complete, valid schedule, were not forced and had the same budget:
    a schedule without its last jobs is short for the wrong reason. Two policies must have made the same effort too.
    Raises `ValueError` when they belong to different decisions or to the same arm.
    """
    if challenger.decision_id != champion.decision_id or (challenger.arm, champion.arm) != (
        ArmRole.PPO,
        ArmRole.MANUAL,
    ):
        raise ValueError(
            f"a pair must be ppo and manual of one decision, was {challenger.arm} of {challenger.decision_id} "
            f"and {champion.arm} of {champion.decision_id}"
        )
    first, second = challenger.figures, champion.figures
    comparable = challenger.outcome is champion.outcome is Outcome.OK and not challenger.is_forced
    if not comparable or first is None or second is None or challenger.budget_ms != champion.budget_ms:
        return None
    if first.makespan_seconds <= 0 or second.makespan_seconds <= 0 or not is_like_effort(challenger, champion):
        return None
    return PairedObservation(
        decision_id=challenger.decision_id,
        at=challenger.at,
        ramp=challenger.ramp,
        stage=challenger.stage,
        unit=challenger.unit,
        job_list_digest=challenger.job_list_digest,
        baseline=champion.baseline,
        budget_ms=challenger.budget_ms,
        log_makespan_ratio=math.log(first.makespan_seconds / second.makespan_seconds),
        differences=tuple(getattr(first, name) - getattr(second, name) for name in DIFFERENCE_NAMES),
        jobs=challenger.sketch,
        challenger_seconds=float(first.makespan_seconds),
        champion_seconds=float(second.makespan_seconds),
        strata=since_0_3(challenger, "strata", ()),
        assigned=since_0_3(challenger, "assigned"),
        figures=(first, second),
        changed_jobs=(since_0_3(challenger, "changed_jobs", 0), since_0_3(champion, "changed_jobs", 0)),
    )


def pair_or_loss(challenger: Evaluation, champion: Evaluation) -> PairedObservation | MissingPair | None:
    """The pair of one decision, or why it is none; None where the input was at fault. Raises as `paired` does."""
    pair = paired(challenger, champion)
    if pair is not None:
        return pair
    lost = next((each for each in (challenger, champion) if each.outcome in CAUSE_OF), None)
    if lost is not None:
        return _loss(lost, CAUSE_OF[lost.outcome], lost.detail or lost.outcome.value)
    if challenger.outcome is champion.outcome is Outcome.OK and not is_like_effort(challenger, champion):
        return _loss(challenger, LossCause.EFFORT, "one policy had more than 10 % more CPU time than the other")
    return None


def _repetition(arm: str, log_ratio: float, is_same: bool | None) -> Repetition:
    return Repetition(arm=ArmRole(arm), log_ratio=float(log_ratio), is_same=None if is_same is None else bool(is_same))


def _loss(evaluation: Evaluation, cause: LossCause, reason: str) -> MissingPair:
    return MissingPair(
        decision_id=evaluation.decision_id,
        at=evaluation.at,
        ramp=evaluation.ramp,
        stage=evaluation.stage,
        reason=reason,
        cause=cause,
        assigned=since_0_3(evaluation, "assigned"),
        unit=evaluation.unit,
        job_list_digest=evaluation.job_list_digest,
    )


def pairs_of(evaluations: Iterable[Evaluation]) -> tuple[PairedObservation, ...]:
    """The pairs among these evaluations, by the time of the challenger's."""
    by_decision: dict[str, dict[ArmRole, Evaluation]] = defaultdict(dict)
    for evaluation in evaluations:
        by_decision[evaluation.decision_id][evaluation.arm] = evaluation
    found = (
        paired(arms[ArmRole.PPO], arms[ArmRole.MANUAL]) for arms in by_decision.values() if len(arms) == len(ArmRole)
    )
    return tuple(sorted((pair for pair in found if pair is not None), key=lambda pair: pair.at))


def is_like_effort(challenger: Evaluation, champion: Evaluation) -> bool:
    """Whether both arms made the same effort, as far as they made any: a rule searches for nothing."""
    mine: Effort | None = since_0_3(challenger, "effort")
    theirs: Effort | None = since_0_3(champion, "effort")
    return mine is None or theirs is None or mine.is_like(theirs)


def since_0_3(event: object, name: str, absent: Any = None) -> Any:
    """A field of an event, `absent` where the event was pickled before there was such a field."""
    return getattr(event, name, absent)


def _require_zone(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError(f"an instant must have a time zone, was {at.isoformat()}")


@lru_cache(maxsize=4096)
def _members(hashes: bytes) -> frozenset[int]:
    """The hashes of a sketch as a set; a list is compared with many others."""
    return frozenset(np.frombuffer(hashes, dtype=">u4").tolist())


def _hash(job_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(job_id.encode(), digest_size=4).digest(), "big")
