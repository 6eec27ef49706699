"""The alert rules: understood by promtool, fired by what they are for and by nothing else, each with its section."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.runtime.metrics import METRICS, MetricKind
from tests.requirements import not_run

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deployments" / "ops" / "prometheus" / "gantry.rules.yml"
PAGE = ROOT / "docs" / "METRICS.md"
_PLANS = 'ray_gantry_http_requests_total{method="POST", route="/schedule", status="%s"}'
_SLOW = 'ray_gantry_http_request_seconds_bucket{route="/schedule", le="%s"}'
HEALTHY = {
    'up{job="gantry"}': "1x720",
    _PLANS % 200: "0+600x720",
    _PLANS % 503: "0x720",
    _SLOW % "2.0": "0+600x720",
    _SLOW % "+Inf": "0+600x720",
    'ray_gantry_ready{replica="a"}': "1x720",
    'ray_gantry_health{status="degraded"}': "0x720",
    'ray_gantry_plans_total{arm="ppo", by="ppo"}': "0+600x720",
    'ray_gantry_plans_total{arm="ppo", by="manual"}': "0+1x720",
    "ray_gantry_requests_shed_total": "0x720",
    'ray_gantry_rollout_stage{stage="rolled_back"}': "0x720",
    'ray_gantry_rollout_stage{stage="unknown"}': "0x720",
    "ray_gantry_spool_oldest_seconds": "1x720",
    "ray_gantry_spool_bytes": "10x720",
    "ray_gantry_spool_capacity_bytes": "100x720",
    "ray_gantry_write_failures_in_a_row": "0x720",
    "ray_gantry_spool_dead_letters": "0x720",
    'ray_gantry_notices_total{target="webhook", outcome="delivered"}': "0+1x720",
    'ray_gantry_notices_total{target="webhook", outcome="given up"}': "_x720",
    "ray_gantry_keys_age_seconds": "10x720",
    'ray_gantry_keys_expiring{within="7d"}': "0x720",
    'ray_gantry_uptime_seconds{deployment="PPOPolicy", replica="a"}': "0+60x720",
}
# What is otherwise when the alert fires. Twelve hours, a value a minute.
FAULTS: dict[str, dict[str, str]] = {
    "GantryErrorBudgetBurnsFast": {_PLANS % 503: "0+10x720"},
    "GantryErrorBudgetBurns": {_PLANS % 503: "0+5x720"},
    "GantryErrors": {_PLANS % 503: "0+7x720"},
    "GantrySlow": {_SLOW % "2.0": "0+500x720", _SLOW % "5.0": "0+600x720"},
    "GantryDown": {'up{job="gantry"}': "1x700 0x20"},
    "GantryNotReady": {'ray_gantry_ready{replica="a"}': "0x720"},
    "GantryDegraded": {'ray_gantry_health{status="degraded"}': "1x720"},
    "GantryManualServes": {'ray_gantry_plans_total{arm="ppo", by="manual"}': "0+60x720"},
    "GantrySheds": {"ray_gantry_requests_shed_total": "0+1x720"},
    "GantryRolledBack": {'ray_gantry_rollout_stage{stage="rolled_back"}': "1x720"},
    "GantryStageUnknown": {'ray_gantry_rollout_stage{stage="unknown"}': "1x720"},
    "GantrySpoolOld": {"ray_gantry_spool_oldest_seconds": "61x720"},
    "GantrySpoolFills": {"ray_gantry_spool_bytes": "51x720"},
    "GantryDatabaseRefuses": {"ray_gantry_write_failures_in_a_row": "3x720"},
    "GantryDeadLetters": {"ray_gantry_spool_dead_letters": "1x720"},
    "GantryNobodyTold": {'ray_gantry_notices_total{target="webhook", outcome="given up"}': "_x700 1x20"},
    "GantryKeysOld": {"ray_gantry_keys_age_seconds": "3601x720"},
    "GantryKeyExpires": {'ray_gantry_keys_expiring{within="7d"}': "1x720"},
    "GantryRestartLoop": {
        f'ray_gantry_uptime_seconds{{deployment="PPOPolicy", replica="{replica}"}}': "10x720" for replica in "bcde"
    },
}


def rules() -> list[dict[str, Any]]:
    """The rules of the file, recordings as well."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def told_names() -> set[str]:
    """The names by which Prometheus knows our metrics."""
    suffixes = {
        MetricKind.COUNTER: ("_total",),
        MetricKind.GAUGE: ("",),
        MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    }
    return {f"ray_{metric.name}{suffix}" for metric in METRICS for suffix in suffixes[metric.kind]}


def promtool_command() -> str:
    """The tool; without it the calling test does not run."""
    return shutil.which("promtool") or not_run("prometheus", "promtool is not installed")


def test_every_alert_has_a_fault_and_a_section() -> None:
    """Whoever is woken finds what to do, and a test that the alert comes."""
    sections = set(re.findall(r"^### (Gantry\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(alerts()) == set(FAULTS) == sections
    assert {rule["labels"]["severity"] for rule in alerts().values()} == {"page", "ticket"}


def test_rules_ask_for_metrics_that_exist() -> None:
    """A name that nobody tells would never alert anybody."""
    for rule in rules():
        assert set(re.findall(r"\bray_\w+", rule["expr"])) <= told_names(), rule


@pytest.mark.system
def test_each_alert_is_fired_by_its_fault_and_none_without(tmp_path: Path) -> None:
    """By promtool's own clock: twelve hours of a healthy service, and of one with each fault."""
    fired_by = {name: {name} for name in alerts()}
    # Ten failures in a minute of 610 are more than all three of these allow.
    fired_by["GantryErrorBudgetBurnsFast"] |= {"GantryErrorBudgetBurns", "GantryErrors"}
    fired_by["GantryErrors"] |= {"GantryErrorBudgetBurns"}
    tests = [_case(HEALTHY, set())]
    tests += [_case(HEALTHY | fault, fired_by[name]) for name, fault in FAULTS.items()]
    document = tmp_path / "rules.test.yml"
    document.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}), encoding="utf-8")
    done = subprocess.run(
        [promtool_command(), "test", "rules", str(document)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _case(series: dict[str, str], fired: set[str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": "12h",
                "alertname": name,
                "exp_alerts": [_expected(name, rule)] if name in fired else [],
            }
            for name, rule in alerts().items()
        ],
    }


def _expected(name: str, rule: dict[str, Any]) -> dict[str, Any]:
    labels = {"GantryDown": {"job": "gantry"}, "GantryRestartLoop": {"deployment": "PPOPolicy"}}
    return {"exp_labels": rule["labels"] | labels.get(name, {}), "exp_annotations": rule["annotations"]}
