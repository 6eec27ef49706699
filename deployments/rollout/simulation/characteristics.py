"""What the statistics of windows and of list groups do in known worlds, beside what was specified of them.

The figures that were specified come from code that shares nothing with this. A figure is kept when it lies where
chance may put it, given how many rollouts were run here; one that is only bounded is kept below its bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.analysis.e_processes import (
    BETTER,
    BETTER_BY_DAYS,
    FUTILE,
    FUTILE_BY_DAYS,
    HARM,
    WORSE,
    SequentialTest,
    WindowEvidence,
    log_mixture,
)
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import (
    DIFFERENCE_NAMES,
    Baseline,
    Evaluation,
    JobSketch,
    Outcome,
    PairedObservation,
)
from deployments.rollout.analysis.triggers import GuardrailRule, Limits
from deployments.rollout.analysis.windows import ListInWindow, WindowLog, WindowPair
from deployments.rollout.assignment import ArmRole
from deployments.rollout.simulation.window_worlds import (
    NEVER,
    STAGES,
    ClimbRules,
    Climbs,
    WindowWorld,
    chunks,
    climb,
    first_crossing,
)

CHANCE = 3.3
"""Standard errors between which chance puts a figure, in all but one of a thousand."""

SPECIFIED_WITHIN = 0.04
"""What a specified figure may itself be off, relatively, and never less than one whole window or day."""

FALSE_WINDOWS = 500
CLIMB_DAYS = 150
EQUAL_DAYS = 250
EQUAL = (0.3, 0.3, 0.0)
"""At most that many per cent of equal challengers may enter each stage."""
WEAK_DAYS = 365
SHOCK_DAYS = 60
STRATA = 20
MAX_EVENT_ROLLOUTS = 20
"""Of rollouts that are played event by event."""
_BEGIN = datetime(2025, 1, 6, 8, tzinfo=UTC)
RULES = ClimbRules()
LATTICE = 1000
"""Steps of a cumulative sum are whole thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: what was `found`, between `low` and `high` by chance, and what was `specified` in the same unit.

    `is_bound`: what was specified is a bound from above; `specified` None: shown without a promise. `is_exact`: no
    chance is in it.
    """

    name: str
    unit: str
    found: float
    low: float
    high: float
    specified: float | None
    is_bound: bool = False
    is_exact: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether it is as specified, by all that so many rollouts can tell."""
        if self.specified is None:
            return None
        if self.is_bound:
            return self.low <= self.specified
        slack = SPECIFIED_WITHIN * self.specified
        if self.unit in ("windows", "days"):
            slack = max(1.0, slack)
        return self.low - slack <= self.specified <= self.high + slack


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristic:
    """Figures that belong together: computed by `find` from the number of rollouts and a generator."""

    table: str
    find: Callable[[int, np.random.Generator], list[Figure]]


def characteristics(limits: Limits) -> tuple[Characteristic, ...]:
    """All of them, in the order in which they are told; the cumulative sums are those of `limits`."""
    return (*_evidence(), *_policies(), *_harms(), *_robustness(), *_rates(limits), *_findings(limits))


def quantile_of(name: str, unit: str, counts: NDArray[np.int64], level: float, specified: float | None) -> Figure:
    """The quantile of `counts` at `level`; `NEVER` counts as infinitely many, and so do none."""
    ordered, n = np.sort(counts), len(counts)
    if not n:
        return Figure(name=name, unit=unit, found=math.inf, low=math.inf, high=math.inf, specified=specified)
    error = CHANCE * math.sqrt(level * (1.0 - level) / n)
    places = [min(n - 1, max(0, math.ceil(at * n) - 1)) for at in (level - error, level, level + error)]
    low, found, high = (float(ordered[place]) if ordered[place] < NEVER else math.inf for place in places)
    return Figure(name=name, unit=unit, found=found, low=low, high=high, specified=specified)


def share_of(
    name: str, hits: int, rollouts: int, specified: float | None, *, is_bound: bool = False, known_from: int = 10_000
) -> Figure:
    """A share in per cent, with Wilson's interval; the specified one came from `known_from` rollouts."""
    n, z = rollouts, CHANCE * math.sqrt(1.0 if is_bound else 1.0 + rollouts / known_from)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Figure(
        name=name,
        unit="%",
        found=100 * share,
        low=100 * max(0.0, middle - half),
        high=100 * min(1.0, middle + half),
        specified=specified,
        is_bound=is_bound,
    )


