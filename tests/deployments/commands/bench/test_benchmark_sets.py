from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.commands.bench.benchmark_sets import (
    BenchmarksMissing,
    UnknownSet,
    data_folder,
    load_set,
    set_names,
    spread,
)
from deployments.commands.bench.best_known import NoBestKnown
from env.problem import Objective
from tests.benchmark_data import data_folder as public_data

TINY = "2 2\n2 1 0 3 1 1 2\n2 1 1 3 1 0 2\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmarks with three tiny files in one set."""
    folder = tmp_path / "benchmarks" / "brandimarte"
    folder.mkdir(parents=True)
    (tmp_path / "workloads").mkdir()
    for name in ("mk01", "mk02", "mk03"):
        (folder / f"{name}.fjs").write_text(TINY, encoding="utf-8")
    best = {"brandimarte": {name: [4, 5] for name in ("mk01", "mk02", "mk03")}}
    (tmp_path / "benchmarks" / "best_known.json").write_text(json.dumps(best), encoding="utf-8")
    monkeypatch.setenv("GANTRY_BENCHMARKS", str(tmp_path))
    return tmp_path


def test_set_has_its_files_and_best_known_values(shelf: Path) -> None:
    """Name, makespan to beat and size of the whole set, of as many instances as were asked for."""
    found = load_set("brandimarte", limit=2)
    assert [(each.name, each.best_known_seconds) for each in found.instances] == [("mk01", 5.0), ("mk03", 5.0)]
    assert (found.instances_in_set, found.in_hours, found.objective) == (3, False, Objective.MAKESPAN)


def test_missing_data_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the folders the error says where it looked and what to set."""
    monkeypatch.setenv("GANTRY_BENCHMARKS", str(tmp_path))
    with pytest.raises(BenchmarksMissing, match=r"must hold benchmarks/ and workloads/.*GANTRY_BENCHMARKS"):
        data_folder()


def test_missing_set_is_an_error_of_one_line(shelf: Path) -> None:
    """A set that this copy of the data lacks, and one that nobody knows, are told apart."""
    with pytest.raises(NoBestKnown, match="must have the set 'behnke', but has brandimarte"):
        load_set("behnke")
    with pytest.raises(BenchmarksMissing, match="reference-170 must be a folder of problems"):
        load_set("reference-170")
    with pytest.raises(UnknownSet, match=r"must be one of brandimarte, .*plants, was 'mk'"):
        load_set("mk")


def test_limit_spreads_over_the_set() -> None:
    """First, last and evenly between; one instance is the middle one."""
    assert spread(range(9), 3) == [0, 4, 8]
    assert spread(range(9), 1) == [4]
    assert spread(range(3), 7) == spread(range(3), None) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "count"), [("brandimarte", 10), ("hurink-vdata", 40), ("behnke", 36), ("taillard", 80)]
)
def test_public_sets_are_complete(name: str, count: int) -> None:
    """Every instance of a public set has a best-known makespan."""
    public_data()
    found = load_set(name, limit=2)
    assert found.instances_in_set == count
    assert all(each.best_known_seconds for each in found.instances)


def test_reference_plants_can_be_balanced() -> None:
    """The same ten plants with another objective, their best known makespan in seconds."""
    public_data()
    plain, balanced = load_set("reference-170", limit=1), load_set("reference-170-balanced", limit=1)
    assert plain.instances_in_set == balanced.instances_in_set == 10
    assert plain.instances[0].problem.objective is Objective.MAKESPAN
    assert balanced.instances[0].problem.objective is Objective.BALANCED
    assert plain.instances[0].problem.jobs == balanced.instances[0].problem.jobs
    assert 30 * 3600 < (plain.instances[0].best_known_seconds or 0) < 60 * 3600


def test_every_set_of_the_documentation_exists() -> None:
    """Nine sets, in the order of the tables."""
    assert len(set_names()) == 9
    assert set_names()[0] == "brandimarte"
    assert set_names()[-1] == "plants"
