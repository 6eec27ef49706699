"""The sets that `gantry bench quality` knows: public benchmarks, workloads, and our own plants."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator

from deployments.errors import ServiceError
from env.instances.generator import Plant, due_by_load, random_problem
from env.problem import SECONDS_PER_HOUR, Objective, Problem
from env.simulator.rules import Rule, dispatch
from models.benchmark.benchmark import Instance

SEED = 20_270_311
COUNT = 40
KIND = Plant(
    operations=(170, 2_000),
    operations_per_job=(2, 8),
    machines=(10, 150),
    jobs_per_machine=(1.0, 6.0),
    due_tightness=None,
    calendar_share=1.0,
    changeover_share=1.0,
    objectives=(Objective.TARDINESS,),
)
TARDINESS_FACTOR = (0.2, 0.6)
DUE_DATE_RANGE = (0.4, 1.0)
BESIDE_THE_PROJECT = Path(__file__).resolve().parents[4] / "shared"
FLEXIBLE_JOB_SHOPS = "https://github.com/SchedulingLab/fjsp-instances"
JOB_SHOPS = "https://github.com/SchedulingLab/jsp-instances"


class PublicSet(NamedTuple):
    """Where instances are published, as .txt, and what their files end in here."""

    repository: str
    folder: str
    suffix: str

    @property
    def origin(self) -> str:
        """The same in words."""
        return f"published as .txt in {self.folder}/ of {self.repository}"


PUBLIC_SETS = {
    "brandimarte": PublicSet(FLEXIBLE_JOB_SHOPS, "brandimarte", ".fjs"),
    "hurink-edata": PublicSet(FLEXIBLE_JOB_SHOPS, "hurink/edata", ".fjs"),
    "hurink-rdata": PublicSet(FLEXIBLE_JOB_SHOPS, "hurink/rdata", ".fjs"),
    "hurink-vdata": PublicSet(FLEXIBLE_JOB_SHOPS, "hurink/vdata", ".fjs"),
    "behnke": PublicSet(FLEXIBLE_JOB_SHOPS, "behnke", ".fjs"),
    "taillard": PublicSet(JOB_SHOPS, "ta", ".jsp"),
}


def benchmark_plants(count: int = COUNT) -> list[Problem]:
    """The first `count` plants of the set; each has 170 to 2,000 operations, and every one of them a due date."""
    rng = np.random.default_rng(SEED)
    low, high = KIND.operations
    found: list[Problem] = []
    while len(found) < count:
        problem = random_problem(rng, KIND)
        if low <= len(problem.operations) <= high:
            found.append(replace(_with_due_dates(rng, problem), name=f"plant-{len(found) + 1:02}"))
    return found


def _with_due_dates(rng: Generator, problem: Problem) -> Problem:
    makespan = dispatch(problem, Rule.COMPOSITE).makespan_seconds
    return replace(problem, jobs=due_by_load(rng, problem.jobs, makespan, TARDINESS_FACTOR, DUE_DATE_RANGE))


class BenchmarksMissing(ServiceError):
    """The benchmark files are not where they are looked for; says where that is, and where they come from."""


class UnknownSet(ServiceError):
    """There is no such benchmark set; lists those that exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSet:
    """Chosen instances of a set, how many it has in all, and whether its times are hours of a real clock."""

    name: str
    instances: tuple[Instance, ...]
    instances_in_set: int
    objective: Objective
    in_hours: bool


Item = TypeVar("Item")
Loader = Callable[[int | None], BenchmarkSet]


BEST_KNOWN = "best_known.json"


class NoBestKnown(ServiceError):
    """A file that holds no best known makespans, or none of the set; says what it must hold and what it has."""


