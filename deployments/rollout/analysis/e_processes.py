"""Evidence over windows: wealth of bets against a null, which may be looked at whenever one likes.

A window is a plant, a line and a production day (see `windows`). Whoever bets on its mean log ratio, at odds that are
fair when the null is true, gets rich by luck at most as seldom as Ville's inequality says: once with wealth 100 in a
hundred rollouts, however often one looks. Wealth is called E. The bets are those of Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (arXiv 2010.09686), mixed over six fixed stakes instead of
chosen along the way, so that E needs six numbers and no history.

What is tested is the mean of clipped windows: a rare window far outside the clip counts as the clip. `tail_cost` is
what such lists must be paid with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deployments.errors import UnreadableState
from deployments.rollout.analysis.outcomes import Baseline

if TYPE_CHECKING:
    from deployments.rollout.analysis.windows import WindowObservation

Floats = NDArray[np.float64]

STAKES = (0.05, 0.12, 0.25, 0.5, 0.8, 0.95)
"""Parts of the wealth that are set on one window; the mixture gives each a sixth of it at the start."""

CLIP = 0.20
DAY_CLIP = 0.10
"""Bounds of one window's, and of one day's log ratio about the null's edge."""

UNKNOWN_AUTOCORRELATION = 0.15
MAX_AUTOCORRELATION = 0.9
MIN_WINDOWS_OF_AUTOCORRELATION = 20
"""With fewer windows the autocorrelation is taken as unknown."""

NO_VARIANCE = 1e-12
"""Windows that spread less are equal."""

NOT_BETTER = "not better by 2 %"

MIN_WINDOWS_OF_BASELINE = 5
"""Windows from which on a kind of baseline must not speak against the challenger."""

FALSE_DISCOVERIES = 0.05
TAIL_FROM = math.log(1.5)
TAIL_COST = math.log(2.0)
"""Log ratios of lists that are in the tail, and what one of them costs at least."""

MAX_STRATA = 64
MAX_LINES = 256
MAX_WINDOWS_OF_A_LINE = 256
"""What is remembered of strata and of the windows of each line; more of them are counted in the whole alone."""

SNAPSHOT_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialTest:
    """One question: a null about the mean of clipped log ratios, and the E at which it is refuted.

    `sign` -1 bets on shorter than `center`, against "the mean is at least `center`"; +1 on longer, against "at most".
    """

    sign: int
    center: float
    threshold: float
    clip: float = CLIP

    def __post_init__(self) -> None:
        if self.sign not in (-1, 1):
            raise ValueError(f"sign must be -1 or 1, was {self.sign}")
        if not self.threshold > 1.0 or not self.clip > 0.0:
            raise ValueError(f"threshold must be > 1 and clip > 0, were {self.threshold} and {self.clip}")

    def log_growth(self, log_ratios: ArrayLike) -> Floats:
        """Log of what each stake makes of each window: (..., 6) for log ratios of shape (...).

        Source: Waudby-Smith and Ramdas, equation (14), with constant stakes.
        """
        clipped = np.clip(np.asarray(log_ratios, dtype=float) - self.center, -self.clip, self.clip)
        return np.asarray(np.log1p(self.sign / self.clip * clipped[..., np.newaxis] * np.asarray(STAKES)))


BETTER = SequentialTest(sign=-1, center=0.0, threshold=100.0)
"""Shorter at all. The threshold is raised to the power of `evidence_exponent`."""
BETTER_IN_STAGE = SequentialTest(sign=-1, center=0.0, threshold=10.0)
BETTER_BY_DAYS = SequentialTest(sign=-1, center=0.0, threshold=10.0, clip=DAY_CLIP)
"""The same for means over all plants of a day: what one day does to every plant is one observation."""
BETTER_THAN_ONE_BASELINE = SequentialTest(sign=-1, center=0.0, threshold=200.0)
HARM = SequentialTest(sign=1, center=math.log(1.1), threshold=200.0)
FUTILE = SequentialTest(sign=1, center=math.log(0.98), threshold=20.0)
FUTILE_BY_DAYS = SequentialTest(sign=1, center=math.log(0.98), threshold=20.0, clip=DAY_CLIP)
"""Not better by 2 %; with several plants only if the days say so too, else one bad day of all plants would do."""
FEWER_HOURS = SequentialTest(sign=-1, center=0.0, threshold=20.0)
MORE_HOURS = SequentialTest(sign=1, center=0.0, threshold=20.0)
WORSE = SequentialTest(sign=1, center=math.log(1.02), threshold=20.0)
"""Longer by more than 2 %: against one kind of baseline, or, by `e_bh`, in one stratum."""