def crossings(
    world: WindowWorld, test: SequentialTest, windows: int, rollouts: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """After how many windows of one plant E reaches the threshold of `test`, (rollouts,)."""
    parts = [first_crossing(world.means_of(part, windows, rng)[:, :, 0], test) for part in chunks(rollouts)]
    return np.concatenate(parts)


EVIDENCE = (
    (WindowWorld(deviation=0.05, lists=1, icc=0.0), ((30, 41), (16, 19), (10, 10)), 0.30),
    (WindowWorld(deviation=0.1, lists=1, icc=0.0), ((44, 97), (18, 28), (11, 12)), 0.43),
    (WindowWorld(deviation=0.1, lists=10, icc=0.2), ((31, 42), (16, 19), (10, 10)), 0.30),
    (WindowWorld(deviation=0.2, lists=1, icc=0.0), ((193, 426), (44, 99), (14, 26)), 0.68),
    (WindowWorld(deviation=0.2, lists=10, icc=0.2), ((48, 110), (19, 30), (11, 13)), 0.54),
    (WindowWorld(deviation=0.2, lists=10, icc=0.5), ((96, 223), (25, 55), (12, 17)), 0.55),
)
"""World of a row, windows until E reaches 100 (median, 95 %) at -5, -10 and -20 %, false ones in 500 windows in %."""
EFFECTS = (-0.05, -0.10, -0.20)


def _evidence() -> Iterator[Characteristic]:
    for world, specified, false in EVIDENCE:
        yield Characteristic(table="Windows until E reaches 100", find=_Evidence(world, specified, false))


@dataclass(frozen=True, slots=True)
class _Evidence:
    world: WindowWorld
    specified: tuple[tuple[int, int], ...]
    false: float

    def __call__(self, rollouts: int, rng: np.random.Generator) -> list[Figure]:
        world = self.world
        told = f"sd {world.deviation:g}, {world.lists} a window" + (f", ICC {world.icc:g}" if world.icc else "")
        found = []
        for effect, (median, late) in zip(EFFECTS, self.specified, strict=True):
            # Far enough to hold the quantile that is looked for, whatever chance makes of it.
            counts = crossings(replace(world, effect=effect), BETTER, 2 * late, rollouts, rng)
            name = f"{told}: {effect:+.0%}"
            found.append(quantile_of(f"{name}, median", "windows", counts, 0.5, median))
            found.append(quantile_of(f"{name}, 95 %", "windows", counts, 0.95, late))
        hits = int((crossings(world, BETTER, FALSE_WINDOWS, rollouts, rng) < NEVER).sum())
        return [*found, share_of(f"{told}: false in {FALSE_WINDOWS}", hits, rollouts, self.false)]


def _policies() -> Iterator[Characteristic]:
    table = "Whole policy: one plant, ten lists a day, ICC 0.2, sd 0.1, kappa 1.35"
    for effect, medians in zip(EFFECTS, ((38, 57, 76), (20, 29, 43), (12, 19, 33)), strict=True):
        yield Characteristic(table=table, find=_Policy(f"{effect:+.0%}", WindowWorld(effect=effect), medians=medians))
    # Specified of those that end FUTILE within 250 days, by what is seen; of all it is more.
    for icc, futile in ((0.0, 50), (0.2, None), (0.5, None), (0.9, 104)):
        world, name = WindowWorld(icc=icc), f"equal, ICC {icc:g}"
        yield Characteristic(table=table, find=_Policy(name, world, bounds=EQUAL, futile=futile, days=EQUAL_DAYS))
    spoiled = WindowWorld(effect=-0.10, later_effect=0.08)
    for days, bounds in ((7, (0.0, 0.0, 0.0)), (20, (None, 0.0, 0.0))):
        name, world = f"-10 % for {days} days, then +8 %", replace(spoiled, change_at=days)
        yield Characteristic(table=table, find=_Policy(name, world, bounds=bounds))


@dataclass(frozen=True, slots=True)
class _Policy:
    """The stages of a whole policy: median days, or the share that may enter each in per cent."""

    name: str
    world: WindowWorld
    medians: tuple[int, ...] = ()
    bounds: tuple[float | None, ...] = ()
    futile: int | None = None
    days: int = CLIMB_DAYS
    rules: ClimbRules = RULES
    is_bound: bool = True

    def __call__(self, rollouts: int, rng: np.random.Generator) -> list[Figure]:
        climbs = climb(self.world, days=self.days, rollouts=rollouts, rng=rng, rules=self.rules)
        found = [
            quantile_of(f"{self.name}: {stage}", "days", climbs.entered[:, place], 0.5, days)
            for place, (stage, days) in enumerate(zip(STAGES, self.medians, strict=False))
        ]
        found += self._shares(climbs, rollouts)
        if self.futile is not None:
            ended = climbs.futile[climbs.futile < NEVER]
            name = f"{self.name}: FUTILE, where within {self.days}"
            found.append(quantile_of(name, "days", ended, 0.5, self.futile))
            found.append(quantile_of(f"{self.name}: FUTILE, of all", "days", climbs.futile, 0.5, None))
        return found

    def _shares(self, climbs: Climbs, rollouts: int) -> Iterator[Figure]:
        for place, (stage, bound) in enumerate(zip(STAGES, self.bounds, strict=False)):
            hits = int((climbs.entered[:, place] < NEVER).sum())
            yield share_of(f"{self.name}: {stage}", hits, rollouts, bound, is_bound=self.is_bound, known_from=1_500)


def _harms() -> Iterator[Characteristic]:
    def harm(rollouts: int, rng: np.random.Generator) -> list[Figure]:
        found = []
        for effect, windows in ((0.15, 40), (0.20, 21), (0.30, 12), (0.50, 10)):
            counts = crossings(WindowWorld(effect=effect), HARM, 4 * windows, rollouts, rng)
            found.append(quantile_of(f"{effect:+.0%}", "windows", counts, 0.5, windows))
        hits = int((crossings(WindowWorld(effect=0.10), HARM, FALSE_WINDOWS, rollouts, rng) < NEVER).sum())
        return [*found, share_of(f"exactly +10 %, false in {FALSE_WINDOWS}", hits, rollouts, 0.2)]

    def stratum(rollouts: int, rng: np.random.Generator) -> list[Figure]:
        # Alone among K strata a null is refuted by e-BH from E = K / 5 % on.
        test = replace(WORSE, threshold=STRATA / 0.05)
        counts = crossings(WindowWorld(effect=0.20), test, 60, rollouts, rng)
        return [quantile_of(f"one stratum of {STRATA} at +20 %", "windows", counts, 0.5, 14)]

    yield Characteristic(table="Harm: windows until E reaches 200", find=harm)
    yield Characteristic(table="Strata: its windows until e-BH names it", find=stratum)


def _robustness() -> Iterator[Characteristic]:
    table = "Worlds that deceive"
    yield Characteristic(table=table, find=_common_shock)
    doublings = WindowWorld(lists=1, icc=0.0, deviation=0.05, tail_share=0.02)
    name = f"one list a window, 2 % doubled, mean 0, {WEAK_DAYS} days (the weakest)"
    weak = _Policy(name, doublings, bounds=(9.6, None, 0.6), days=WEAK_DAYS, is_bound=False)
    yield Characteristic(table=table, find=weak)
    tripled = replace(WindowWorld(), tail_share=0.01, tail_factor=2.7)
    yield Characteristic(table=table, find=_Policy("1 % at x 2.7, mean 0", tripled, bounds=(1.0, None, 0.0)))
    follows = WindowWorld(icc=0.5, rho=0.5)
    estimated = ClimbRules(exponent=None)
    name = "equal, ICC 0.5, days follow an AR(1) of 0.5, kappa estimated"
    yield Characteristic(table=table, find=_Policy(name, follows, bounds=(1.0, None, 0.0), rules=estimated))
    long = WindowWorld(effect=-0.05, long_share=0.1, long_effect=1.15 / 0.95 - 1.0)
    name = "10 % of the lists (40 h) at +15 %, 90 % (2 h) at -5 %"
    yield Characteristic(table=table, find=_Policy(name, long, bounds=(None, None, 0.0)))
    hard = WindowWorld(effect=-0.01, deviation=0.05, hard_share=0.1, hard_effect=0.40, lost_share=1.0)
    name = "shown -1 %, true +2.5 %: hard tenth of the lists never answered"
    yield Characteristic(table=table, find=_Policy(name, hard, bounds=(0.0, None, 0.0), days=60))
    yield Characteristic(table=table, find=_presses)


def _common_shock(rollouts: int, rng: np.random.Generator) -> list[Figure]:
    """Half of what the lists of a window share is shared by twenty plants; the size of the shock was not specified."""
    world, hits = WindowWorld(plants=20, common=0.5), np.zeros(4, dtype=np.int64)
    for part in chunks(rollouts):
        equal = world.means_of(part, SHOCK_DAYS, rng)
        for place, (test, by_days, means) in enumerate(
            ((BETTER, BETTER_BY_DAYS, equal), (FUTILE, FUTILE_BY_DAYS, equal + FUTILE.center))
        ):
            windows = log_mixture(np.cumsum(test.log_growth(means).sum(axis=2), axis=1)) >= math.log(test.threshold)
            days = log_mixture(np.cumsum(by_days.log_growth(means.mean(axis=2)), axis=1)) >= math.log(by_days.threshold)
            hits[2 * place] += int(windows.any(axis=1).sum())
            hits[2 * place + 1] += int((windows & days).any(axis=1).sum())
    name = f"twenty plants, common day shock, {SHOCK_DAYS} days"
    better, better_by_days, futile, futile_by_days = map(int, hits)
    return [
        share_of(f"{name}, equal: E 100 by windows alone", better, rollouts, None),
        share_of(f"{name}, equal: with the day rule", better_by_days, rollouts, 1.75),
        share_of(f"{name}, -2 %: FUTILE by windows alone", futile, rollouts, None),
        share_of(f"{name}, -2 %: with the day rule", futile_by_days, rollouts, 5.0, is_bound=True),
    ]


def _presses(_: int, rng: np.random.Generator) -> list[Figure]:
    """Thirty unlike lists on each of three days, each planned ten times in turn: through the real windows."""
    log, start = WindowLog(), datetime(2025, 1, 6, 8, tzinfo=UTC)
    lists = [JobSketch.of(f"{number}-{job}" for job in range(5)) for number in range(30)]
    for day in range(3):
        at = start + timedelta(days=day)
        window = f"plant//{at.date()}"
        for _ in range(10):
            for number, jobs in enumerate(lists):
                item = ListInWindow(window=window, digest=f"{day}-{number}", jobs=jobs)
                ratio = float(rng.normal(0.0, 0.1))
                log.observe(WindowPair(item=item, at=at, stage="shadow", baseline=Baseline.RULE, log_ratio=ratio))
    told = log.close(start + timedelta(days=9))
    name = "900 plans of 90 lists on three days"
    return [
        _exact(f"{name}: n", "", float(len(told)), 3.0),
        _exact(f"{name}: their groups", "", float(sum(window.groups for window in told)), 90.0),
    ]


def _exact(name: str, unit: str, found: float, specified: float) -> Figure:
    return Figure(name=name, unit=unit, found=found, low=found, high=found, specified=specified, is_exact=True)


def run_length(up: float, down: float, limit: float, rate: float) -> float:
    """Mean trials until a cumulative sum from 0 reaches `limit`: `up` at the events of `rate`, else `down`, floor 0.

    Exact: the chain of its values in whole thousandths, solved (Brook and Evans, "An approach to the probability
    distribution of cusum run length", 1972).
    """
    from scipy.sparse import csc_matrix, identity
    from scipy.sparse.linalg import spsolve

    rise, fall, states = (round(LATTICE * value) for value in (up, -down, limit))
    at = np.arange(states)
    goes_on = at + rise < states
    to = np.concatenate([(at + rise)[goes_on], np.maximum(at - fall, 0)])
    chances = np.concatenate([np.full(int(goes_on.sum()), rate), np.full(states, 1.0 - rate)])
    moves = csc_matrix((chances, (np.concatenate([at[goes_on], at]), to)), shape=(states, states))
    return float(spsolve((identity(states, format="csc") - moves).tocsc(), np.ones(states))[0])


def _rates(limits: Limits) -> Iterator[Characteristic]:
    table = "Cumulative sums: list groups until seen, in the mean, exact"
    crash = (limits.cusum_crash, limits.cusum_no_crash, limits.cusum_crash_limit)
    completion = (limits.cusum_incomplete, limits.cusum_complete, limits.cusum_limit)

    def exact(name: str, steps: tuple[float, float, float], rate: float, specified: float) -> Figure:
        return _exact(name, "groups", run_length(*steps, rate), specified)

    def find(_: int, __: np.random.Generator) -> list[Figure]:
        return [
            exact("crashes, total failure", crash, 1.0, 5),
            exact("crashes, 10 %", crash, 0.10, 55),
            exact("crashes, 5 %", crash, 0.05, 148),
            exact("crashes, false one at 0.5 %", crash, 0.005, 1.9e6),
            exact("incomplete, total failure", completion, 1.0, 8),
            exact("incomplete, 15 %", completion, 0.15, 106),
            exact("incomplete, false one at 3 %", completion, 0.03, 15e6),
        ]

    yield Characteristic(table=table, find=find)


def _findings(limits: Limits) -> Iterator[Characteristic]:
    """What went wrong while lists were counted, and what becomes of it; by its number in the page of the figures."""
    table = "What went wrong while lists were counted"
    for icc in (0.1, 0.2, 0.3):
        world = WindowWorld(lists=50, icc=icc)
        name = f"S1 equal, 50 lists a day for 60 days, ICC {icc:g}"
        yield Characteristic(table=table, find=_Policy(name, world, bounds=EQUAL, days=60))
    spoiled = WindowWorld(effect=-0.05, later_effect=0.08, change_at=10)
    yield Characteristic(table=table, find=_Policy("S3 -5 % for 10 days, then +8 %", spoiled, bounds=EQUAL))

    def by_events(rollouts: int, rng: np.random.Generator) -> list[Figure]:
        few = min(rollouts, MAX_EVENT_ROLLOUTS)
        alarms = sum(_has_false_alarm(limits, rng) for _ in range(few))
        bad = 0
        for _ in range(few):
            is_bad = rng.random(5_000) < 0.005
            bad += _rolls_back(limits, (_evaluation(n // 2, n, bool(is_bad[n // 2])) for n in range(10_000)))
        one_plant = "S6 one plant of 20 at +100 %, others -10 %"
        planners = "S7 +30 % against planners, -5 % against the rule"
        open_days, named = _held(19 * [-0.1] + [1.0])
        pressed = _rolls_back(limits, (_evaluation(0, n, True) for n in range(4)))
        return [
            share_of("S1 equal, ICC 0.5, 60 days: window rule fires", alarms, few, 5.0, is_bound=True),
            _exact("S2 1,500 lists x 10 plans in turn, in a month: n", "windows", *_presses_of_a_month(rng)),
            _exact("S4 one bad list pressed four times: rollbacks", "", float(pressed), 0.0),
            share_of("S4 0.5 % of 5,000 lists crash, pressed twice: rollback", bad, few, 5.0, is_bound=True),
            _exact("S5 total failure after 20,000 healthy lists", "requests", _failure_after(limits, 20_000), 5.0),
            replace(_exact(f"{one_plant}: its windows until named", "", named, 14.0), is_bound=True),
            replace(_exact(f"{one_plant}: days open until then", "", open_days, 0.0), specified=None),
            _exact(f"{planners}: days open", "", _held([0.3, -0.05], (Baseline.PLANNER, Baseline.RULE))[0], 0.0),
        ]

    def again(rollouts: int, rng: np.random.Generator) -> list[Figure]:
        hits = int((crossings(WindowWorld(), BETTER, 300, rollouts, rng) < NEVER).sum())
        return [share_of("S13 equal, ten ramps of 30 days: better in any", hits, rollouts, 1.0, is_bound=True)]

    yield Characteristic(table=table, find=by_events)
    yield Characteristic(table=table, find=again)


def _evaluation(job_list: int, number: int, is_crash: bool, lists_a_day: int = 50) -> Evaluation:
    """One press of a list, `number` presses after the first; the first list's day is the first."""
    at = _BEGIN + timedelta(days=job_list // lists_a_day, seconds=number % 30_000)
    return Evaluation(
        decision_id=str(number),
        at=at,
        ramp=1,
        stage="limited",
        unit=f"plant//{at.date()}",
        job_list_digest=f"{job_list:064}",
        arm=ArmRole.PPO,
        outcome=Outcome.CRASH if is_crash else Outcome.OK,
        is_served=True,
    )


def _rolls_back(limits: Limits, events: Iterator[Event]) -> bool:
    guardrails = Guardrails(ramp=1, limits=limits)
    return any(guardrails.observe(event) is not None for event in events)


def _failure_after(limits: Limits, healthy: int) -> float:
    """Crashes in a row until a rollback, after so many healthy lists."""
    guardrails = Guardrails(ramp=1, limits=limits)
    for number in range(healthy):
        assert guardrails.observe(_evaluation(number, number, False)) is None
    crashes = range(healthy, healthy + 1000)
    fired = (number for number in crashes if guardrails.observe(_evaluation(number, number, True)) is not None)
    return float(next(fired, healthy + 1000) - healthy + 1)


def _has_false_alarm(limits: Limits, rng: np.random.Generator) -> bool:
    """Whether the rule over the last pairs fires in sixty days of fifty equal lists that are alike by half."""
    ratios = WindowWorld(lists=50, icc=0.5).lists_of(1, 60, rng)[0][0, :, 0]
    guardrails = Guardrails(ramp=1, limits=limits)
    for (day, number), ratio in np.ndenumerate(ratios):
        at = _BEGIN + timedelta(days=day, minutes=number)
        pair = PairedObservation(
            decision_id=f"{day}-{number}",
            at=at,
            ramp=1,
            stage="limited",
            unit=f"plant//{at.date()}",
            job_list_digest=f"{day}-{number}",
            baseline=Baseline.RULE,
            budget_ms=0,
            log_makespan_ratio=float(ratio),
            differences=(0.0,) * len(DIFFERENCE_NAMES),
        )
        trigger = guardrails.observe(pair)
        if trigger is not None:
            return trigger.rule is GuardrailRule.WINDOW
    return False


def _presses_of_a_month(rng: np.random.Generator) -> tuple[float, float]:
    """Windows that fifty lists a day, each planned ten times in turn, come to; and how many days there were."""
    log = WindowLog()
    for day, _, number in np.ndindex(30, 10, 50):
        at = _BEGIN + timedelta(days=day)
        item = ListInWindow(window=f"plant//{at.date()}", digest=f"{day}-{number}")
        ratio = float(rng.normal(0.0, 0.1))
        log.observe(WindowPair(item=item, at=at, stage="shadow", baseline=Baseline.RULE, log_ratio=ratio))
    return float(len(log.close(_BEGIN + timedelta(days=40)))), 30.0


def _held(effects: Sequence[float], baselines: Sequence[Baseline] = (Baseline.RULE,)) -> tuple[float, float]:
    """Days of ninety on which nothing but time would hold a promotion, and days until a kind of lists is named.

    Each effect is that of a plant of its own. Where there are two baselines, the first effect is against the first, in
    the same plant.
    """
    evidence, log = WindowEvidence(challenger="a", champion="b"), WindowLog()
    open_days = named = 0
    for day in range(90):
        at = _BEGIN + timedelta(days=day)
        for place, effect in enumerate(effects):
            plant = "plant" if len(baselines) > 1 else f"plant{place}"
            log.observe(
                WindowPair(
                    item=ListInWindow(window=f"{plant}//{at.date()}", digest=f"{day}-{place}"),
                    at=at,
                    stage="shadow",
                    baseline=baselines[place % len(baselines)],
                    log_ratio=math.log1p(effect),
                    strata=(f"plant {plant}",),
                )
            )
        evidence.add(log.close(at))
        open_days += not evidence.doubts(is_for_full=False)
        named = named or (evidence.windows // len(effects) if evidence.worse_strata else 0)
    return float(open_days), float(named)
