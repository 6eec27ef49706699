from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from deployments.commands.bench.benchmark_sets import (
    PUBLIC_SETS,
    BenchmarksMissing,
    NoBestKnown,
    UnknownSet,
    load_set,
    set_names,
    spread,
)
from deployments.commands.bench.quality import quality
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


@pytest.mark.parametrize(
    ("name", "files", "origin"),
    [
        ("brandimarte", "benchmarks/brandimarte must hold the .fjs files", "in brandimarte/ of https://github.com/"),
        ("hurink-vdata", "benchmarks/hurink-vdata must hold the .fjs files", "in hurink/vdata/ of https://github.com/"),
        ("taillard", "benchmarks/taillard must hold the .jsp files", "SchedulingLab/jsp-instances"),
        ("reference-170-balanced", "workloads/reference-170 must hold the .json files", "they are not published"),
    ],
)
def test_missing_data_says_what_is_missing_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: str, origin: str
) -> None:
    """Where it looked and for what, who publishes that, what to set, and what runs without."""
    monkeypatch.setenv("GANTRY_BENCHMARKS", str(tmp_path))
    with pytest.raises(BenchmarksMissing) as caught:
        load_set(name)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/{files}")
    for part in (origin, "GANTRY_BENCHMARKS names the folder", "docs/BENCHMARKS.md", "plants needs no files"):
        assert part in message


def test_public_set_needs_no_workloads(shelf: Path) -> None:
    """Who has only what is published can measure with that; other files beside the instances are left alone."""
    (shelf / "workloads").rmdir()
    (shelf / "benchmarks" / "brandimarte" / "mk01.txt").write_text(TINY, encoding="utf-8")
    assert load_set("brandimarte").instances_in_set == 3


def test_documentation_says_where_every_set_comes_from() -> None:
    """Its table names the files of each, and who publishes them."""
    page = (Path(__file__).parents[4] / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    for name, public in PUBLIC_SETS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"`benchmarks/{name}/*{public.suffix}`" in row
        assert f"`{public.folder}/` of" in row
        assert public.repository in page
    assert "`workloads/reference-170/*.json`" in page
    assert {name for name in set_names() if f"`{name}`" not in page} == set()


def test_examples_run_without_any_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of `--help` and the first one of the documentation are of a set that is generated."""
    monkeypatch.setenv("GANTRY_BENCHMARKS", str(tmp_path))
    page = (Path(__file__).parents[4] / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    for text in (inspect.getdoc(quality) or "", page):
        example = next(line for line in text.splitlines() if "gantry bench quality --set" in line)
        for name in re.findall(r"--set (\S+)", example):
            assert load_set(name, limit=1).instances


def test_help_names_every_set() -> None:
    """And no set that there is not."""
    words = set(re.findall(r"[a-z]+(?:-[a-z0-9]+)*", inspect.getdoc(quality) or ""))
    assert set(set_names()) <= words


def test_missing_set_is_an_error_of_one_line(shelf: Path) -> None:
    """A set that this copy of the data lacks, and one that nobody knows, are told apart."""
    behnke = shelf / "benchmarks" / "behnke"
    behnke.mkdir()
    (behnke / "sm01_1.fjs").write_text(TINY, encoding="utf-8")
    with pytest.raises(NoBestKnown, match="must have the set 'behnke', but has brandimarte"):
        load_set("behnke")
    (shelf / "workloads" / "reference-170").mkdir()
    with pytest.raises(BenchmarksMissing, match=r"reference-170 must hold the \.json files"):
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
