from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.bench.benchmark_sets import NoBestKnown
from deployments.commands.train import NoSuchNetwork, NothingToCount, NothingToEvaluate, TwoNetworks
from models.policy.artefact import PUBLISHED, load_predictor, read_manifest
from tests.deployments.fakes import job, machine

TINY = "2 2\n2 1 0 3 1 1 2\n2 1 1 3 1 0 2\n"


def run(*arguments: str) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluation_compares_policy_and_rules(tmp_path: Path) -> None:
    """The report has the policy and every rule on every file, with gaps to the best known."""
    (tmp_path / "tiny.fjs").write_text(TINY, encoding="utf-8")
    (tmp_path / "best_known.json").write_text('{"tiny": [5, 5]}', encoding="utf-8")
    best_known = str(tmp_path / "best_known.json")
    run("evaluate", str(tmp_path), "--best-known", best_known, "--output", str(tmp_path / "report"))
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {row["scheduler"] for row in rows} >= {"ppo", "mwkr", "planner"}
    assert all(row["valid"] and row["gap_percent"] == 0.0 for row in rows)


def test_evaluation_compares_two_policies_on_the_problems_of_publishing(tmp_path: Path) -> None:
    """A policy against itself wins and loses nothing, and the interval says so; the report has it too."""
    words = ("evaluate", "--against", str(PUBLISHED), "--problems", "2", "--output", str(tmp_path / "report"))
    name = read_manifest(PUBLISHED).model_id
    expected = f"mean gain of ppo over {name}: 0.00 % (0.00 to 0.00 %) on 2 problems, 0 won and 0 lost: not worse"
    assert expected in run(*words)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["comparison"]["decision"] == "not worse"
    assert {row["problem"] for row in report["rows"]} == {"validation-0", "validation-1"}


