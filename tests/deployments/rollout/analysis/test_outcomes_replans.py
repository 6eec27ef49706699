"""Replans: one observation for one job list, revised in place, within bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rollout.analysis.outcomes import Replans


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1, 1)), min_size=1, max_size=40))
def test_replans_are_the_mean_of_their_group(stream: list[tuple[str, float]]) -> None:
    """After any stream, the last revision of each group is the mean of all that it was fed."""
    replans, last = Replans(), {}
    for group, value in stream:
        last[group] = replans.feed(group, (value,))
    assert replans.observations == len(last)
    for group, revision in last.items():
        values = [value for other, value in stream if other == group]
        assert revision.after[0] == pytest.approx(sum(values) / len(values), abs=1e-12)
        assert (revision.before is None) == (len(values) == 1)
    assert sorted(revision.ordinal for revision in last.values()) == list(range(len(last)))


def test_replans_are_bounded() -> None:
    """The list that was replanned least recently is forgotten; its next replan is a new observation."""
    replans = Replans(max_open=2)
    for group in ("a", "b", "a", "c"):
        replans.feed(group, (0.0,))
    assert replans.feed("a", (0.0,)).before is not None
    assert replans.feed("b", (0.0,)).before is None


def test_replans_survive_json() -> None:
    """A snapshot goes on where it stopped."""
    replans = Replans()
    for group, value in (("a", 1.0), ("b", 2.0), ("a", 2.0)):
        replans.feed(group, (value, -value))
    restored = Replans.restored(json.loads(json.dumps(replans.snapshot())))
    assert restored.feed("a", (3.0, -3.0)) == replans.feed("a", (3.0, -3.0))
    assert restored.feed("c", (3.0, -3.0)) == replans.feed("c", (3.0, -3.0))
