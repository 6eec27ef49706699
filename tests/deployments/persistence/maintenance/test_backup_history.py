"""Which backups stay, what is known of them, and the start that asks for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from deployments.persistence.decisions.audit_repository import audit_work
from deployments.persistence.decisions.records import AuditEvent
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import BackupMissing
from deployments.persistence.maintenance.backup_history import (
    BACKED_UP,
    DRILLED,
    FIRST_START,
    PROVEN,
    VERIFIED,
    BackupProof,
    age_in_words,
    backups_in,
    kept,
    name_of,
    newest_proof,
    proven_names,
    record,
    require_backup,
)
from tests.deployments.persistence.payloads import decision, decision_id

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
instants = st.lists(
    st.integers(min_value=0, max_value=400 * 24).map(lambda hours: NOW - timedelta(hours=hours)), unique=True
)


def _files(times: list[datetime]) -> list[Path]:
    return [Path(name_of(at, is_encrypted=False)) for at in sorted(times, reverse=True)]


def _event(number: int, at: datetime, action: str = "x") -> AuditEvent:
    return AuditEvent(
        event_id=decision_id(number),
        occurred_at=at,
        actor="cli:backup",
        client=None,
        key_id=None,
        action=action,
        target="",
        status=None,
        request_id=None,
        detail=None,
    )


def _proof(made: datetime) -> BackupProof:
    name = name_of(made, is_encrypted=True)
    return BackupProof(file=name, created_at=made, rows=9, decisions=3, at=made, restore_seconds=1.5)


def test_last_of_each_day_and_week_stays() -> None:
    """Two days and three weeks of backups every twelve hours, by what a calendar says."""
    times = [NOW - timedelta(hours=12 * number) for number in range(60)]
    stay = kept(_files(times), daily=2, weekly=3, proven=())
    assert sorted(path.name for path in stay) == [
        "gantry-20260222T120000Z.backup",
        "gantry-20260301T120000Z.backup",
        "gantry-20260303T120000Z.backup",
        "gantry-20260304T120000Z.backup",
    ]


@given(times=instants, daily=st.integers(0, 40), weekly=st.integers(0, 40), data=st.data())
def test_newest_and_newest_proven_always_stay(
    times: list[datetime], daily: int, weekly: int, data: st.DataObject
) -> None:
    """Whatever is kept; no more stays than was asked for and these two, and what is kept is kept again."""
    files = _files(times)
    proven = {path.name for path in data.draw(st.sets(st.sampled_from(files)))} if files else set()
    stay = kept(files, daily=daily, weekly=weekly, proven=proven)
    good = [path for path in files if path.name in proven]
    assert {*files[:1], *good[:1]} <= stay <= set(files)
    assert len(stay) <= daily + weekly + 2
    left = [path for path in files if path in stay]
    assert kept(left, daily=daily, weekly=weekly, proven=proven) == stay


def test_only_backups_by_their_name_are_looked_at(tmp_path: Path) -> None:
    """Newest first; not what somebody else put there, nor a link, nor a name that is no time."""
    names = [name_of(NOW - timedelta(days=day), is_encrypted=day == 1) for day in range(3)]
    for name in (*names, "gantry.backup", "gantry-20261399T000000Z.backup", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "gantry-20270101T000000Z.backup").symlink_to(tmp_path / "notes.txt")
    assert [path.name for path in backups_in(tmp_path)] == names


def test_history_is_in_the_audit_trail(engine: Engine) -> None:
    """The newest proven backup is so by when it was made, not proven; what cannot be read is passed over."""
    assert newest_proof(engine, PROVEN) is None
    old, new = _proof(NOW - timedelta(days=2)), _proof(NOW - timedelta(hours=3))
    record(engine, _event(1, NOW - timedelta(hours=2), VERIFIED), new)
    record(engine, _event(2, NOW - timedelta(hours=1), DRILLED), old)
    record(engine, _event(3, NOW, BACKED_UP), _proof(NOW))
    with audit_work(engine) as trail:
        trail.insert([_event(4, NOW, DRILLED)])
    found = newest_proof(engine, PROVEN)
    assert found is not None
    assert (found.file, found.created_at, found.restore_seconds) == (new.file, new.created_at, 1.5)
    assert proven_names(engine) == {old.file, new.file}
    assert newest_proof(engine, {DRILLED}) == BackupProof(
        file=old.file, created_at=old.created_at, rows=9, decisions=3, at=NOW - timedelta(hours=1), restore_seconds=1.5
    )


def _decide(engine: Engine) -> None:
    assert not DecisionWriter(engine).write([decision(1).to_bytes()]).poisoned


def test_first_start_on_decisions_needs_a_proven_backup(engine: Engine) -> None:
    """None, one that nobody has verified, or one that is too old: refused with what to do; then it starts for good."""
    _decide(engine)
    with pytest.raises(BackupMissing, match=r"there was none: run `gantry db backup --verify`"):
        require_backup(engine, _event(1, NOW), is_asked=False)
    record(engine, _event(2, NOW, BACKED_UP), _proof(NOW))
    with pytest.raises(BackupMissing, match="there was none"):
        require_backup(engine, _event(3, NOW), is_asked=False)
    record(engine, _event(4, NOW, VERIFIED), _proof(NOW - timedelta(hours=25)))
    with pytest.raises(BackupMissing, match=r"was gantry-20260303T110000Z\.backup\.age, 25 h 00 min old"):
        require_backup(engine, _event(5, NOW), is_asked=False)
    record(engine, _event(6, NOW, DRILLED), _proof(NOW - timedelta(hours=23)))
    require_backup(engine, _event(7, NOW), is_asked=False)
    require_backup(engine, _event(8, NOW + timedelta(days=9)), is_asked=False)
    with audit_work(engine) as trail:
        assert [each.event_id for each in trail.newest_of({FIRST_START}, 9)] == [decision_id(7)]


def test_start_that_is_asked_to_needs_one_again(engine: Engine) -> None:
    """A start on an empty database is the first one, and no later one is; for a switch-over one may be asked for."""
    require_backup(engine, _event(1, NOW), is_asked=False)
    _decide(engine)
    require_backup(engine, _event(2, NOW), is_asked=False)
    with pytest.raises(BackupMissing, match="a start with --first or GANTRY_FIRST_START needs a verified backup"):
        require_backup(engine, _event(3, NOW), is_asked=True)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-5), "0 h 00 min"),
        (timedelta(hours=5, minutes=3, seconds=59), "5 h 03 min"),
        (timedelta(hours=47, minutes=59), "47 h 59 min"),
        (timedelta(days=3, hours=4), "3 days 4 h"),
    ],
)
def test_age_is_told_in_words(age: timedelta, words: str) -> None:
    """Minutes where they matter."""
    assert age_in_words(age) == words
