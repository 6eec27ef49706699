"""Whether the experiment is what it was meant to be: split, arms and buckets of units, and requests without a pair.

A mismatch makes the comparison worthless, not the challenger bad: it holds, it never rolls back. Explicit units
are split by a plain hash, so their number is binomial: a beta-binomial e-process. Windows are dealt in blocks of
ten without replacement, where that model is wrong: there the e-process uses the exact chance of each window, given
those of its block that came before. Both may be looked at after every unit, at a threshold of 1,000.

Requests are audited beside units: they are not independent within a unit, so each unit is one bet, weighed by how many
requests it has.

Requests that end without a pair are lost, for a cause. A challenger that answers only what is easy loses what is hard:
few may be lost, and as many in one arm as in the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deployments.rollout.analysis.confidence import beta_binomial_log_e
from deployments.rollout.analysis.e_processes import STAKES, log_mixture
from deployments.rollout.analysis.outcomes import LossCause
from deployments.rollout.assignment import (
    BLOCK_WINDOWS,
    HASH_VERSION,
    ArmRole,
    PlanningWindow,
    planning_window,
    unit_bucket,
    window_bucket,
)

E_THRESHOLD = 1000.0
PRIOR_UNITS = 20.0
"""Weight of the prior, in units; it is centred on the share that was meant."""

ODDS_RATIOS = (0.0, 0.25, 0.5, 2.0, 4.0)
"""How much likelier the challenger's windows may be to appear, were they not dealt fairly; mixed in equal parts."""

REQUESTS_COUNTED_FOR = timedelta(days=2)
"""From the first request of a unit: how many it has is told once, after a time that does not depend on its arm."""

LOSS_PRIOR = (1.0, 20.0)
"""Beta prior of each arm's loss rate: a few in a hundred."""

MAX_LOST_SHARE = 0.02
"""Part of the accepted requests that may be lost whatever they were."""

