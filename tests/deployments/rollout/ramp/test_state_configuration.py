"""The ramp's numbers: what is refused, and a hash that tells configurations apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.errors import UnknownStage
from deployments.rollout.analysis.triggers import limits_at
from deployments.rollout.ramp.state import RAMP, Stage, StageStep
from tests.deployments.shipped_policy import CONFIGURATION as PLAIN
from tests.deployments.shipped_policy import POLICY


def test_ramp_has_the_shares_of_the_plan() -> None:
    """Shadow serves nothing of the challenger, then ten, fifty and a hundred per cent."""
    assert [PLAIN.step(stage).share for stage in RAMP] == [0.0, 0.1, 0.5, 1.0]


def test_hash_tells_configurations_apart() -> None:
    """Equal numbers give equal hashes; any other number gives another."""
    others = (
        replace(PLAIN, limited=replace(PLAIN.limited, share=0.2)),
        replace(PLAIN, shadow=replace(PLAIN.shadow, min_seconds=1.0)),
        replace(PLAIN, limits=limits_at(completion=0.96, crash_rate=0.01, makespan_increase=0.1)),
    )
    assert POLICY.ramp_configuration.hash == PLAIN.hash
    assert len({PLAIN.hash, *(other.hash for other in others)}) == 4


def test_stored_hashes_stay_what_they_were() -> None:
    """The same numbers have the same hash in every version: no transition at the next start.

    Those of 0.2.0 were others: sums of completion alone, at 6.5, 4.5 standard errors, and a number of pairs. Who comes
    from there gets the transition that says so.
    """
    assert PLAIN.hash == "d12135ce2d177553"


@pytest.mark.parametrize("share", [-0.1, 1.5, 10.0, float("nan")])
def test_share_outside_zero_to_a_hundred_is_refused(share: float) -> None:
    """The message names the limits and what was found, in per cent."""
    with pytest.raises(ValueError, match="share must be between 0 and 100 per cent, was"):
        StageStep(share=share, min_seconds=0.0)


@pytest.mark.parametrize(
    ("stage", "share", "message"),
    [
        ("shadow", 0.1, "shadow must have 0 and full 100 per cent"),
        ("full", 0.9, "shadow must have 0 and full 100 per cent"),
        ("limited", 0.0, "shares must rise"),
        ("limited", 0.6, "were limited 60 and expanded 50"),
        ("expanded", 1.0, "shares must rise"),
    ],
)
def test_shares_must_rise(stage: str, share: float, message: str) -> None:
    """A later stage never serves less than an earlier one."""
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **{stage: replace(getattr(PLAIN, stage), share=share)})


def test_other_nonsense_is_refused() -> None:
    """No negative duration."""
    with pytest.raises(ValueError, match="min_seconds must be >= 0, was -1"):
        StageStep(share=0.1, min_seconds=-1.0)


def test_clients_read_what_is_demanded_under_the_old_names() -> None:
    """No number of pairs any more, and at most two per cent of them lost."""
    document = PLAIN.as_json()
    assert document["shadow"] == {"share": 0.0, "minimum_seconds": 7 * 86_400, "minimum_pairs": 0}
    assert document["most_missing_pairs"] == 0.02


def test_unknown_stage_names_the_known_ones() -> None:
    """A typing mistake is answered with what there is."""
    assert Stage.named("limited") is Stage.LIMITED
    with pytest.raises(UnknownStage, match=r"stage must be one of shadow, limited, .* was 'canary'"):
        Stage.named("canary")