def log_mixture(log_wealth: ArrayLike) -> Floats:
    """Log of the mean over the last axis, the six stakes, of wealth given as logs: E. Robbins' method of mixtures."""
    logs = np.asarray(log_wealth, dtype=float)
    highest = logs.max(axis=-1, keepdims=True)
    return np.asarray(highest[..., 0] + np.log(np.exp(logs - highest).mean(axis=-1)))


class EProcess:
    """Evidence against the null of one test, window by window; valid from the first one on."""

    def __init__(self, test: SequentialTest, *, n: int = 0, log_wealth: Sequence[float] = (0.0,) * len(STAKES)) -> None:
        if len(log_wealth) != len(STAKES) or n < 0:
            raise ValueError(f"log_wealth must be {len(STAKES)} and n >= 0, were {len(log_wealth)} and {n}")
        self.test = test
        self.n = n
        self._log_wealth = np.asarray(log_wealth, dtype=float)

    def add(self, log_ratio: float) -> None:
        """One more window."""
        if not math.isfinite(log_ratio):
            raise ValueError(f"a log ratio must be finite, was {log_ratio}")
        self.n += 1
        self._log_wealth = self._log_wealth + self.test.log_growth(log_ratio)

    @property
    def log_e(self) -> float:
        """Log of E; 0 before the first window."""
        return float(log_mixture(self._log_wealth))

    def exceeds(self, exponent: float = 1.0) -> bool:
        """Whether E reaches the test's threshold, raised to the power of `exponent`."""
        return self.log_e >= exponent * math.log(self.test.threshold)

    def windows_missing(self, exponent: float = 1.0) -> float | None:
        """About how many windows more E needs if they are like those so far; None when it does not grow."""
        short = exponent * math.log(self.test.threshold) - self.log_e
        if short <= 0.0:
            return 0.0
        fastest = float(self._log_wealth.max()) / self.n if self.n else 0.0
        # The best stake alone starts from a sixth of the wealth, so its whole way is counted.
        ahead = exponent * math.log(self.test.threshold) + math.log(len(STAKES))
        return max(1.0, ahead / fastest - self.n) if fastest > 0.0 else None

    def reading(self, question: str, exponent: float = 1.0, null: str = "no improvement") -> EvidenceReading:
        """The process as it stands."""
        return EvidenceReading(
            question=question,
            log_e=self.log_e,
            log_threshold=exponent * math.log(self.test.threshold),
            n=self.n,
            windows_missing=self.windows_missing(exponent),
            null=null,
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        return {"n": self.n, "log_wealth": self._log_wealth.tolist()}

    @classmethod
    def restored(cls, document: Mapping[str, Any], test: SequentialTest) -> EProcess:
        return cls(test, n=int(document["n"]), log_wealth=[float(value) for value in document["log_wealth"]])


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReading:
    """One question as it stands: log E after `n` windows, where it is answered, and about how many are missing.

    `windows_missing` is None while E does not grow; `null` is what the evidence speaks against.
    """

    question: str
    log_e: float
    log_threshold: float
    n: int
    windows_missing: float | None
    null: str = "no improvement"

    @property
    def is_answered(self) -> bool:
        return self.log_e >= self.log_threshold


class HoursWeight:
    """Turns windows into bets on hours instead of ratios: a window counts as its champion's hours do.

    z = min(H / Hcap, 1) x clip(sum h (e^x - 1) / sum h, +-0.2), Hcap twice the mean of the windows *before*, since a
    bet must not know its own window (predictable in the sense of arXiv 2010.09686).
    """

    def __init__(self, *, windows: int = 0, hours: float = 0.0) -> None:
        self._windows = windows
        self._hours = hours

    def weighted(self, hours: float, change: float) -> float:
        """z of a window of `hours` that the challenger changes by the fraction `change`; the window is then known."""
        if not hours > 0.0 or not math.isfinite(hours):
            raise ValueError(f"hours must be > 0, were {hours}")
        cap = 2.0 * (self._hours / self._windows if self._windows else hours)
        self._windows += 1
        self._hours += hours
        return min(hours / cap, 1.0) * min(max(change, -CLIP), CLIP)

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        return {"windows": self._windows, "hours": self._hours}

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> HoursWeight:
        return cls(windows=int(document["windows"]), hours=float(document["hours"]))


QUESTIONS = {
    "better": BETTER,
    "better in this stage": BETTER_IN_STAGE,
    "better by days": BETTER_BY_DAYS,
    "fewer hours": FEWER_HOURS,
    "more hours": MORE_HOURS,
    "futile": FUTILE,
    "futile by days": FUTILE_BY_DAYS,
}
OF_BASELINES = {"better": BETTER_THAN_ONE_BASELINE, "worse": WORSE, "harm": HARM, "futile": FUTILE}
"""What is asked of all windows, and of those against one kind of baseline."""


class WindowEvidence:
    """All that closed windows say of one challenger against one champion: it lives through stages, ramps and restarts.

    Windows of one day must be added together, as `WindowLog.close` tells them. A window's log ratio is the mean over
    its groups, whatever their baselines; each kind of baseline is asked on its own besides.
    """

    def __init__(self, *, challenger: str, champion: str, harm: SequentialTest = HARM) -> None:
        self.challenger = challenger
        self.champion = champion
        self._stage = ""
        self._of_one = OF_BASELINES | {"harm": harm}
        self._of_all = {name: EProcess(test) for name, test in QUESTIONS.items()}
        self._of_baseline = {
            baseline: {name: EProcess(test) for name, test in self._of_one.items()} for baseline in Baseline
        }
        self._of_strata: dict[str, EProcess] = {}
        self._hours = HoursWeight()
        self._lines: dict[str, deque[float]] = {}
        self._clipped = 0.0
        self._groups = 0
        self._tail = 0
        self._tail_total = 0.0

    def begin_stage(self, stage: str) -> None:
        """`stage` has begun: neither old evidence nor old windows show that the challenger is better in it."""
        self._stage = stage
        self._of_all["better in this stage"] = EProcess(BETTER_IN_STAGE)

    def add(self, closed: Sequence[WindowObservation]) -> None:
        """Windows that have closed, in the order of their days."""
        of_windows: dict[str, list[WindowObservation]] = {}
        for observation in closed:
            of_windows.setdefault(observation.window, []).append(observation)
            self._add_parts(observation)
        of_days: dict[date, list[float]] = {}
        for parts in of_windows.values():
            groups = sum(part.groups for part in parts)
            log_ratio = math.fsum(part.groups * part.log_ratio for part in parts) / groups
            of_days.setdefault(parts[0].day, []).append(log_ratio)
            self._add_window(parts, log_ratio)
        for log_ratios in of_days.values():
            for name in ("better by days", "futile by days"):
                self._of_all[name].add(math.fsum(log_ratios) / len(log_ratios))

    def _add_parts(self, observation: WindowObservation) -> None:
        for process in self._of_baseline[observation.baseline].values():
            process.add(observation.log_ratio)
        for name, log_ratio in observation.strata.items():
            if name in self._of_strata or len(self._of_strata) < MAX_STRATA:
                self._of_strata.setdefault(name, EProcess(WORSE)).add(log_ratio)
        self._groups += observation.groups
        self._tail += observation.tail
        self._tail_total += observation.tail_total

    def _add_window(self, parts: Sequence[WindowObservation], log_ratio: float) -> None:
        is_of_stage = self._stage in ("", parts[0].stage)
        for name in ("better", "futile", *(("better in this stage",) if is_of_stage else ())):
            self._of_all[name].add(log_ratio)
        hours = math.fsum(part.hours for part in parts)
        weighted = self._hours.weighted(hours, math.fsum(part.hours * part.change for part in parts) / hours)
        for name in ("fewer hours", "more hours"):
            self._of_all[name].add(weighted)
        self._clipped += min(max(log_ratio, -CLIP), CLIP)
        if parts[0].line in self._lines or len(self._lines) < MAX_LINES:
            self._lines.setdefault(parts[0].line, deque(maxlen=MAX_WINDOWS_OF_A_LINE)).append(log_ratio)

    @property
    def stage(self) -> str:
        """The stage that has begun; empty before the first."""
        return self._stage

    @property
    def windows(self) -> int:
        """How many have closed."""
        return self._of_all["better"].n

    @property
    def mean(self) -> float:
        """Mean of the clipped windows; 0 before the first."""
        return self._clipped / self.windows if self.windows else 0.0

    @property
    def exponent(self) -> float:
        """kappa of the windows so far."""
        return evidence_exponent(autocorrelation([list(values) for values in self._lines.values()]))

    @property
    def is_futile(self) -> bool:
        """Whether it is shown that the challenger is not better by 2 %, with several lines by the days too."""
        by_days = len(self._lines) < 2 or self._of_all["futile by days"].exceeds()
        return by_days and self._of_all["futile"].exceeds()

    @property
    def harmed(self) -> tuple[Baseline, ...]:
        """Kinds of baseline that the challenger is shown to be longer than by more than 10 %."""
        return tuple(baseline for baseline, asked in self._of_baseline.items() if asked["harm"].exceeds())

    def harm_of(self, baseline: Baseline) -> EvidenceReading:
        """How the question of harm stands against one kind of baseline."""
        return self._of_baseline[baseline]["harm"].reading("harm")

    @property
    def worse_strata(self) -> tuple[str, ...]:
        """Strata in which the challenger is shown to be longer by more than 2 %, among all of them."""
        names = list(self._of_strata)
        return tuple(names[place] for place in e_bh([self._of_strata[name].log_e for name in names]))

    def readings(self, *, is_for_full: bool) -> tuple[EvidenceReading, ...]:
        """The questions that a promotion needs answered, as they stand; `is_for_full`: it leads to everything."""
        names = ["better", "better in this stage"]
        names += ["better by days"] if len(self._lines) > 1 else []
        names += ["fewer hours"] if is_for_full else []
        return tuple(self._of_all[name].reading(name, self.exponent if name == "better" else 1.0) for name in names)

    def doubts(self, *, is_for_full: bool) -> tuple[str, ...]:
        """Why nothing may be promoted, what is missing and about how many windows that takes; empty: it may."""
        by_day = self.windows / max(self._of_all["better by days"].n, 1)
        open_questions = (each for each in self.readings(is_for_full=is_for_full) if not each.is_answered)
        found = [missing_text(reading, by_day) for reading in open_questions]
        if not any(of["better"].exceeds() for of in self._asked.values()):
            found.append("better than no kind of baseline at 200 to 1")
        if self._groups and self.mean + tail_cost(self._groups, self._tail, self._tail_total) >= 0.0:
            found.append(f"lists above +50 % ({self._tail} of {self._groups}) may cost what the others gain")
        return (*found, *self.objections(is_for_full=is_for_full))

    def objections(self, *, is_for_full: bool) -> tuple[str, ...]:
        """Those of the doubts that the windows show, so that more of them are not what is missing."""
        found = [
            f"{name} against the {baseline.value}"
            for baseline, of in self._asked.items()
            for name in ("worse", "futile")
            if of[name].exceeds()
        ]
        found += [NOT_BETTER] if self.is_futile else []
        found += ["more hours in total"] if is_for_full and self._of_all["more hours"].exceeds() else []
        return (*found, *map(worse_text, self.worse_strata))

    @property
    def _asked(self) -> dict[Baseline, dict[str, EProcess]]:
        return {baseline: of for baseline, of in self._of_baseline.items() if of["worse"].n >= MIN_WINDOWS_OF_BASELINE}

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "challenger": self.challenger,
            "champion": self.champion,
            "stage": self._stage,
            "harm_center": self._of_one["harm"].center,
            "all": {name: process.snapshot() for name, process in self._of_all.items()},
            "baselines": {
                baseline.value: {name: process.snapshot() for name, process in asked.items()}
                for baseline, asked in self._of_baseline.items()
            },
            "strata": {name: process.snapshot() for name, process in self._of_strata.items()},
            "hours": self._hours.snapshot(),
            "lines": {line: list(values) for line, values in self._lines.items()},
            "sums": [self._clipped, self._groups, self._tail, self._tail_total],
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], harm: SequentialTest = HARM) -> WindowEvidence:
        """The evidence that `snapshot` described; at another limit that of harm begins anew.

        Raises `UnreadableState`.
        """
        if document.get("format") != SNAPSHOT_FORMAT:
            raise UnreadableState(f"evidence must have format {SNAPSHOT_FORMAT}, had {document.get('format')}")
        try:
            found = cls(challenger=str(document["challenger"]), champion=str(document["champion"]), harm=harm)
            found._stage = str(document["stage"])
            kept = [name for name in OF_BASELINES if name != "harm" or document["harm_center"] == harm.center]
            for name, test in QUESTIONS.items():
                found._of_all[name] = EProcess.restored(document["all"][name], test)
            for baseline in Baseline:
                stored = document["baselines"][baseline.value]
                found._of_baseline[baseline] |= {
                    name: EProcess.restored(stored[name], found._of_one[name]) for name in kept
                }
            for name, process in document["strata"].items():
                found._of_strata[str(name)] = EProcess.restored(process, WORSE)
            found._hours = HoursWeight.restored(document["hours"])
            for line, values in document["lines"].items():
                found._lines[str(line)] = deque(map(float, values), maxlen=MAX_WINDOWS_OF_A_LINE)
            clipped, groups, tail, tail_total = document["sums"]
            found._clipped, found._groups = float(clipped), int(groups)
            found._tail, found._tail_total = int(tail), float(tail_total)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"evidence is damaged: {error!r}") from error
        return found


