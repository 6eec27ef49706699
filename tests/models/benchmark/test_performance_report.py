from __future__ import annotations

import pytest

from models.benchmark.performance_report import LEARNED_DISPATCHERS, TARGETS, ResultFiles, performance_markdown
from tests.models.benchmark.measured import quality_of, speed_of


def _page(**qualities: float) -> str:
    found = {
        name.replace("_", "-"): quality_of(name.replace("_", "-"), search_gap=gap) for name, gap in qualities.items()
    }
    return performance_markdown(ResultFiles(qualities=found, speed=speed_of()), "Tabu search helped.")


@pytest.mark.parametrize(("gap", "reached"), [(1.99, "yes"), (2.0, "yes"), (2.01, "no")])
def test_target_is_reached_by_the_figure(gap: float, reached: str) -> None:
    """A bound of 2 % holds up to 2 %, for as many instances as were measured."""
    assert f"| brandimarte, search 2 s | gap to best known, % | <= 2 | {gap:.2f} | {reached} | 1 of 10 |" in _page(
        brandimarte=gap
    )


def test_what_was_not_measured_is_not_reached() -> None:
    """A set without a run, and a speed without one, are told apart from targets that were missed."""
    page = performance_markdown(ResultFiles(qualities={}, speed=None), "")
    assert page.count("| not measured |") == len(TARGETS) + 5
    assert "| yes |" not in page


def test_every_target_is_on_the_page() -> None:
    """Quality, shares of plants and speed, each with its bound."""
    page = _page(plants=1.0)
    assert "| plants, search 2 s | instances better than hinted CP-SAT at equal time, % | >= 90 | 100 | yes |" in page
    assert "| plants, policy pass | instances better than every rule, % | >= 95 | 100 | yes |" in page
    assert "| speed | policy pass for 170 jobs, p50 ms on one core | <= 5 | 4.00 | yes |" in page
    assert "| speed | decoder evaluations a second, 170 operations | >= 2,000,000 | 3,000,000 | yes |" in page
    assert "| speed | fitted growth exponent of the policy pass | <= 1.2 | 1.00 | yes |" in page


def test_page_compares_with_what_others_published() -> None:
    """Published methods and ours side by side, in one table, a dash where there is no figure."""
    page = _page(brandimarte=1.5)
    for each in LEARNED_DISPATCHERS:
        assert f"| {each.method} |" in page
    assert "| **Gantry, policy pass** | 4.00 | - | - | - | - |" in page
    assert "| **Gantry, search 2 s** | 1.50 | - | - | - | - |" in page


def test_page_has_the_baseline_every_set_and_the_notes() -> None:
    """The user's own table beside ours, a section a set, pictures, speed, and the prose as it was given."""
    page = _page(reference_170=1.0, taillard=3.0)
    assert "| earlier PPO (the user's table) | 49.2 |\n| rule fifo | 43.20 |\n| policy pass | 41.60 |" in page
    assert page.index("### taillard") < page.index("### reference-170")
    assert "(figures/quality.png)" in page
    assert "| 10,000 | 150 | yes |" in page
    assert "A new process has its first schedule after 1,500 ms." in page
    assert page.endswith("## What was tried and what comes next\n\nTabu search helped.\n")
