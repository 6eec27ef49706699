from __future__ import annotations

import json
from pathlib import Path

import pytest

from env.instances.generator import toy_problem
from models.benchmark.benchmark import Instance, contestants, meet
from models.benchmark.leaderboard import Conditions, Quality, quality, quality_of_json
from models.benchmark.quality_page import quality_markdown, write_plot
from models.policy.artefact import load_predictor


@pytest.fixture(scope="module")
def found() -> Quality:
    """Everyone on the toy problem."""
    conditions = Conditions(
        set_name="toys",
        objective="makespan",
        in_hours=False,
        model="any@1",
        model_sha256="0" * 12,
        core="0",
        budgets_seconds=(0.05, 20.0),
        samples=2,
        seed=0,
        solver="CP-SAT",
        cores=2,
    )
    everyone = contestants(load_predictor(), (0.05,), 2) + contestants(load_predictor(), (20.0,), 0)[-2:]
    toy = Instance(problem=toy_problem(), best_known_seconds=5.0)
    return quality(conditions, [cell for each in everyone for cell in meet(toy, each)], instances_in_set=3)


def test_everyone_finds_the_optimum_of_the_toy(found: Quality) -> None:
    """Rules, policy, samples, search and CP-SAT with time enough: five seconds, no gap, nobody is better."""
    names = [row.competitor for row in found.standings]
    assert {"rule fifo", "policy pass", "best of 2", "search 0.05 s", "CP-SAT 20 s", "CP-SAT hinted 20 s"} <= {*names}
    assert len(names) == len(set(names))
    for row in found.standings:
        assert row.solved == 0 or (row.mean_gap_percent, row.best, row.invalid) == (pytest.approx(0.0), 1, 0)


def test_document_survives_json(found: Quality) -> None:
    """What is kept as JSON is what was measured."""
    assert quality_of_json(json.loads(json.dumps(found.as_json()))) == found


def test_page_says_how_many_and_under_which_conditions(found: Quality) -> None:
    """The number of instances, the policy and every competitor with its gap and its duels are on the page."""
    page = quality_markdown(found)
    assert page.startswith("1 of 3 instances, objective makespan, policy any@1, seed 0, 2 cores, CP-SAT\n")
    assert "| policy pass | 1 of 1 | 0.00 |" in page
    assert "| rule fifo | 0 - 1 - 0 |" in page
    assert "better than every rule on 0 % of instances" in page


def test_plot_is_the_same_for_the_same_figures(found: Quality, tmp_path: Path) -> None:
    """The picture is text that changes only with what it shows."""
    pytest.importorskip("matplotlib")
    write_plot(tmp_path / "one.svg", found)
    write_plot(tmp_path / "two.svg", found)
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert "policy pass" in text
