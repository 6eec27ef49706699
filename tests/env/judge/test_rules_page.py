"""The docs page of the judge."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from env.judge.anomalies import AnomalyLimits
from env.judge.verdict import AnomalyCode, ViolationCode
from tests.env.judge.rules_page import LIMIT_OF, page

CHECKED_IN = Path(__file__).parents[3] / "docs" / "WHAT_THE_JUDGE_CHECKS.md"


def test_page_is_current() -> None:
    """docs/WHAT_THE_JUDGE_CHECKS.md is what the codes say; if not: python -m tests.env.judge.rules_page > that file."""
    assert CHECKED_IN.read_text(encoding="utf-8") == page()


def test_page_names_every_code_once() -> None:
    """Each code has one line of one of the tables."""
    lines = page().splitlines()
    assert all(sum(line.startswith(f"| `{code}` |") for line in lines) == 1 for code in (*ViolationCode, *AnomalyCode))


def test_every_anomaly_has_its_limit() -> None:
    """No threshold is left without an anomaly, and no anomaly without a threshold."""
    assert list(LIMIT_OF) == list(AnomalyCode)
    assert sorted(LIMIT_OF.values()) == sorted(field.name for field in fields(AnomalyLimits))