def missing_text(reading: EvidenceReading, by_day: float) -> str:
    """What a question still needs; `by_day` is how many windows a day brings. By the days, a day is a window."""
    missing, is_by_days = reading.windows_missing, reading.question.endswith("by days")
    unit = "days" if is_by_days else "windows"
    more = "does not grow" if missing is None else f"about {missing:.0f} more {unit}"
    if missing is not None and not is_by_days and by_day > 0.0:
        more += f", {math.ceil(missing / by_day)} days"
    odds, needed = math.exp(min(max(reading.log_e, 0.0), 700.0)), math.exp(reading.log_threshold)
    if not reading.n:
        closed = "no day is over" if is_by_days else "no window has closed"
        return f"{reading.question}: {closed} yet, needs {needed:,.0f} to 1"
    return f"{reading.question}: {odds:,.0f} to 1 after {reading.n} {unit}, needs {needed:,.0f} ({more})"


def worse_text(stratum: str) -> str:
    """What is said of a stratum in which the challenger is worse."""
    return f"worse by more than 2 % in {stratum}"


def autocorrelation(series: Iterable[Sequence[float]]) -> float:
    """Lag-1 autocorrelation of log ratios within plants, one sequence each in the order of days.

    Pooled: products of neighbours over squares, about each plant's mean (Box and Jenkins, r_1).
    `UNKNOWN_AUTOCORRELATION` with too few windows or without any spread, never above `MAX_AUTOCORRELATION`.
    """
    products = squares = 0.0
    windows = 0
    for values in series:
        around = np.asarray(values, dtype=float) - (math.fsum(values) / len(values) if len(values) else 0.0)
        windows += len(around)
        products += float((around[1:] * around[:-1]).sum())
        squares += float((around * around).sum())
    # Equal windows have no spread but what rounding makes, which follows its own rules.
    if windows < MIN_WINDOWS_OF_AUTOCORRELATION or squares <= windows * NO_VARIANCE:
        return UNKNOWN_AUTOCORRELATION
    return min(products / squares, MAX_AUTOCORRELATION)


