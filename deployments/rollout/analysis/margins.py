"""Other key figures than makespan: by how much they may be worse, and what the windows say of that.

Shown not to be worse by more than a margin is another question than not shown to be worse: few windows, or noisy ones,
show nothing. So `full` asks that a figure is within its margin, and what is shown to be worse by half of it blocks any
promotion (non-inferiority; for example Kohavi, Tang and Xu, "Trustworthy Online Controlled Experiments", chapter 19).
The bets are those of `e_processes`. A figure has no natural bound like the clip of a log ratio, so each bet is scaled
by what was seen before, which keeps it fair (predictable, in the sense of arXiv 2010.09686).

Days that follow each other tell less than they seem to: the variance of their sum is kappa times that of independent
ones, (1 + rho) / (1 - rho) for an AR(1). A wealth exp(c S - c^2 V / 2) is fair for a sum S of variance V; where that is
kappa V, its power 1 / kappa is: exp(c S / kappa - (c / kappa)^2 kappa V / 2). So both questions ask for their odds to
the power of kappa, as "better" does, rho being that of the figure's own days.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import (
    MAX_AUTOCORRELATION,
    MIN_WINDOWS_OF_AUTOCORRELATION,
    UNKNOWN_AUTOCORRELATION,
    EProcess,
    EvidenceReading,
    SequentialTest,
    e_bh,
    evidence_exponent,
    missing_text,
)
from deployments.rollout.analysis.outcomes import COMPARED_FIGURES, DIFFERENCE_NAMES, Baseline
from env.schedule import KeyFigures

if TYPE_CHECKING:
    from deployments.rollout.analysis.windows import WindowObservation

WITHIN = SequentialTest(sign=-1, center=0.0, threshold=20.0, clip=1.0)
"""Against "worse by the margin or more"; answered where the 95 % upper bound of the harm lies below the margin."""
WORSE = SequentialTest(sign=1, center=0.0, threshold=20.0, clip=1.0)
"""Against "worse by half the margin or less"; `e_bh` says which of all figures are worse."""
WORSE_FROM = 0.5
"""Part of a margin beyond which a figure that is shown to be worse blocks."""

CLIP_DEVIATIONS = 4.0
MIN_DAYS_OF_SCALE = 5
"""A bet is clipped at so many standard deviations of the days before it, or margins where those are more; the first
days alone tell the scale and are not bet on."""

NO_SPREAD = 1e-9
"""Days whose squares about their mean are no larger part of their squares are equal, but for rounding."""

SNAPSHOT_FORMAT = 2
READABLE_FORMATS = (1, SNAPSHOT_FORMAT)
"""Format 1 did not tell how days follow each other: that begins anew."""

COST = "cost"
TARDINESS = "tardiness_seconds"
_SECONDS_OF_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRates:
    """What an hour of makespan, of tardiness and of setups costs, and a job that moves from an earlier plan.

    In any currency, since costs are compared by ratio. All 0: costs are not known.
    """

    makespan_hour: float = 0.0
    tardiness_hour: float = 0.0
    setup_hour: float = 0.0
    change: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in asdict(self).items():
            if not 0.0 <= rate < math.inf:
                raise ValueError(f"{name} must be >= 0, was {rate}")

    @property
    def are_known(self) -> bool:
        return any(asdict(self).values())

    def cost_of(self, figures: KeyFigures, changed_jobs: int) -> float:
        """Of one plan: rates x (hours, tardiness, setups, changes)."""
        hours = (
            self.makespan_hour * figures.makespan_seconds
            + self.tardiness_hour * figures.tardiness_seconds
            + self.setup_hour * figures.setup_seconds
        ) / _SECONDS_OF_HOUR
        return hours + self.change * changed_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """By how much figures may be worse; None: not asked. Of the two of tardiness the wider one holds.

    Points are those of a percentage, `tardiness_share` is a fraction of the champion's mean, `cost_share` one of its
    cost.
    """

    on_time_points: float | None = 1.0
    utilisation_points: float | None = 1.0
    tardiness_share: float | None = 0.02
    tardiness_seconds: float | None = 900.0
    cost_share: float | None = 0.01
    rates: CostRates = CostRates()

    def __post_init__(self) -> None:
        for name in ("on_time_points", "utilisation_points", "tardiness_share", "tardiness_seconds", "cost_share"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0, was {value}")
        if self.tardiness_share is not None and self.tardiness_seconds is None:
            raise ValueError("tardiness_share needs tardiness_seconds: a champion that is never late has a mean of 0")

    @property
    def questions(self) -> dict[str, tuple[str, list[Any]]]:
        """Each figure that is asked: as people call the question, and the numbers that it depends on."""
        asked: dict[str, tuple[str, list[Any]]] = {}
        if self.on_time_points is not None:
            text = f"families on time within {_points(self.on_time_points)}"
            asked["on_time_percent"] = (text, [self.on_time_points])
            # Few lists have many important families, so that a bound would never be narrow enough to ask for it.
            asked["important_on_time_percent"] = ("", [self.on_time_points])
        if self.utilisation_points is not None:
            text = f"utilisation within {_points(self.utilisation_points)}"
            asked["utilisation_percent"] = (text, [self.utilisation_points])
        if self.tardiness_seconds is not None:
            share = "" if self.tardiness_share is None else f"{100.0 * self.tardiness_share:g} % of the champion's or "
            text = f"tardiness within {share}{self.tardiness_seconds / 60:g} min"
            asked[TARDINESS] = (text, [self.tardiness_seconds, self.tardiness_share])
        if self.cost_share is not None and self.rates.are_known:
            asked[COST] = (
                f"cost within {100.0 * self.cost_share:g} %",
                [self.cost_share, *asdict(self.rates).values()],
            )
        return asked

    def of(self, name: str, champion_tardiness_seconds: float) -> float:
        """The margin of one figure, in its unit; a champion's mean is that of the windows before."""
        found = {
            "on_time_percent": self.on_time_points,
            "important_on_time_percent": self.on_time_points,
            "utilisation_percent": self.utilisation_points,
            TARDINESS: max(self.tardiness_seconds or 0.0, (self.tardiness_share or 0.0) * champion_tardiness_seconds),
            COST: self.cost_share,
        }[name]
        assert found, "what is asked has a margin"
        return found


