"""The unit of analysis: one window is a plant, a line and a production day, and its lists are few groups.

The lists of one day are nearly the same list, planned again when a job changes, so that n may count neither lists nor
presses of a button. Lists of a window whose jobs overlap by half or more with an earlier one are its group; the first
pair of a group counts, the mean over its groups is the window's log ratio, and a window says it when it has closed.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import TAIL_FROM
from deployments.rollout.analysis.outcomes import Baseline, Evaluation, JobSketch, PairedObservation
from deployments.rollout.assignment import PlanningWindow, planning_window

MIN_OVERLAP = 0.5
"""Jaccard index from which two lists are one group."""

CLOSES_AFTER = timedelta(hours=6)
"""From the end of the production day to the close of its window: plans made in the night belong to the day."""

MAX_SKETCHES = 32
MAX_LISTS = 1024
"""Lists that one window remembers: by their jobs, to compare with (the first of a group stays longest), and by their
digests. A list that is like none that is remembered is a group of its own."""

MAX_GROUPS = 1024
"""Groups of one window whose pairs are averaged; that of still more says nothing new about the day."""

MAX_WINDOWS = 1024
"""Open windows that are remembered: of more, a guardrail drops the least recently touched, and the evidence the one
that would close last. Clients name plants, lines, days and units as they like, hence there may be any number, and far
in the future."""

MAX_CLOCK_STEP = timedelta(days=7)
"""A clock that is behind by more is right now and was wrong before: else nothing would close until it is there again.
"""

MIN_LISTS_FOR_THIRDS = 30

MAX_CLOSED = 4096
"""Closed windows that are remembered by name, so that late news of them is known to be late."""

SNAPSHOT_FORMAT = 2
READABLE_FORMATS = (1, SNAPSHOT_FORMAT)

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListInWindow:
    """A request's job list and the window that it belongs to. `jobs` is None in news of older routers.

    Then lists are one group when their digests are equal.
    """

    window: str
    digest: str
    jobs: JobSketch | None = None

    @classmethod
    def of(cls, event: Evaluation | PairedObservation) -> ListInWindow:
        """The list of a request."""
        return cls(window=window_of(event.unit, event.at), digest=event.job_list_digest, jobs=event.sketch)


class ListGroups:
    """The lists of one window, told apart: which group each belongs to."""

    def __init__(self) -> None:
        self._lists: dict[str, int] = {}
        self._sketches: dict[JobSketch, tuple[int, bool]] = {}
        self._groups = 0

    @property
    def groups(self) -> int:
        """How many there are."""
        return self._groups

    @property
    def remembered(self) -> set[int]:
        """Groups of which a list is remembered."""
        return set(self._lists.values())

    def group_of(self, item: ListInWindow) -> int:
        """Number of its group, from 0; a new one if it is like no list that is remembered."""
        digest = item.digest[-16:]
        if digest in self._lists:
            return self._lists[digest]
        like = self._like(item.jobs)
        group = self._groups if like is None else like
        self._groups += like is None
        self._lists[digest] = group
        if len(self._lists) > MAX_LISTS:
            del self._lists[next(iter(self._lists))]
        if item.jobs is not None and item.jobs not in self._sketches:
            self._sketches[item.jobs] = (group, like is None)
            if len(self._sketches) > MAX_SKETCHES:
                oldest = next(iter(self._sketches))
                del self._sketches[next((jobs for jobs, (_, first) in self._sketches.items() if not first), oldest)]
        return group

    def _like(self, jobs: JobSketch | None) -> int | None:
        if jobs is None:
            return None
        alike = (group for earlier, (group, _) in self._sketches.items() if jobs.overlap(earlier) >= MIN_OVERLAP)
        return next(alike, None)

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        sketches = [[jobs.as_text(), group, is_first] for jobs, (group, is_first) in self._sketches.items()]
        return {"groups": self._groups, "lists": dict(self._lists), "sketches": sketches}

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> ListGroups:
        found = cls()
        found._groups = int(document["groups"])
        found._lists = {str(digest): int(group) for digest, group in document["lists"].items()}
        for jobs, group, is_first in document["sketches"]:
            found._sketches[JobSketch.from_text(jobs)] = (int(group), bool(is_first))
        return found


class Trials:
    """Which events are trials: the first of its kind in each list group of a window that is open.

    A kind is the evaluations, or the pairs against one kind of baseline. Time is that of the newest event. A window is
    forgotten when it has closed; of more than `MAX_WINDOWS` the least recently touched is, and begins anew.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[str, tuple[ListGroups, dict[str, set[int]]]] = OrderedDict()
        self._newest = datetime.min.replace(tzinfo=UTC)

    def is_new(self, event: Evaluation | PairedObservation) -> bool:
        """Whether the event is the first of its kind in its group."""
        item = ListInWindow.of(event)
        if event.at > self._newest:
            self._forget(event.at)
        groups, tried = self._windows.setdefault(item.window, (ListGroups(), {}))
        self._windows.move_to_end(item.window)
        if len(self._windows) > MAX_WINDOWS:
            self._windows.popitem(last=False)
        of_kind = tried.setdefault("" if isinstance(event, Evaluation) else event.baseline.value, set())
        group = groups.group_of(item)
        is_new = group not in of_kind
        of_kind.add(group)
        if len(of_kind) > 2 * MAX_LISTS:
            # No list that comes can belong to a group of which none is remembered.
            of_kind &= groups.remembered
        return is_new

    def _forget(self, now: datetime) -> None:
        has_new_hour = now.replace(minute=0, second=0, microsecond=0) > self._newest
        self._newest = now
        if has_new_hour:
            for key in [key for key in self._windows if closes_at(key) <= now]:
                del self._windows[key]

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        windows = {
            key: groups.snapshot() | {"tried": {kind: sorted(of_kind) for kind, of_kind in tried.items()}}
            for key, (groups, tried) in self._windows.items()
        }
        return {"newest": self._newest.isoformat(), "windows": windows}

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> Trials:
        trials = cls()
        trials._newest = datetime.fromisoformat(document["newest"])
        for key, stored in list(document["windows"].items())[-MAX_WINDOWS:]:
            tried = {str(kind): set(map(int, of_kind)) for kind, of_kind in stored["tried"].items()}
            trials._windows[str(key)] = (ListGroups.restored(stored), tried)
        return trials