def best_known(path: Path, set_name: str) -> dict[str, float]:
    """The best known makespan of each problem, in the unit of its file.

    The file has `{problem: [lower bound, best]}`, or that for each of several sets by its name; then those of
    `set_name` count. Raises `NoBestKnown`.
    """
    found = _document(path)
    if any(isinstance(each, dict) for each in found.values()):
        if set_name not in found:
            raise NoBestKnown(f"{path} must have the set {set_name!r}, but has {', '.join(found)}")
        found = found[set_name]
    return _makespans(path, found)


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        wanted = "problem -> [lower bound, best], or set -> that"
        raise NoBestKnown(f"{path} must be JSON, {wanted}, but cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise NoBestKnown(f"{path} must be a JSON object, was {type(found).__name__}")
    return found


def _makespans(path: Path, found: object) -> dict[str, float]:
    if not isinstance(found, Mapping):
        raise NoBestKnown(f"{path} must have problems for each set, had {found!r:.80}")
    for name, bounds in found.items():
        if not _are_bounds(bounds):
            raise NoBestKnown(f"{path} must have [lower bound, best] for {name!r}, had {bounds!r:.80}")
    return {name: float(best) for name, (_, best) in found.items()}


def _are_bounds(value: object) -> bool:
    if not (isinstance(value, list) and len(value) == 2):
        return False
    return all(type(each) in (int, float) for each in value) and 0.0 < float(value[1]) < float("inf")


def set_names() -> tuple[str, ...]:
    """All sets, in the order of tables."""
    return tuple(_LOADERS)


def load_set(name: str, limit: int | None = None) -> BenchmarkSet:
    """A set by its name; `limit` takes that many instances, spread evenly.

    Raises `UnknownSet`, `BenchmarksMissing`, `NoBestKnown`.
    """
    if name not in _LOADERS:
        raise UnknownSet(f"the set must be one of {', '.join(_LOADERS)}, was {name!r}")
    return _LOADERS[name](limit)


def data_folder() -> Path:
    """The folder above benchmarks/ and workloads/, whether or not anything is there."""
    return Path(os.environ.get("GANTRY_BENCHMARKS") or BESIDE_THE_PROJECT)


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, first and last among them, at equal distances."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit == 1:
        return [items[len(items) // 2]]
    return [items[round(place * (len(items) - 1) / (limit - 1))] for place in range(limit)]


def _public(name: str, limit: int | None) -> BenchmarkSet:
    folder, public = data_folder() / "benchmarks", PUBLIC_SETS[name]
    files = _files(folder / name, public.suffix, public.origin)
    best = best_known(folder / BEST_KNOWN, name)
    known = [path for path in files if path.stem in best]
    return _of_files(name, known, best, limit, Objective.MAKESPAN, in_hours=False)


def _reference(name: str, objective: Objective, limit: int | None) -> BenchmarkSet:
    folder = data_folder() / "workloads" / "reference-170"
    files = _files(folder, ".json", "not published")
    return _of_files(name, files, best_known(folder / BEST_KNOWN, name), limit, objective, in_hours=True)


def _plants(limit: int | None) -> BenchmarkSet:
    problems = spread(benchmark_plants(COUNT), limit)
    return BenchmarkSet(
        name="plants",
        instances=tuple(Instance(problem=problem, best_known_seconds=None) for problem in problems),
        instances_in_set=COUNT,
        objective=Objective.TARDINESS,
        in_hours=True,
    )


_LOADERS: dict[str, Loader] = {
    **{name: partial(_public, name) for name in PUBLIC_SETS},
    "reference-170": partial(_reference, "reference-170", Objective.MAKESPAN),
    "reference-170-balanced": partial(_reference, "reference-170-balanced", Objective.BALANCED),
    "plants": _plants,
}


def _files(folder: Path, suffix: str, origin: str) -> list[Path]:
    found = sorted(path for path in folder.glob(f"*{suffix}") if path.name != BEST_KNOWN)
    if not found:
        raise BenchmarksMissing(
            f"{folder} must hold the {suffix} files of the set, but has none: they are {origin}. GANTRY_BENCHMARKS "
            f"names the folder above {folder.parent.name}/, and docs/BENCHMARKS.md says what belongs there. "
            "The set plants needs no files"
        )
    return found


def _of_files(
    name: str,
    files: Sequence[Path],
    best: Mapping[str, float],
    limit: int | None,
    objective: Objective,
    *,
    in_hours: bool,
) -> BenchmarkSet:
    if not files:
        raise BenchmarksMissing(f"the set {name!r} must have at least one problem, but has none")
    unit_seconds = SECONDS_PER_HOUR if in_hours else 1
    return BenchmarkSet(
        name=name,
        instances=tuple(
            Instance(
                problem=replace(_read(path), name=path.stem, objective=objective),
                best_known_seconds=best[path.stem] * unit_seconds if path.stem in best else None,
            )
            for path in spread(files, limit)
        ),
        instances_in_set=len(files),
        objective=objective,
        in_hours=in_hours,
    )


def _read(path: Path) -> Problem:
    from deployments.commands.solve import read_problem

    return read_problem(path).problem