class DaySeries:
    """How the days of one figure follow each other: sums over values, squares and neighbours, and both ends."""

    def __init__(self, sums: Iterable[float] = (0, 0, 0, 0, 0, 0)) -> None:
        days, self._total, self._squares, self._products, self._first, self._last = sums
        self._days = int(days)

    def add(self, value: float) -> None:
        """The next day."""
        if self._days:
            self._products += self._last * value
        else:
            self._first = value
        self._days += 1
        self._total += value
        self._squares += value * value
        self._last = value

    @property
    def autocorrelation(self) -> float:
        """Lag-1 autocorrelation about the mean; bounds, and what stands for too few days, as in `e_processes`."""
        mean = self._total / self._days if self._days else 0.0
        spread = self._squares - self._days * mean * mean
        if self._days < MIN_WINDOWS_OF_AUTOCORRELATION or spread <= NO_SPREAD * self._squares:
            return UNKNOWN_AUTOCORRELATION
        # Sum of (x_i - m)(x_{i+1} - m): the first and the last value have one neighbour only.
        inner = 2.0 * self._total - self._first - self._last
        products = self._products - mean * inner + (self._days - 1) * mean * mean
        return min(products / spread, MAX_AUTOCORRELATION)

    def snapshot(self) -> list[float]:
        """Plain values, as they are given to the constructor."""
        return [self._days, self._total, self._squares, self._products, self._first, self._last]


