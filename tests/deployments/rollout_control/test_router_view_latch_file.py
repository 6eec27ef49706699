"""A rollback on disk: there after a restart, and never mistaken for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployments.rollout.ramp.latch import Latch
from deployments.rollout_control.router_view import NAME, LatchFile, of_ramp, unknown_latch
from tests.deployments.rollout_control.events import NOW

LATCH = Latch(ramp=2, version=7, at=NOW, router="r1", actor="night shift", reason="late trucks")


def test_latch_comes_back_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The newest one is read, by whichever router asks, and no draft is left beside it."""
    file = LatchFile(tmp_path / "spool")
    assert file.read(NOW, "r2") is None
    file.write(LATCH)
    file.write(replace(LATCH, version=8))
    assert file.read(NOW, "r2") == replace(LATCH, version=8)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [NAME]


def test_damaged_latch_is_a_latch(tmp_path: Path) -> None:
    """Whatever cannot be read means rolled back, whichever ramp is going on."""
    file = LatchFile(tmp_path)
    for text in ("", "{", "[]", '{"ramp": 1}'):
        (tmp_path / NAME).write_text(text)
        found = file.read(NOW, "r2")
        assert found is not None
        assert (found.ramp, found.actor) == (0, "guardrail")
        assert of_ramp(found, 5, 9).ramp == 5


def test_latch_is_cleared_by_a_later_ramp_alone(tmp_path: Path) -> None:
    """Another router's latch of the new ramp is not swept away with the old one."""
    file = LatchFile(tmp_path)
    file.write(LATCH)
    file.clear(below_ramp=2)
    assert file.read(NOW, "r1") == LATCH
    file.clear(below_ramp=3)
    file.clear(below_ramp=3)
    assert file.read(NOW, "r1") is None


def test_latch_of_an_unknown_ramp_takes_the_first_it_hears_of() -> None:
    """A router that knew nothing rolls back whatever there turns out to be; a known ramp stays."""
    unknown = unknown_latch(now=NOW, router="r1", actor="night shift", reason="late trucks")
    assert (of_ramp(unknown, 4, 11).ramp, of_ramp(unknown, 4, 11).version) == (4, 11)
    assert of_ramp(LATCH, 4, 11) is LATCH