_SAME_BUCKET = 1e-9
_MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedUnit:
    """What a stored decision says about its assignment; one row for each decision, forced ones left out.

    `job_list` is the digest of its jobs: pressed again, a list is the same request. Empty: not known.
    """

    unit: str
    at: datetime
    ramp: int
    stage: str
    share: float
    bucket: float
    seed: str
    hash_version: int
    arm: ArmRole
    job_list: str = ""

    @property
    def exposure(self) -> tuple[int, str, float]:
        """Within one of these, a unit has one arm."""
        return (self.ramp, self.stage, self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReading:
    """How many of `units` the challenger got, how many it should have, and the e-value against a fair split."""

    kind: str
    units: int
    challenger: int
    expected: float
    e_value: float

    @property
    def is_mismatch(self) -> bool:
        return self.e_value >= E_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentIntegrity:
    """All that was checked. `not_recomputed` and `mixed` name units, the readings are of the split."""

    explicit: SplitReading
    windows: SplitReading
    requests: SplitReading
    not_recomputed: tuple[str, ...]
    mixed: tuple[str, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """Why the verdict is INVALID; empty when nothing speaks against the experiment."""
        found = [
            f"sample ratio mismatch: {split.challenger} of {split.units} {split.kind} went to the challenger, "
            f"expected {split.expected:.1f}, e-value {split.e_value:,.0f}"
            for split in (self.explicit, self.windows, self.requests)
            if split.is_mismatch
        ]
        for units, text in (
            (self.not_recomputed, "have a bucket or an arm that does not recompute"),
            (self.mixed, "were exposed to both arms within a stage"),
        ):
            if units:
                found.append(f"{len(units)} units {text}: {', '.join(units[:_MAX_EXAMPLES])}")
        return tuple(found)


class SampleRatio:
    """Beta-binomial e-process of a split by plain hash; the share may change between units."""

    def __init__(self) -> None:
        self._counts: dict[float, list[int]] = {}

    def add(self, is_challenger: bool, share: float) -> None:
        """One more unit, that had the chance `share` to go to the challenger."""
        counts = self._counts.setdefault(share, [0, 0])
        counts[0] += is_challenger
        counts[1] += 1

    @property
    def log_e(self) -> float:
        """Log of the e-value against a fair split: those of the shares multiplied; infinite for an impossible unit."""
        return sum(self._log_e_of(share, *counts) for share, counts in self._counts.items())

    @staticmethod
    def _log_e_of(share: float, challenger: int, units: int) -> float:
        if share in (0.0, 1.0):
            return 0.0 if challenger == share * units else math.inf
        prior = (PRIOR_UNITS * share, PRIOR_UNITS * (1.0 - share))
        return float(beta_binomial_log_e(challenger, units, share, prior))

    def reading(self) -> SplitReading:
        """The split so far."""
        return SplitReading(
            kind="explicit units",
            units=sum(units for _, units in self._counts.values()),
            challenger=sum(challenger for challenger, _ in self._counts.values()),
            expected=sum(share * units for share, (_, units) in self._counts.items()),
            e_value=_exp(self.log_e),
        )


class BlockedSampleRatio:
    """Exact e-process of windows that are dealt in blocks of ten; not every window of a block need appear."""

    def __init__(self) -> None:
        self._ranks: dict[tuple[object, ...], set[int]] = {}
        self._log_ratios = [0.0] * len(ODDS_RATIOS)
        self._units = 0
        self._challenger = 0
        self._expected = 0.0

    def add(self, bucket: float, share: float, block: tuple[object, ...]) -> float | None:
        """One more window of `block`; the chance that it had to go to the challenger.

        One that was there before, at another share, says nothing new: None.
        """
        ranks = self._ranks.setdefault(block, set())
        rank = round(bucket * BLOCK_WINDOWS - 0.5)
        if rank in ranks:
            return None
        left = [(other + 0.5) / BLOCK_WINDOWS for other in range(BLOCK_WINDOWS) if other not in ranks]
        ranks.add(rank)
        chance, is_challenger = sum(middle < share for middle in left) / len(left), bucket < share
        self._units += 1
        self._challenger += is_challenger
        self._expected += sum((other + 0.5) / BLOCK_WINDOWS < share for other in range(BLOCK_WINDOWS)) / BLOCK_WINDOWS
        for place, odds in enumerate(ODDS_RATIOS):
            if chance in (0.0, 1.0):
                break
            tilted = odds * chance / (odds * chance + 1.0 - chance)
            ratio = tilted / chance if is_challenger else (1.0 - tilted) / (1.0 - chance)
            self._log_ratios[place] += math.log(ratio) if ratio > 0.0 else -math.inf
        return chance

    @property
    def log_e(self) -> float:
        """Log of the e-value against a fair deal."""
        from scipy.special import logsumexp

        return float(logsumexp(self._log_ratios) - math.log(len(ODDS_RATIOS)))

    def reading(self) -> SplitReading:
        """The split so far."""
        return SplitReading(
            kind="windows",
            units=self._units,
            challenger=self._challenger,
            expected=self._expected,
            e_value=_exp(self.log_e),
        )


class RequestRatio:
    """E-process of requests: whether the challenger's units have as many as the others.

    Within a unit requests have one arm, so n is that of units: E is the mean over stakes g and signs s of the product
    of 1 + g s w (a - p) / max(p, 1 - p), a whether the unit went to the challenger, p the chance of that, and w =
    min(requests / (2 x mean of the units before), 1). A fair deal knows nothing of how many requests a unit will have,
    so the factors have mean 1 (Waudby-Smith and Ramdas, arXiv 2010.09686).
    """

    def __init__(self) -> None:
        self._log_wealth = np.zeros(2 * len(STAKES))
        self._units = 0
        self._requests = 0
        self._challenger = 0
        self._expected = 0.0

    def add(self, requests: int, is_challenger: bool, chance: float) -> None:
        """One more unit with so many requests, that had the chance `chance` to go to the challenger."""
        if requests < 1:
            raise ValueError(f"requests must be >= 1, were {requests}")
        mean = self._requests / self._units if self._units else requests
        weight = min(requests / (2.0 * mean), 1.0)
        self._units += 1
        self._requests += requests
        self._challenger += requests * is_challenger
        self._expected += requests * chance
        bet = weight * (is_challenger - chance) / max(chance, 1.0 - chance)
        self._log_wealth += np.log1p(bet * np.concatenate([np.asarray(STAKES), -np.asarray(STAKES)]))

    def reading(self) -> SplitReading:
        """The split so far, in requests."""
        return SplitReading(
            kind="requests",
            units=self._requests,
            challenger=self._challenger,
            expected=self._expected,
            e_value=_exp(float(log_mixture(self._log_wealth))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCounts:
    """Accepted requests of one stage by assigned arm, and those of them without a pair by cause.

    One job list in one window and arm is one request, however often it is asked for.
    """

    accepted: Mapping[ArmRole, int]
    lost: Mapping[ArmRole, Mapping[LossCause, int]]

    def __post_init__(self) -> None:
        for arm in ArmRole:
            if not 0 <= self.lost_of(arm) <= self.accepted.get(arm, 0):
                raise ValueError(
                    f"lost must lie between 0 and the {self.accepted.get(arm, 0)} accepted of {arm.value}, "
                    f"were {self.lost_of(arm)}"
                )

    def lost_of(self, arm: ArmRole) -> int:
        """Requests of `arm` without a pair."""
        return sum(self.lost.get(arm, {}).values())

    def accepted_of(self, arm: ArmRole) -> int:
        """Requests of `arm`, with or without a pair."""
        return self.accepted.get(arm, 0)

    @property
    def share(self) -> float:
        """Part of the accepted requests without a pair, 0 to 1."""
        accepted = sum(self.accepted.values())
        return sum(map(self.lost_of, ArmRole)) / accepted if accepted else 0.0

    @property
    def causes(self) -> tuple[tuple[LossCause, int], ...]:
        """Lost requests of both arms by cause, the most frequent first."""
        counts = {cause: sum(of_arm.get(cause, 0) for of_arm in self.lost.values()) for cause in LossCause}
        return tuple(sorted(((cause, n) for cause, n in counts.items() if n), key=lambda found: -found[1]))

    @property
    def log_e(self) -> float:
        """Log of the e-value against "both arms lose as many": two beta-binomials over the likeliest common rate.

        Valid whatever that rate is and whenever one looks, because no common rate explains the counts better than
        the one in the denominator: universal inference (Wasserman, Ramdas and Balakrishnan, arXiv 1912.11436).
        """
        from scipy.special import xlog1py, xlogy

        lost, accepted = sum(map(self.lost_of, ArmRole)), sum(self.accepted.values())
        if not accepted:
            return 0.0
        rate = lost / accepted
        common = float(xlogy(lost, rate) + xlog1py(accepted - lost, -rate)) if 0 < lost < accepted else 0.0
        # Against a null of one half the beta-binomial's log e is its log marginal plus n ln 2.
        of_arms = (
            float(beta_binomial_log_e(self.lost_of(arm), self.accepted.get(arm, 0), 0.5, LOSS_PRIOR))
            - self.accepted.get(arm, 0) * math.log(2.0)
            for arm in ArmRole
        )
        return sum(of_arms) - common

    @property
    def findings(self) -> tuple[str, ...]:
        """Why the verdict is INVALID; empty while both arms lose alike."""
        if self.log_e < math.log(E_THRESHOLD):
            return ()
        told = " and ".join(
            f"{self.lost_of(arm)} of {self.accepted.get(arm, 0)} requests of {arm.value}" for arm in ArmRole
        )
        return (f"lost pairs differ by arm: {told}, e-value {_exp(self.log_e):,.0f}",)

    def shortages(self, mean: float) -> tuple[str, ...]:
        """Why nothing may be promoted at a `mean` clipped log ratio; empty when few are lost, or too few to matter."""
        if is_paid_for(mean, self.share):
            return ()
        causes = ", ".join(f"{cause.value} {count}" for cause, count in self.causes)
        change = math.expm1(worst_mean(mean, self.share))
        return (
            f"{self.share:.1%} of the accepted requests have no pair, at most {MAX_LOST_SHARE:.0%} may ({causes}); "
            f"were each of them twice as long, the makespan would change by {change:+.1%}",
        )


def worst_mean(mean: ArrayLike, lost_share: ArrayLike) -> NDArray[np.float64]:
    """The mean were each lost pair twice as long: Manski's bound for missing outcomes (1989), a doubling as the worst.

    `mean` is that of the clipped log ratios, `lost_share` the part of the accepted requests without a pair.
    """
    return np.asarray(np.asarray(mean, dtype=float) + np.asarray(lost_share, dtype=float) * math.log(2.0))


def is_paid_for(mean: ArrayLike, lost_share: ArrayLike) -> NDArray[np.bool_]:
    """Whether lost pairs leave the verdict alone: few, or too few to matter by `worst_mean`; arguments as there."""
    return np.asarray((np.asarray(lost_share) <= MAX_LOST_SHARE) | (worst_mean(mean, lost_share) < 0.0))


def audit(rows: Iterable[AssignedUnit]) -> ExperimentIntegrity:
    """Recompute every row, look for units with both arms, and weigh the split; each unit counts once a stage.

    The split of requests too, of units that are older than `REQUESTS_COUNTED_FOR`.
    """
    by_unit: dict[tuple[tuple[int, str, float], str], list[AssignedUnit]] = defaultdict(list)
    known: set[tuple[object, ...]] = set()
    ordered = sorted(rows, key=lambda row: (row.at, row.unit))
    for row in ordered:
        # A window has many decisions that say the same; each is recomputed once.
        claim = (row.exposure, row.unit, row.bucket, row.seed, row.hash_version, row.arm)
        if claim not in known:
            known.add(claim)
            by_unit[(row.exposure, row.unit)].append(row)
    firsts = [group[0] for group in by_unit.values()]
    requests_of = _requests_of(ordered)
    explicit, windows, requests = SampleRatio(), BlockedSampleRatio(), RequestRatio()
    for row in firsts:
        window, chance = _dealt_window(row), None if row.share in (0.0, 1.0) else row.share
        if window is None:
            explicit.add(row.arm is ArmRole.PPO, row.share)
        else:
            number = window.day.toordinal() // BLOCK_WINDOWS
            chance = windows.add(row.bucket, row.share, (row.seed, window.plant_id, window.line_id, number))
        if chance is not None and row.at + REQUESTS_COUNTED_FOR <= ordered[-1].at:
            requests.add(requests_of[(row.exposure, row.unit)], row.arm is ArmRole.PPO, chance)
    return ExperimentIntegrity(
        explicit=explicit.reading(),
        windows=windows.reading(),
        requests=requests.reading(),
        not_recomputed=_units(group for group in by_unit.values() if not all(map(recomputes, group))),
        mixed=_units(group for group in by_unit.values() if len({row.arm for row in group}) > 1),
    )


def _requests_of(ordered: Sequence[AssignedUnit]) -> dict[tuple[tuple[int, str, float], str], int]:
    """How many different lists each unit of an exposure had in its first days; `ordered` by time."""
    begun: dict[tuple[tuple[int, str, float], str], datetime] = {}
    lists: dict[tuple[tuple[int, str, float], str], set[object]] = defaultdict(set)
    for number, row in enumerate(ordered):
        key = (row.exposure, row.unit)
        if row.at < begun.setdefault(key, row.at) + REQUESTS_COUNTED_FOR:
            lists[key].add(row.job_list or number)
    return {key: len(found) for key, found in lists.items()}


def recomputes(row: AssignedUnit) -> bool:
    """Whether bucket and arm follow from unit, seed and share alone."""
    if row.hash_version != HASH_VERSION:
        return False
    buckets = [unit_bucket(row.seed, row.unit)]
    window = planning_window(row.unit)
    if window is not None:
        buckets.append(window_bucket(row.seed, window))
    is_bucket = any(abs(bucket - row.bucket) < _SAME_BUCKET for bucket in buckets)
    return is_bucket and (row.arm is ArmRole.PPO) == (row.bucket < row.share)


def _dealt_window(row: AssignedUnit) -> PlanningWindow | None:
    """The planning window of a row that was dealt in its block; None for a unit that went by its plain hash.

    A client may choose a unit that looks like a window: the stored bucket tells which way it went.
    """
    window = planning_window(row.unit)
    if window is None or abs(window_bucket(row.seed, window) - row.bucket) >= _SAME_BUCKET:
        return None
    return window


def _units(groups: Iterable[Sequence[AssignedUnit]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(group[0].unit for group in groups))


def _exp(log_e: float) -> float:
    return math.exp(log_e) if log_e < 700.0 else math.inf