class ScaledProcess:
    """Evidence about the harm of days, each in the unit of its figure, against `part` of a margin.

    z = clip((harm - part x margin) / (4 max(margin, s)), -1, 1), s the standard deviation of the days before.
    """

    def __init__(
        self,
        test: SequentialTest,
        *,
        part: float,
        process: EProcess | None = None,
        sums: Iterable[float] = (0, 0, 0),
        series: DaySeries | None = None,
    ) -> None:
        self._process = EProcess(test) if process is None else process
        self._series = DaySeries() if series is None else series
        self._part = part
        days, self._total, self._squares = sums
        self._days = int(days)

    def add(self, harm: float, margin: float) -> None:
        """One more day: positive harm is worse. The margin must not depend on it."""
        if not math.isfinite(harm) or not margin > 0.0:
            raise ValueError(f"harm must be finite and margin > 0, were {harm} and {margin}")
        if self._days >= MIN_DAYS_OF_SCALE:
            scale = CLIP_DEVIATIONS * max(margin, self.deviation)
            self._process.add((harm - self._part * margin) / scale)
        self._days += 1
        self._total += harm
        self._squares += harm * harm
        self._series.add(harm)

    @property
    def deviation(self) -> float:
        """Standard deviation of the days so far; 0 before the second."""
        if self._days < 2:
            return 0.0
        squares = self._squares - self._total * self._total / self._days
        return math.sqrt(max(squares, 0.0) / (self._days - 1))

    @property
    def has_bets(self) -> bool:
        """Whether there is any day beyond those that tell the scale."""
        return self._process.n > 0

    @property
    def exponent(self) -> float:
        """kappa of the days so far."""
        return evidence_exponent(self._series.autocorrelation)

    @property
    def fair_log_e(self) -> float:
        """Log of E to the power of 1 / kappa, which is fair where days follow each other."""
        return self._process.log_e / self.exponent

    def reading(self, question: str) -> EvidenceReading:
        """The process as it stands; the threshold is that to the power of kappa."""
        return self._process.reading(question, self.exponent, null="a greater loss")

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        return {
            "process": self._process.snapshot(),
            "sums": [self._days, self._total, self._squares],
            "series": self._series.snapshot(),
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], test: SequentialTest, *, part: float) -> ScaledProcess:
        process = EProcess.restored(document["process"], test)
        series = DaySeries(map(float, document["series"])) if "series" in document else None
        return cls(test, part=part, process=process, sums=map(float, document["sums"]), series=series)


