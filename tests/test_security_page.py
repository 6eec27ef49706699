"""docs/SECURITY.md: each threat names a test, and each test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "SECURITY.md"
ROOMS = (TESTS / "deployments", TESTS)


def _threats() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split("## Threats")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("threat", _threats(), ids=lambda threat: threat.split("|")[1].strip()[:40])
def test_threat_names_tests_that_exist(threat: str) -> None:
    """The last cell has at least one, in the folders that the page says."""
    named = re.findall(r"`([a-z_/]+\.py)`", threat.split("|")[-2])
    assert named
    assert [name for name in named if not any((room / name).is_file() for room in ROOMS)] == []