def test_evaluation_compares_two_policies_on_given_problems(tmp_path: Path) -> None:
    """A folder of problems takes the place of the validation set, and then nothing is to be counted."""
    (tmp_path / "tiny.fjs").write_text(TINY, encoding="utf-8")
    (tmp_path / "wide.fjs").write_text(TINY, encoding="utf-8")
    assert "on 2 problems, 0 won and 0 lost" in run("evaluate", str(tmp_path), "--against", str(PUBLISHED))
    words = ["evaluate", str(tmp_path), "--against", str(PUBLISHED), "--problems", "2"]
    with pytest.raises(NothingToCount, match="else the problems are given"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize("known", [{"tiny": [5, 10]}, {"other": {"tiny": [1, 2]}, "small": {"tiny": [5, 10]}}])
def test_best_known_may_be_grouped_by_set(tmp_path: Path, known: dict[str, object]) -> None:
    """The set is the one of the folder's name."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "tiny.fjs").write_text(TINY, encoding="utf-8")
    (tmp_path / "known.json").write_text(json.dumps(known), encoding="utf-8")
    run("evaluate", str(folder), "--best-known", str(tmp_path / "known.json"), "--output", str(tmp_path / "report"))
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {row["gap_percent"] for row in rows} == {-50.0}


def test_best_known_of_other_problems_is_an_error(tmp_path: Path) -> None:
    """Rather than a table without the gaps that were asked for."""
    (tmp_path / "tiny.fjs").write_text(TINY, encoding="utf-8")
    (tmp_path / "best_known.json").write_text('{"mk01": [40, 40]}', encoding="utf-8")
    words = ["evaluate", str(tmp_path), "--best-known", str(tmp_path / "best_known.json")]
    with pytest.raises(NoBestKnown, match="must have one of the problems tiny, but has mk01"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_each_file_has_its_own_unit_of_time(tmp_path: Path) -> None:
    """Best known makespans are hours for a request, and the file's own units for a public format."""
    (tmp_path / "tiny.fjs").write_text(TINY, encoding="utf-8")
    request = {"jobs": [job(processing_time=2, setup_time=0)], "machines": [machine()], "respect_break_times": False}
    (tmp_path / "plant.json").write_text(json.dumps(request), encoding="utf-8")
    (tmp_path / "best_known.json").write_text('{"tiny": [5, 5], "plant": [2, 2]}', encoding="utf-8")
    best_known = str(tmp_path / "best_known.json")
    run("evaluate", str(tmp_path), "--best-known", best_known, "--output", str(tmp_path / "report"))
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {(row["problem"], row["gap_percent"]) for row in rows} == {("tiny", 0.0), ("plant", 0.0)}


def test_file_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    """The others are evaluated: text without a suffix that names its format, capitals, and JSON."""
    (tmp_path / "plain.txt").write_text(TINY, encoding="utf-8")
    (tmp_path / "SHOUTED.FJS").write_text(TINY, encoding="utf-8")
    (tmp_path / "bad.fjs").write_text("1 1\n1 1 0 x\n", encoding="utf-8")
    (tmp_path / "empty.json").write_text("{}", encoding="utf-8")
    (tmp_path / "notes.md").write_text("no problem", encoding="utf-8")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--output", str(tmp_path / "report")])
    assert result.exit_code == 0, result.output
    left_out = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert left_out[0] == "left out: bad.fjs, line 2: must be a number, was 'x'"
    assert [line.split(":")[1].strip() for line in left_out[1:]] == ["empty.json"]
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {row["problem"] for row in rows} == {"plain", "SHOUTED"}


def test_files_of_one_name_are_both_evaluated(tmp_path: Path) -> None:
    """Their suffixes tell them apart."""
    for name in ("tiny.fjs", "tiny.txt"):
        (tmp_path / name).write_text(TINY, encoding="utf-8")
    run("evaluate", str(tmp_path), "--output", str(tmp_path / "report"))
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {row["problem"] for row in rows} == {"tiny.fjs", "tiny.txt"}


def test_evaluation_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A folder without problems is named."""
    with pytest.raises(NothingToEvaluate, match="must hold request JSON"):
        CliRunner().invoke(app, ["evaluate", str(tmp_path)], catch_exceptions=False)


def test_reproducing_a_network_that_there_is_not_is_an_error() -> None:
    """It says how many the published policy has."""
    pytest.importorskip("sb3_contrib", reason="training needs the extra 'train'")
    with pytest.raises(NoSuchNetwork, match="has networks 1 to 3, was asked for 9"):
        CliRunner().invoke(app, ["train", "--reproduce", "--network", "9"], catch_exceptions=False)


def test_two_specialists_are_two_runs() -> None:
    """A network for makespans alone does not learn due dates."""
    pytest.importorskip("sb3_contrib", reason="training needs the extra 'train'")
    with pytest.raises(TwoNetworks, match="train one after the other"):
        CliRunner().invoke(app, ["train", "--makespan", "--due-dates"], catch_exceptions=False)


@pytest.mark.learning
@pytest.mark.parametrize(
    ("kind", "objectives"),
    [
        ((), {"makespan", "balanced", "tardiness"}),
        (("--makespan",), {"makespan"}),
        (("--due-dates",), {"balanced", "tardiness"}),
        (("--reproduce", "--network", "3"), {"makespan"}),
    ],
    ids=["all", "makespan", "due dates", "again"],
)
def test_training_writes_a_policy(tmp_path: Path, kind: tuple[str, ...], objectives: set[str]) -> None:
    """A few steps of each stage give a policy that loads, verified, as an unpublished version."""
    pytest.importorskip("sb3_contrib", reason="training needs the extra 'train'")
    short = ("--decisions", "0", "--demonstrations", "4", "--updates", "2", "--groups", "2", "--threads", "1")
    output = run("train", "--output", str(tmp_path / "run"), *kind, *short)
    assert "better than the composite rule" in output
    assert load_predictor(tmp_path / "run").model_id == "run@0"
    (training,) = read_manifest(tmp_path / "run").training
    assert set(training["config"]["plant"]["objectives"]) == objectives


@pytest.mark.learning
def test_published_policy_passes_the_gates(tmp_path: Path) -> None:
    """The policy that ships passes every gate again, in a folder of its own as version 1."""
    pytest.importorskip("sb3_contrib", reason="publishing needs the extra 'train'")
    assert "published mine@1" in run("publish", str(PUBLISHED), "--target", str(tmp_path / "mine"))
    assert load_predictor(tmp_path / "mine").model_id == "mine@1"


def test_warming_says_where_the_cache_is() -> None:
    """After warming, the compiled core is in the named folder."""
    assert "compiled core ready after" in run("warm")


def test_every_command_has_an_example() -> None:
    """`--help` of each command shows how it is used."""
    for command in app.registered_commands:
        assert command.callback is not None
        assert "Example: gantry" in (command.callback.__doc__ or ""), command.callback
