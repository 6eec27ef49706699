"""serve_config.yaml: understood by Ray to the last key, and in step with the application that it configures."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.commands.serve import DEFAULT_GRACE_SECONDS
from deployments.local_cluster.cluster import _MIN_LOGICAL_CPUS
from deployments.local_cluster.service import DEFAULT_CONFIG, GRACE_SECONDS
from deployments.scheduling.arms import ANSWER_SECONDS, ANSWER_SECONDS_PER_OPERATION
from deployments.scheduling.time_budget import MAX_WAITED_SECONDS, BudgetLimit
from deployments.serve.environment import shared_variables
from deployments.settings.serve_config import InvalidServeConfig, read_serve_config
from deployments.settings.service import load_settings

OPERATIONS = 1_000
"""Of a large plant."""
DEPLOYMENTS = {"RequestRouter", "PPOPolicy", "SafetyValidator", "DBWriter", "Counterfactual", "RolloutController"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "serve.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_config_holds_only_what_ray_reads() -> None:
    """No key of ours is one that Ray would silently overlook."""
    config = read_serve_config(DEFAULT_CONFIG)
    (application,) = config.applications
    assert application.import_path == "deployments.app:build_app"
    assert {deployment.name for deployment in application.deployments} == DEPLOYMENTS


def test_shipped_config_bounds_every_queue() -> None:
    """Ray's default of an unlimited queue is overridden everywhere, and so is its limit of five requests at a time."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    for deployment in application["deployments"]:
        assert deployment["max_queued_requests"] > 0, deployment["name"]
        assert deployment["max_ongoing_requests"] > 0, deployment["name"]
        assert 0 < deployment["ray_actor_options"]["num_cpus"] < 1, deployment["name"]


def test_shipped_config_scales_the_policy_on_ongoing_requests() -> None:
    """PPOPolicy grows within seconds: the defaults would take up to a minute."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    (policy,) = (entry for entry in application["deployments"] if entry["name"] == "PPOPolicy")
    scaling = policy["autoscaling_config"]
    assert scaling["max_replicas"] > scaling["min_replicas"] >= 1
    assert scaling["target_ongoing_requests"] <= policy["max_ongoing_requests"]
    assert scaling["upscale_delay_s"] <= 1
    assert scaling["look_back_period_s"] <= 4


def test_shipped_config_has_two_of_whatever_an_answer_needs() -> None:
    """One that dies has a second beside it, and at its largest all fits the logical CPUs of the smallest box."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    replicas = {
        entry["name"]: entry.get("num_replicas") or entry["autoscaling_config"]["min_replicas"]
        for entry in application["deployments"]
    }
    assert {name for name, count in replicas.items() if count >= 2} == {"RequestRouter", "PPOPolicy", "SafetyValidator"}
    most = sum(
        entry["ray_actor_options"]["num_cpus"]
        * (entry.get("num_replicas") or entry["autoscaling_config"]["max_replicas"])
        for entry in application["deployments"]
    )
    assert most <= _MIN_LOGICAL_CPUS / 2


def test_every_hard_stop_is_longer_than_the_longest_budget() -> None:
    """Whatever ends a replica, a request or a proxy gives an answer the time that it may take."""
    written = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    (application,) = written["applications"]
    stops = {entry["name"]: entry["graceful_shutdown_timeout_s"] for entry in application["deployments"]}
    longest = MAX_WAITED_SECONDS + ANSWER_SECONDS + ANSWER_SECONDS_PER_OPERATION * OPERATIONS
    assert stops["RequestRouter"] > stops["PPOPolicy"] > longest
    assert stops["SafetyValidator"] > longest
    settings = load_settings(_env_file=None)
    request_seconds = settings.request_timeout_seconds
    assert longest < request_seconds < written["http_options"]["request_timeout_s"]
    variables = shared_variables()
    for name in ("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"):
        assert float(variables[name]) > written["http_options"]["request_timeout_s"]
    assert min(GRACE_SECONDS, DEFAULT_GRACE_SECONDS) > longest
    assert BudgetLimit.of(settings.max_budget_seconds, request_seconds).milliseconds == 1000 * MAX_WAITED_SECONDS


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("htp_options: {port: 8000}\napplications: []", "htp_options"),
        ("http_options: {prt: 8000}\napplications: []", "http_options.prt"),
        (
            "applications: [{name: a, import_path: 'b:c', deployments: [{name: D, max_ongoing: 2}]}]",
            "applications[0].deployments[0].max_ongoing",
        ),
        (
            "applications: [{name: a, import_path: 'b:c', deployments: [{name: D, ray_actor_options: {cpus: 1}}]}]",
            "applications[0].deployments[0].ray_actor_options.cpus",
        ),
        (
            "applications: [{name: a, import_path: 'b:c', deployments: [{name: D, autoscaling_config: {most: 1}}]}]",
            "D.autoscaling_config.most",
        ),
    ],
)
def test_config_with_an_overlooked_key_is_refused(tmp_path: Path, text: str, key: str) -> None:
    """A key that Ray does not know is named, at whatever depth."""
    path = written(tmp_path, text)
    with pytest.raises(InvalidServeConfig) as refused:
        read_serve_config(path)
    assert str(refused.value) == f"{path} must hold only keys that Ray Serve reads, had {key}"


@pytest.mark.parametrize("text", ["applications: [", "just words", "applications: 3", "http_options: {port: many}"])
def test_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """Broken YAML and wrong types are one typed error, as is a missing file."""
    with pytest.raises(InvalidServeConfig, match="must be a Serve configuration"):
        read_serve_config(written(tmp_path, text))
    with pytest.raises(InvalidServeConfig, match="must be a Serve configuration"):
        read_serve_config(tmp_path / "missing.yaml")
