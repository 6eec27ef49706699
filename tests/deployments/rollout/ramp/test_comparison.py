"""The comparison in pairs: strata, counts by stage, and the evidence that reaches the gate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deployments.rollout.analysis.guardrails import Guardrails
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.comparison import MAKESPAN, PairedComparison
from deployments.rollout.ramp.gate import GateVerdict, judge_gate
from deployments.rollout.ramp.state import DAY_SECONDS, Stage
from tests.deployments.rollout.events import evaluation, missing, pair
from tests.deployments.shipped_policy import CONFIGURATION, LIMITS


def fed(count: int, ratio: float = -0.1, **changes: object) -> PairedComparison:
    comparison = PairedComparison(ramp=1)
    noise = np.random.default_rng(0).normal(ratio, 0.1, size=count)
    for minute, value in enumerate(noise):
        comparison.observe(pair(minute, float(value), **changes))
    return comparison


def test_better_challenger_opens_the_gate() -> None:
    """Two hundred pairs at -10 %: the evidence is enough for PROMOTE."""
    evidence = fed(200).evidence(Stage.LIMITED, Guardrails(ramp=1, limits=LIMITS))
    assert evidence.pairs_in_stage == 200
    assert judge_gate(Stage.LIMITED, 30 * DAY_SECONDS, CONFIGURATION, evidence).verdict is GateVerdict.PROMOTE


def test_worse_tardiness_holds() -> None:
    """A shorter makespan at the price of an hour of tardiness is not better."""
    evidence = fed(200, differences=(3600.0, 0.0, 0.0, 0.0, 0.0)).evidence(
        Stage.LIMITED, Guardrails(ramp=1, limits=LIMITS)
    )
    found = judge_gate(Stage.LIMITED, 30 * DAY_SECONDS, CONFIGURATION, evidence)
    assert found.verdict is GateVerdict.HOLD
    assert found.texts[0].startswith("tardiness_seconds against the rule is worse")


def test_sequences_run_through_the_stages_and_counts_do_not() -> None:
    """Pairs of shadow help the interval of limited, not its minimum number of pairs."""
    comparison = fed(60, stage="shadow")
    for minute in range(60, 120):
        comparison.observe(pair(minute, -0.1))
    assert (comparison.pairs(Stage.SHADOW), comparison.pairs(Stage.LIMITED)) == (60, 60)
    found = comparison.interval(Baseline.RULE, MAKESPAN)
    assert found is not None
    assert found.n == comparison.count(Baseline.RULE) == 120
    assert comparison.interval(Baseline.PLANNER, MAKESPAN) is None


def test_replans_and_strangers_are_not_counted() -> None:
    """A replan revises its observation; another ramp and single evaluations leave no trace."""
    comparison = fed(1)
    for event in (pair(0, 0.5), pair(1, 0.5, ramp=2), missing(ramp=2), evaluation(3)):
        comparison.observe(event)
    assert comparison.pairs(Stage.LIMITED) == 1
    assert comparison.missing(Stage.LIMITED) == 0


def test_missing_pairs_are_counted_by_stage() -> None:
    """What the bounded queue dropped is part of the evidence."""
    comparison = fed(9)
    comparison.observe(missing())
    comparison.observe(missing(stage="shadow"))
    assert comparison.evidence(Stage.LIMITED, Guardrails(ramp=1, limits=LIMITS)).missing_share == pytest.approx(0.1)


def test_comparison_survives_json() -> None:
    """A snapshot goes on where it stopped; half of one is refused."""
    comparison = fed(150)
    comparison.observe(missing())
    stored = json.loads(json.dumps(comparison.snapshot()))
    restored = PairedComparison.restored(stored)
    for each in (comparison, restored):
        each.observe(pair(3, 0.5))
    assert restored.snapshot() == comparison.snapshot()
    assert restored.interval(Baseline.RULE, MAKESPAN) == comparison.interval(Baseline.RULE, MAKESPAN)
    for damage in ({}, {"format": 1}, {"format": 1, "ramp": 1, "pairs": 3}):
        with pytest.raises(UnreadableState, match="comparison snapshot"):
            PairedComparison.restored(damage)