def evidence_exponent(rho: float) -> float:
    """kappa = max(1, (1 + rho) / (1 - rho)): by as much does the variance of a mean grow when windows follow an AR(1).

    Source: the effective sample size n (1 - rho) / (1 + rho) of Bayley and Hammersley (1946).
    """
    if not -1.0 <= rho < 1.0:
        raise ValueError(f"rho must lie in [-1, 1), was {rho}")
    return max(1.0, (1.0 + rho) / (1.0 - rho))


def e_bh(log_e_values: Sequence[float], false_discoveries: float = FALSE_DISCOVERIES) -> tuple[int, ...]:
    """Places of the nulls that are refuted, by any dependence: the largest j with e_(j) >= K / (alpha j).

    Source: Wang and Ramdas, "False discovery rate control with e-values" (arXiv 2009.02824).
    """
    order = sorted(range(len(log_e_values)), key=lambda place: -log_e_values[place])
    needed = math.log(len(order) / false_discoveries) if order else 0.0
    found = [j for j, place in enumerate(order, start=1) if log_e_values[place] >= needed - math.log(j)]
    return tuple(sorted(order[: max(found, default=0)]))


def tail_cost(groups: int, tail: int, tail_total: float) -> float:
    """What lists above +50 % cost the mean, in log ratio: `tail` of `groups`, their log ratios adding to `tail_total`.

    (k + 2 sqrt k + 3) lies between the exact upper 95 % and 99 % bounds of a Poisson mean of which k were seen
    (Garwood 1936; 3.0 is the "rule of three" at k = 0), so that a tail that has not been seen yet is paid for too.
    Their excess over the clip is what a clipped mean does not know of.
    """
    if groups < 1 or not 0 <= tail <= groups:
        raise ValueError(f"tail must lie between 0 and groups >= 1, were {tail} and {groups}")
    excess = tail_total / tail - CLIP if tail else 0.0
    return (tail + 2.0 * math.sqrt(tail) + 3.0) * max(excess, TAIL_COST - CLIP) / groups
