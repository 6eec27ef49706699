"""`gantry rollout simulate`: figures for people and programs, and an exit code that means something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.rollout.simulate import ImpossibleScenario


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rollout", "simulate", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def test_own_world_is_simulated_alone() -> None:
    """Given figures are one scenario without a promise."""
    code, printed = invoke("--rollouts", "5", "--completion-percent", "70", "--requests", "500", "--json")
    document = json.loads(printed)
    assert code == 0
    assert [scenario["scenario"] for scenario in document["scenarios"]] == ["as given"]
    assert document["scenarios"][0]["alarm_share"] == 1.0
    assert 1 <= document["scenarios"][0]["wait_median"] <= 100
    assert document["missed"] == []


def test_time_to_promote_is_told() -> None:
    """A shorter makespan climbs as soon as its windows show it: ten per cent in some 20, 29 and 43 days."""
    code, printed = invoke("--rollouts", "3", "--makespan-percent", "-10", "--requests", "3000", "--json")
    assert code == 0
    days = json.loads(printed)["scenarios"][0]["days_to_promote"]
    medians = {stage: found["median"] for stage, found in days.items()}
    assert medians == {
        name: pytest.approx(day, abs=3) for name, day in (("limited", 20), ("expanded", 29), ("full", 43))
    }


def test_table_is_for_people() -> None:
    """Without --json there is a table and a closing line."""
    code, printed = invoke("--rollouts", "2", "--crash-percent", "5", "--requests", "500", "--seed", "7")
    assert code == 0
    assert "median until seen" in printed
    assert "2 rollouts of each scenario, seed 7" in printed
    assert "0 promises, none made" in printed


def test_short_form_tells_what_was_specified_and_found() -> None:
    """Windows and list groups alone, in seconds: every figure beside the specification's, and each of them kept."""
    code, printed = invoke("--short", "--rollouts", "40", "--json")
    document = json.loads(printed)
    assert (code, document["missed"], document["scenarios"]) == (0, [], [])
    figures = {f"{row['table']}: {row['name']}": row for row in document["figures"]}
    found = figures["Windows until E reaches 100: sd 0.05, 1 a window: -20%, median"]
    assert (found["specified"], found["found"], found["kept"]) == (10, 10, True)
    code, printed = invoke("--short", "--rollouts", "5")
    assert "Whole policy" in printed
    assert "40 rollouts" not in printed


def test_missed_promise_is_a_failure() -> None:
    """A single rollout is no sample: some promise is missed, the command says which and exits with 1."""
    for seed in range(5):
        code, printed = invoke("--rollouts", "1", "--json", "--seed", str(seed))
        document = json.loads(printed)
        assert code == (1 if document["missed"] else 0)
        missed = [row["scenario"] for row in document["scenarios"] if row["kept"] is False]
        missed += [f"{row['table']}: {row['name']}" for row in document["figures"] if row["kept"] is False]
        assert document["missed"] == missed
        if missed:
            return
    pytest.fail("no seed missed a promise with one rollout each")


def test_impossible_world_is_refused() -> None:
    """The message says what a completion may be."""
    result = CliRunner().invoke(app, ["rollout", "simulate", "--completion-percent", "950"])
    assert isinstance(result.exception, ImpossibleScenario)
    assert str(result.exception) == "completion must be between 0 and 100 per cent, was 950"


def test_help_has_an_example() -> None:
    """Both ways to call it are shown."""
    printed = CliRunner().invoke(app, ["rollout", "simulate", "--help"]).output
    assert "gantry rollout simulate --seed 1 --rollouts 1000" in printed


def test_checkpoint_goes_on_and_markdown_tells_the_same(tmp_path: Path) -> None:
    """What was kept is not computed again, another simulation's is refused, and the tables are those of the page."""
    file = tmp_path / "figures.json"
    words = ("--windows", "--rollouts", "40", "--checkpoint", str(file))
    code, first = invoke(*words, "--markdown")
    assert code == 0
    kept = json.loads(file.read_text())
    kept["found"][0][0]["found"] = 12.0
    file.write_text(json.dumps(kept | {"found": kept["found"][:-1]}))
    again = invoke(*words, "--markdown")[1]
    rows, rows_again = ([row for row in told.splitlines() if row.startswith("| ")] for told in (first, again))
    assert [b.split(" | ")[2] for a, b in zip(rows, rows_again, strict=True) if a != b] == ["12"]
    assert len(json.loads(file.read_text())["found"]) == len(kept["found"])
    with pytest.raises(ImpossibleScenario, match="has seed 1 and 40 rollouts: name another file"):
        CliRunner().invoke(app, ["rollout", "simulate", *words, "--seed", "2"], catch_exceptions=False)
    page = (Path(__file__).parents[4] / "docs" / "OPERATING_CHARACTERISTICS.md").read_text()
    figures = page.split("<!-- figures -->")[1].splitlines()
    on_page = [row.split(" | ")[:2] for row in figures if row.startswith("| ")]
    assert [row.split(" | ")[:2] for row in rows] == on_page
    assert "MISSED" not in page
