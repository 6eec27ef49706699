"""Job lists that replicas died of: tried twice, refused for ten minutes, and known to every router of the node."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deployments.serve.policy import REFUSED_SECONDS, SUSPECTED_SECONDS, SuspectFiles

LIST, OTHER = "a" * 64, "b" * 64


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    """Begins now."""
    return Watch()


def test_second_death_refuses_for_ten_minutes_on_all_routers(tmp_path: Path, watch: Watch) -> None:
    """What one router has learned another one knows at once; afterwards the list is as good as any."""
    one, other = (SuspectFiles(tmp_path / "s", watch) for _ in range(2))
    assert one.suspect(LIST)
    one.refuse(LIST)
    assert (one.is_refused(LIST), other.is_withheld(LIST), other.is_withheld(OTHER)) == (True, True, False)
    watch.now += REFUSED_SECONDS - 1
    assert other.is_refused(LIST)
    watch.now += 2
    assert not other.is_withheld(LIST)
    assert other.suspect(OTHER)
    assert [path.name for path in (tmp_path / "s").iterdir()] == [f"{OTHER}.suspect"]


def test_only_one_may_try_again(tmp_path: Path, watch: Watch) -> None:
    """Two that lost their replica with the same list: the second one does not risk another, and refuses nothing."""
    suspects = SuspectFiles(tmp_path / "s", watch)
    assert (suspects.suspect(LIST), suspects.suspect(LIST)) == (True, False)
    assert (suspects.is_withheld(LIST), suspects.is_refused(LIST)) == (True, False)
    suspects.acquit(LIST)
    assert not suspects.is_withheld(LIST)


def test_trial_without_an_end_is_remembered(tmp_path: Path, watch: Watch) -> None:
    """Whoever tried again was cut off: others may send the list soon, but the next death is the second one."""
    suspects = SuspectFiles(tmp_path / "s", watch)
    assert suspects.suspect(LIST)
    watch.now += SUSPECTED_SECONDS + 1
    assert not suspects.is_withheld(LIST)
    assert not suspects.suspect(LIST)
    assert suspects.is_refused(LIST)


def test_disk_that_takes_nothing_refuses_nothing(tmp_path: Path, watch: Watch) -> None:
    """Without a memory lists are served as if nothing had happened."""
    (tmp_path / "file").write_bytes(b"")
    suspects = SuspectFiles(tmp_path / "file" / "s", watch)
    assert suspects.suspect(LIST)
    suspects.refuse(LIST)
    suspects.acquit(LIST)
    assert not suspects.is_withheld(LIST)
