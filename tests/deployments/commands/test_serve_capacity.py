"""`gantry cluster size`: a rate of plans becomes replicas, nodes and bytes by arithmetic that can be done by hand."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.serve import StageCosts, size_of
from deployments.local_cluster.service import DEFAULT_CONFIG

COSTS = StageCosts(router_ms=10, policy_ms=20, judge_ms=5, writer_ms=1)


def test_stage_is_never_busier_than_its_share() -> None:
    """100 plans/s of 20 ms are two cores of work, which are four replicas when each may be half busy."""
    size = size_of(100, COSTS, cores_per_node=4, busy_share=0.5)
    assert size.replicas == {"RequestRouter": 2, "PPOPolicy": 4, "SafetyValidator": 2, "DBWriter": 1}
    # (10 + 20 + 5 + 1 + 0.3 of HAProxy) ms * 100 / 0.5; two nodes of 4 cores carry it, and one may die.
    assert size.cores == pytest.approx(7.26)
    assert size.nodes == 3
    assert size.database_rows_per_second == 300
    assert size.database_gb_per_day == pytest.approx(100 * 12_969 * 86_400 / 1e9)


def test_one_writer_has_a_limit() -> None:
    """At a millisecond per plan and half of a core it stores 500 plans a second, and says so above."""
    assert size_of(500, COSTS, cores_per_node=4, busy_share=0.5).is_stored
    assert not size_of(501, COSTS, cores_per_node=4, busy_share=0.5).is_stored


def test_small_rate_still_survives_a_node() -> None:
    """Two of each stage, and two nodes, however few plans there are."""
    size = size_of(0.1, COSTS, cores_per_node=64, busy_share=0.7)
    assert (size.nodes, size.replicas["RequestRouter"], size.replicas["DBWriter"]) == (2, 2, 1)


def test_replicas_have_the_names_and_the_least_numbers_of_the_shipped_file() -> None:
    """What the command prints can be written into `serve_config.yaml` as it is."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    shipped = {
        each["name"]: each.get("num_replicas") or each["autoscaling_config"]["min_replicas"]
        for each in application["deployments"]
    }
    least = size_of(0.1, StageCosts(), cores_per_node=16, busy_share=0.7).replicas
    assert least == {name: shipped[name] for name in least}


def test_command_prints_a_row_for_each_rate() -> None:
    """Its exit code is 1 as soon as one of them could not be stored."""
    words = ["cluster", "size", "--plans-per-second", "10", "--plans-per-second", "1000"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "not measured" in result.stdout
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith(("| 10 ", "| 1000 "))]
    assert [row[-1] for row in rows] == ["yes |", "at most 241/s |"]
    documents = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [each["is_stored"] for each in documents] == [True, False]
    assert CliRunner().invoke(app, [*words, "--writer-ms", "0.5"]).exit_code == 0
