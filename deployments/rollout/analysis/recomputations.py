"""Whether pairs are honest: served plans, computed once more where the arm that did not serve is computed.

One plan of a pair is served, the other one is computed in the background, at the lowest priority. Were the two places
not alike, every comparison would be biased, and more pairs would only make it surer. So some served plans are computed
again where the others are: the same arm on the same request. Where effort is counted in iterations, or is none, both
must be the same plan; with a budget of time only their makespans can be compared.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import EProcess, SequentialTest
from deployments.rollout.analysis.outcomes import Repetition
from deployments.rollout.analysis.windows import window_of
from deployments.rollout.assignment import ArmRole, is_sampled
from env.schedule import Schedule

SHARE = 0.05
MIN_OF_A_WINDOW = 3
"""Of the served requests so many are computed again: this share, and the first of each window."""
MAX_WINDOWS = 1024
"""Windows whose recomputations are counted; of more, the oldest begins anew."""

CLIP = 0.05
E_THRESHOLD = 100.0
LONGER = SequentialTest(sign=1, center=0.0, threshold=E_THRESHOLD, clip=CLIP)
SHORTER = SequentialTest(sign=-1, center=0.0, threshold=E_THRESHOLD, clip=CLIP)
"""Against "the mean log ratio is 0", from both sides; E of both is their mean."""

SNAPSHOT_FORMAT = 1
REMEDY = "time_budget_ms 0, or a less busy machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputation:
    """One served plan, computed again. `log_ratio` is ln(again / served) of the makespans.

    `is_same` says whether both are the same plan, None where a budget of time ended the search: then they need not be.
    """

    decision_id: str
    at: datetime
    ramp: int
    stage: str
    arm: ArmRole
    log_ratio: float
    is_same: bool | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"an instant must have a time zone, was {self.at.isoformat()}")
        if not math.isfinite(self.log_ratio):
            raise ValueError(f"log_ratio must be finite, was {self.log_ratio}")

    @property
    def repetition(self) -> Repetition:
        """As it is stored with the evaluation of the other arm."""
        return Repetition(arm=self.arm, log_ratio=self.log_ratio, is_same=self.is_same)


class RecomputationSample:
    """Which served requests are computed again: `MIN_OF_A_WINDOW` of each window, and `SHARE` of all.

    The share is drawn by the decision's id, before anybody knows what it came to.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[str, int] = OrderedDict()

    def takes(self, decision_id: str, unit: str, at: datetime) -> bool:
        """Whether this request is computed again; it is counted."""
        window = window_of(unit, at)
        count = self._windows.get(window, 0)
        is_taken = count < MIN_OF_A_WINDOW or is_sampled(f"again/{decision_id}", SHARE)
        self._windows[window] = count + is_taken
        if len(self._windows) > MAX_WINDOWS:
            self._windows.popitem(last=False)
        return is_taken


class RecomputationEvidence:
    """All recomputations of one stage, and what makes the experiment doubtful."""

    def __init__(self) -> None:
        self._same = 0
        self._other = 0
        self._longer = EProcess(LONGER)
        self._shorter = EProcess(SHORTER)
        self._total = 0.0

    def add(self, found: Recomputation) -> None:
        """One more of them."""
        if found.is_same is not None:
            self._same += found.is_same
            self._other += not found.is_same
            return
        self._longer.add(found.log_ratio)
        self._shorter.add(found.log_ratio)
        self._total += found.log_ratio

    @property
    def count(self) -> int:
        """How many of them there were."""
        return self._same + self._other + self._longer.n

    @property
    def log_e(self) -> float:
        """Log of E against "computed again, plans are as long": the mean of both sides."""
        return float(np.logaddexp(self._longer.log_e, self._shorter.log_e) - math.log(2.0))

    @property
    def findings(self) -> tuple[str, ...]:
        """Why the verdict is INVALID; empty while both places are alike."""
        found = []
        if self._other:
            count = self._same + self._other
            found.append(f"{self._other} of {count} served plans come out otherwise where the other arm is computed")
        if self.log_e >= math.log(E_THRESHOLD):
            change = math.expm1(self._total / self._longer.n)
            found.append(
                f"served plans are {change:+.1%} long where the other arm is computed, after {self._longer.n} "
                f"recomputations, e-value {math.exp(min(self.log_e, 700.0)):,.0f}: {REMEDY}"
            )
        return tuple(found)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "counts": [self._same, self._other],
            "longer": self._longer.snapshot(),
            "shorter": self._shorter.snapshot(),
            "total": self._total,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> RecomputationEvidence:
        """The evidence that `snapshot` described. Raises `UnreadableState`."""
        if document.get("format") != SNAPSHOT_FORMAT:
            raise UnreadableState(f"recomputations must have format {SNAPSHOT_FORMAT}, had {document.get('format')}")
        found = cls()
        try:
            found._same, found._other = map(int, document["counts"])
            found._longer = EProcess.restored(document["longer"], LONGER)
            found._shorter = EProcess.restored(document["shorter"], SHORTER)
            found._total = float(document["total"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"recomputations are damaged: {error!r}") from error
        return found


def schedule_hash(schedule: Schedule) -> str:
    """The same for plans that ask the same of the floor, in whatever order they say it."""
    rows = sorted(
        (each.operation_id, each.machine_id, each.start_seconds, each.end_seconds) for each in schedule.assignments
    )
    return hashlib.sha256(repr(rows).encode()).hexdigest()
