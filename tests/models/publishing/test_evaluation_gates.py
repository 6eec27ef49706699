from __future__ import annotations

import numpy as np
import pytest

from models.publishing.evaluation import GATES, NOT_WORSE_MARGIN, ComparisonOutcome, PublishingGate, compared, missed

GOOD = {"agreement": 0.0, "valid": 0.0, "size": 1.2, "pass time": 1.3, "rule": 0.8}


def test_good_figures_pass_every_gate() -> None:
    """The figures of a sound policy name every gate, and none is missed."""
    assert set(GOOD) == {gate.name for gate in GATES}
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("agreement", 1.0, "gate 'agreement': decisions that differ from Stable-Baselines3's must be <= 0, was 1"),
        ("valid", 2.0, "gate 'valid': validation schedules that the judge refuses must be <= 0, was 2"),
        ("size", 9.5, "gate 'size': megabytes of model and weights must be <= 8, was 9.5"),
        ("pass time", 11.0, "gate 'pass time': median time of a policy pass in times of the composite rule"),
        ("rule", -0.1, "gate 'rule': mean gain over the composite rule in per cent of its objective must be >= 0"),
        ("rule", float("nan"), "gate 'rule'"),
    ],
)
def test_missed_gate_is_named(name: str, value: float, message: str) -> None:
    """One figure out of bounds is one message with bound and value; what is no number passes nothing."""
    (found,) = missed(GOOD | {name: value})
    assert found.startswith(message)


def test_figure_that_is_absent_misses_its_gate() -> None:
    """A gate whose figure nobody measured is missed."""
    assert len(missed({})) == len(GATES)


def test_gate_has_one_bound() -> None:
    """A gate without a bound, or with two, does not exist."""
    with pytest.raises(ValueError, match="must have one bound"):
        PublishingGate(name="none", quantity="anything")


def _compare(mean: float, spread: float, count: int = 96) -> ComparisonOutcome:
    """A candidate whose paired differences have exactly that mean and spread."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=count)
    noise = (noise - noise.mean()) / noise.std()
    published = rng.normal(0.0, 0.2, size=count)
    return compared("old@1", published + mean + spread * noise, published).decision


@pytest.mark.parametrize(
    ("mean", "spread", "decision"),
    [
        (0.0, 0.0, ComparisonOutcome.NOT_WORSE),
        (0.01, 0.03, ComparisonOutcome.NOT_WORSE),
        (-0.01, 0.03, ComparisonOutcome.WORSE),
        (-0.0001, 0.06, ComparisonOutcome.UNDECIDED),
        (0.001, 0.06, ComparisonOutcome.UNDECIDED),
        (-NOT_WORSE_MARGIN / 4, 0.001, ComparisonOutcome.WORSE),
    ],
)
def test_noise_neither_blocks_nor_passes(mean: float, spread: float, decision: ComparisonOutcome) -> None:
    """Clear differences decide, however small; what the spread of the problems can explain decides nothing."""
    assert _compare(mean, spread) is decision


def test_more_problems_decide_what_few_leave_open() -> None:
    """The same difference is open on 96 problems and clear on eight times as many."""
    assert _compare(-0.006, 0.06) is ComparisonOutcome.UNDECIDED
    assert _compare(-0.006, 0.06, count=768) is ComparisonOutcome.WORSE
    assert _compare(0.004, 0.06) is ComparisonOutcome.UNDECIDED
    assert _compare(0.004, 0.06, count=768) is ComparisonOutcome.NOT_WORSE


def test_comparison_counts_wins_and_losses() -> None:
    """Problem by problem, ties in neither."""
    found = compared("old@1", np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.2, 0.4]))
    assert (found.problems, found.wins, found.losses, found.mean) == (3, 1, 1, pytest.approx(0.0))
    assert "on 3 problems, 1 won and 1 lost: undecided" in (found.miss() or "")