class MarginEvidence:
    """What closed windows say of the other key figures of one challenger against one champion.

    One day of all plants is one observation, since what a day does to every plant is no news twenty times. Windows of
    one day must be added together, as `WindowLog.close` tells them. Within the margin is asked of all windows, worse of
    those against each kind of baseline.
    """

    def __init__(self, margins: Margins) -> None:
        self._margins = margins
        self._within = {name: _within() for name, (text, _) in margins.questions.items() if text}
        self._worse = {_key(name, baseline): _worse() for name in margins.questions for baseline in Baseline}
        self._champion = (0, 0.0)

    def add(self, closed: Sequence[WindowObservation]) -> None:
        """Windows that have closed, in the order of their days."""
        days: dict[date, list[WindowObservation]] = {}
        for observation in closed:
            days.setdefault(observation.day, []).append(observation)
        for of_day in days.values():
            self._add_day(of_day)

    def _add_day(self, observations: Sequence[WindowObservation]) -> None:
        count, total = self._champion
        champion = total / count if count else 0.0
        for name, process in self._within.items():
            _feed(process, _harms(observations, name), self._margins.of(name, champion))
        for baseline in Baseline:
            parts = [each for each in observations if each.baseline is baseline]
            for name in self._margins.questions:
                _feed(self._worse[_key(name, baseline)], _harms(parts, name), self._margins.of(name, champion))
        late = [each.amounts.champion_tardiness_seconds for each in observations if each.amounts is not None]
        self._champion = (count + len(late), total + math.fsum(late))

    def readings(self) -> tuple[EvidenceReading, ...]:
        """Whether each figure is within its margin, as far as it is known."""
        texts = self._margins.questions
        return tuple(process.reading(f"{texts[name][0]} by days") for name, process in self._within.items())

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is not shown to be within its margin yet, and about how many days are missing."""
        return tuple(missing_text(reading, 0.0) for reading in self.readings() if not reading.is_answered)

    @property
    def objections(self) -> tuple[str, ...]:
        """What is shown to be worse by more than half its margin, with 5 % false ones among those that are named."""
        # Kinds of baseline that there are no days of are no question.
        names = [name for name, process in self._worse.items() if process.has_bets]
        found = e_bh([self._worse[name].fair_log_e for name in names])
        return tuple(f"{names[place]} is worse by more than half its margin" for place in found)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "asked": {name: numbers for name, (_, numbers) in self._margins.questions.items()},
            "within": {name: process.snapshot() for name, process in self._within.items()},
            "worse": {name: process.snapshot() for name, process in self._worse.items()},
            "champion": list(self._champion),
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any], margins: Margins) -> MarginEvidence:
        """The evidence that `snapshot` described; a figure whose margin is another one begins anew.

        Raises `UnreadableState`.
        """
        if document.get("format") not in READABLE_FORMATS:
            raise UnreadableState(f"margins must have format {SNAPSHOT_FORMAT}, had {document.get('format')}")
        found = cls(margins)
        try:
            count, total = document["champion"]
            found._champion = (int(count), float(total))
            for name, (text, numbers) in margins.questions.items():
                if document["asked"].get(name) != numbers:
                    continue
                if text:
                    found._within[name] = ScaledProcess.restored(document["within"][name], WITHIN, part=1.0)
                for key in (_key(name, baseline) for baseline in Baseline):
                    found._worse[key] = ScaledProcess.restored(document["worse"][key], WORSE, part=WORSE_FROM)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"margins are damaged: {error!r}") from error
        return found


def _within() -> ScaledProcess:
    return ScaledProcess(WITHIN, part=1.0)


def _worse() -> ScaledProcess:
    return ScaledProcess(WORSE, part=WORSE_FROM)


def _key(name: str, baseline: Baseline) -> str:
    return f"{name} against the {baseline.value}"


def _feed(process: ScaledProcess, harms: Iterator[float], margin: float) -> None:
    found = list(harms)
    if found:
        process.add(math.fsum(found) / len(found), margin)


def _harms(observations: Sequence[WindowObservation], name: str) -> Iterator[float]:
    """By how much the challenger is worse in each window, the mean over its groups whatever their baselines."""
    windows: dict[str, list[WindowObservation]] = {}
    for each in observations:
        windows.setdefault(each.window, []).append(each)
    for parts in windows.values():
        if name == COST:
            yield from _cost_increase(parts)
            continue
        place, sign = DIFFERENCE_NAMES.index(name), -1.0 if COMPARED_FIGURES[name].is_more_better else 1.0
        told = [(each.groups, each.differences[place]) for each in parts if each.differences]
        if told:
            yield sign * math.fsum(n * value for n, value in told) / sum(n for n, _ in told)


def _cost_increase(parts: Sequence[WindowObservation]) -> Iterator[float]:
    """What a window costs more, as a fraction of what the champion's plans cost; nothing where those are free."""
    told = [(each.groups, each.amounts) for each in parts if each.amounts is not None]
    champion = math.fsum(n * amounts.champion_cost for n, amounts in told)
    if champion > 0.0:
        yield math.fsum(n * amounts.challenger_cost for n, amounts in told) / champion - 1.0


def _points(value: float) -> str:
    return f"{value:g} point" + ("" if value == 1.0 else "s")