class Amounts(NamedTuple):
    """What margins are told from besides differences: seconds, and what both plans cost at the rates of the policy."""

    champion_tardiness_seconds: float
    challenger_cost: float
    champion_cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPair:
    """Both arms on one list: ln(challenger / champion), the champion's hours, and what strata the list belongs to.

    `differences` are those of the other key figures, as in a `PairedObservation`; empty: not asked for. `amounts` is
    None where they are not known.
    """

    item: ListInWindow
    at: datetime
    stage: str
    baseline: Baseline
    log_ratio: float
    hours: float = 1.0
    strata: tuple[str, ...] = ()
    differences: tuple[float, ...] = ()
    amounts: Amounts | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"an instant must have a time zone, was {self.at.isoformat()}")
        if not math.isfinite(self.log_ratio) or not 0.0 < self.hours < math.inf:
            raise ValueError(f"log_ratio must be finite and hours > 0, were {self.log_ratio} and {self.hours}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowObservation:
    """What one window says against one kind of baseline.

    `log_ratio` is the mean over `groups`, unclipped; `change` that of their hours, sum h (e^x - 1) / sum h. `tail` of
    the groups lie above +50 %, with log ratios that add to `tail_total`. `strata` are the means of their own lists.
    `squares` is the sum of the squared deviations of the groups from it: what lists of one window differ by.
    `lists` counts all pairs, presses too. `stage` is that of the window's first pair. `differences` of the other key
    figures and `amounts` are means over the groups that have them; empty and None: none has.
    """

    window: str
    stage: str
    baseline: Baseline
    groups: int
    lists: int
    log_ratio: float
    hours: float
    change: float
    tail: int
    tail_total: float
    strata: Mapping[str, float]
    differences: tuple[float, ...] = ()
    amounts: Amounts | None = None
    squares: float = 0.0

    @property
    def day(self) -> date:
        """Its production day."""
        return _planned(self.window).day

    @property
    def line(self) -> str:
        """Its plant and line: windows of one follow each other."""
        return self.window.rsplit("/", 1)[0]


_First = tuple[float, float, tuple[str, ...], tuple[float, ...], tuple[float, ...]]
"""Of the first pair of a group: log ratio, hours, strata, differences and amounts, empty where not known."""


@dataclass(slots=True)
class _Open:
    """One window before its close."""

    stage: str
    groups: ListGroups = field(default_factory=ListGroups)
    pairs: dict[Baseline, dict[int, _First]] = field(default_factory=dict)
    lists: dict[Baseline, int] = field(default_factory=dict)


class WindowLog:
    """Collects the pairs of open windows. Time is what the caller says, and never runs back here."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, None] = {}
        self._now = datetime.min.replace(tzinfo=UTC)
        self.late = 0
        """Pairs that came after the close of their window; they were counted in the day that was open."""
        self.dropped = 0
        """Windows that were dropped before their close, because too many were open."""

    def observe(self, pair: WindowPair) -> None:
        """One more pair, in the order of arrival."""
        key = pair.item.window
        if key in self._closed or closes_at(key) <= self._now:
            self.late += 1
            found = _planned(key)
            key = PlanningWindow(plant_id=found.plant_id, line_id=found.line_id, day=_open_day(self._now)).unit
        window = self._open.setdefault(key, _Open(stage=pair.stage))
        window.lists[pair.baseline] = window.lists.get(pair.baseline, 0) + 1
        group = window.groups.group_of(pair.item)
        if group < MAX_GROUPS:
            first = (pair.log_ratio, pair.hours, pair.strata, pair.differences, pair.amounts or ())
            window.pairs.setdefault(pair.baseline, {}).setdefault(group, first)
        if len(self._open) > MAX_WINDOWS:
            # Whoever names days far ahead must not drive out those that are about to close.
            del self._open[max(self._open, key=closes_at)]
            self.dropped += 1

    def close(self, now: datetime) -> tuple[WindowObservation, ...]:
        """The windows that are over at `now`, in the order of their days; each is told once."""
        self._now = now if self._now - now > MAX_CLOCK_STEP else max(self._now, now)
        over = sorted((key for key in self._open if closes_at(key) <= self._now), key=lambda key: (closes_at(key), key))
        found = [said for key in over for said in _observations(key, self._open.pop(key))]
        self._closed.update(dict.fromkeys(over))
        for key in list(self._closed)[: max(0, len(self._closed) - MAX_CLOSED)]:
            del self._closed[key]
        return tuple(found)

    def partial(self) -> tuple[WindowObservation, ...]:
        """What the open windows say so far: to be shown, never to be decided on."""
        return tuple(said for key in sorted(self._open) for said in _observations(key, self._open[key]))

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "now": self._now.isoformat(),
            "late": self.late,
            "dropped": self.dropped,
            "closed": list(self._closed),
            "open": {
                key: {
                    "stage": window.stage,
                    "groups": window.groups.snapshot(),
                    "lists": {baseline.value: count for baseline, count in window.lists.items()},
                    "pairs": {
                        baseline.value: [[group, *first[:2], *map(list, first[2:])] for group, first in pairs.items()]
                        for baseline, pairs in window.pairs.items()
                    },
                }
                for key, window in self._open.items()
            },
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> WindowLog:
        """The windows that `snapshot` described. Raises `UnreadableState`."""
        if document.get("format") not in READABLE_FORMATS:
            raise UnreadableState(f"windows must have format {SNAPSHOT_FORMAT}, had {document.get('format')}")
        try:
            log = cls()
            log._now = datetime.fromisoformat(document["now"])
            log.late, log.dropped = int(document["late"]), int(document["dropped"])
            log._closed = dict.fromkeys(document["closed"])
            for key, stored in document["open"].items():
                _planned(key)
                log._open[key] = _Open(
                    stage=str(stored["stage"]),
                    groups=ListGroups.restored(stored["groups"]),
                    lists={Baseline(name): int(count) for name, count in stored["lists"].items()},
                    pairs={
                        Baseline(name): {int(group): _first(*parts) for group, *parts in pairs}
                        for name, pairs in stored["pairs"].items()
                    },
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"windows are damaged: {error!r}") from error
        return log


SIZE_THIRDS = ("small lists", "middle lists", "large lists")
"""Strata that are told after the fact: which third a list belongs to is not known when it arrives."""


class SizeThirds:
    """In which third of the lists so far one lies by its number of jobs: a stratum that needs no bound from anybody.

    Sizes are counted in classes, four to each doubling; a list is told by those before it alone.
    """

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = Counter({int(size): int(count) for size, count in (counts or {}).items()})

    def of(self, jobs: int) -> str | None:
        """The third of a list of so many jobs, which counts from now on; None while too few are known to tell."""
        size = round(4.0 * math.log2(jobs))
        known = self._counts.total()
        below = sum(count for other, count in self._counts.items() if other < size) + self._counts[size] / 2
        self._counts[size] += 1
        if known < MIN_LISTS_FOR_THIRDS:
            return None
        return SIZE_THIRDS[min(2, int(3.0 * below / known))]

    def snapshot(self) -> dict[str, int]:
        """Plain values, from which it is made again."""
        return {str(size): count for size, count in self._counts.items()}


def window_of(unit: str, at: datetime) -> str:
    """The window of a unit at that instant; one that the client chose is a window for one day in UTC."""
    if planning_window(unit):
        return unit
    return PlanningWindow(plant_id=unit, line_id=None, day=at.astimezone(UTC).date()).unit


def closes_at(window: str) -> datetime:
    """When a window closes: its day's end in the zone where that is latest (12 h after UTC), and `CLOSES_AFTER`.

    The day is the plant's own and its zone does not travel with the window; late is safe, early would cut a day short.
    The last days of the calendar, which a client may name, close at its end.
    """
    begin = datetime.combine(_planned(window).day, time(), UTC)
    return begin + min(timedelta(hours=36) + CLOSES_AFTER, _END_OF_TIME - begin)


def _observations(key: str, window: _Open) -> list[WindowObservation]:
    return [_observation(key, window, baseline) for baseline in Baseline if window.pairs.get(baseline)]


def _observation(key: str, window: _Open, baseline: Baseline) -> WindowObservation:
    firsts = window.pairs[baseline].values()
    ratios = [ratio for ratio, *_ in firsts]
    hours = math.fsum(champion for _, champion, *_ in firsts)
    differences = [found for *_, found, _ in firsts if found]
    amounts = [found for *_, found in firsts if found]
    tail = [ratio for ratio in ratios if ratio > TAIL_FROM]
    strata: dict[str, list[float]] = {}
    for ratio, _, names, *_ in firsts:
        for name in names:
            strata.setdefault(name, []).append(ratio)
    log_ratio = math.fsum(ratios) / len(ratios)
    return WindowObservation(
        window=key,
        stage=window.stage,
        baseline=baseline,
        groups=len(ratios),
        lists=window.lists[baseline],
        log_ratio=log_ratio,
        hours=hours,
        change=math.fsum(champion * math.expm1(ratio) for ratio, champion, *_ in firsts) / hours,
        tail=len(tail),
        tail_total=math.fsum(tail),
        strata={name: math.fsum(values) / len(values) for name, values in sorted(strata.items())},
        differences=_means(differences),
        amounts=Amounts(*_means(amounts)) if amounts else None,
        squares=math.fsum((ratio - log_ratio) ** 2 for ratio in ratios),
    )


def _first(
    ratio: float, hours: float, strata: Iterable[str], differences: Iterable[float], amounts: Iterable[float] = ()
) -> _First:
    """Of plain values; format 1 knew no amounts."""
    return float(ratio), float(hours), tuple(strata), tuple(differences), tuple(amounts)


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(math.fsum(values) / len(values) for values in zip(*rows, strict=True))


def _planned(window: str) -> PlanningWindow:
    found = planning_window(window)
    if found is None:
        raise ValueError(f"a window must be plant/line/day, was {window!r}")
    return found


def _open_day(now: datetime) -> date:
    """The earliest day that is still open at `now`."""
    return (now - timedelta(hours=12) - CLOSES_AFTER).astimezone(UTC).date()
