"""What is suspicious, from a request to the verdict: `tests.deployments.serve.anomaly_rates` in short."""

from __future__ import annotations

import pytest

from models.policy.artefact import load_predictor
from models.search.anytime import search
from tests.deployments.serve.anomaly_rates import Spoilt, ordinary_verdicts, spoilt_plans
from tests.deployments.serve.ordinary_requests import KINDS

SPOILT = list(spoilt_plans())


@pytest.mark.parametrize("spoilt", SPOILT, ids=[each.name for each in SPOILT])
def test_spoilt_plan_is_suspicious(spoilt: Spoilt) -> None:
    """Whoever spoils a plan is told in which way; but for what is left out, nobody else would have noticed."""
    assert spoilt.is_flagged(), spoilt.verdict().anomalies
    assert spoilt.verdict().valid == (spoilt.code != "incomplete")


def test_first_request_of_each_kind_is_not_suspicious() -> None:
    """Twice as many ordinary first requests as there are kinds, planned by the policy alone."""
    predictor = load_predictor()
    verdicts = ordinary_verdicts(range(2 * len(KINDS)), lambda problem: search(predictor, problem, 0).schedule)
    found = [(name, verdict.valid, verdict.anomalies) for name, _, verdict in verdicts]
    assert [each for each in found if each[1:] != (True, ())] == []
    assert {name for name, _, _ in found} == set(KINDS)
