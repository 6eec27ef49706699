from __future__ import annotations

from pathlib import Path

import pytest

from deployments.runtime.metrics import METRICS, PLANS, BoundedLabels, MetricKind, NoMeter, reference

PAGE = Path(__file__).parents[3] / "docs" / "METRICS.md"


def test_page_holds_every_metric() -> None:
    """The table of the page is the one that the code prints."""
    assert reference() in PAGE.read_text(encoding="utf-8")


def test_metrics_keep_to_the_conventions_of_prometheus() -> None:
    """Names are unique and ours, base units, a sentence each; histograms have rising bounds above 0."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("gantry_")
        assert not metric.name.endswith("_total"), "the exporter adds that"
        assert metric.text.endswith(".")
        assert (metric.kind is MetricKind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert all(bucket > 0 for bucket in metric.buckets)


def test_series_of_a_metric_are_bounded() -> None:
    """What comes beyond the bound is told together, and what was known before stays as it is."""
    bounded = BoundedLabels(max_series=2)
    known = {"arm": "ppo", "by": "ppo", "fallback": "none"}
    assert bounded.of(PLANS, known) == known
    assert bounded.of(PLANS, known | {"by": "manual"}) == known | {"by": "manual"}
    assert bounded.of(PLANS, known | {"by": "x"}) == {"arm": "other", "by": "other", "fallback": "other"}
    assert bounded.of(PLANS, known) == known


def test_labels_must_be_those_of_the_metric() -> None:
    """A label that is missing would be a series of its own without anybody noticing."""
    with pytest.raises(ValueError, match="gantry_plans must have the labels"):
        BoundedLabels().of(PLANS, {"arm": "ppo"})


def test_nobody_has_to_listen() -> None:
    """Whoever has no meter pays nothing."""
    meter = NoMeter()
    meter.count(PLANS, arm="ppo", by="ppo", fallback="none")
    meter.set(PLANS, 1.0)
    meter.observe(PLANS, 1.0)
