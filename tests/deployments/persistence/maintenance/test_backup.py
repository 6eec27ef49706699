"""A backup is whole or refused; a restore is equal or says so. On SQLite."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from deployments.persistence.database import create_engine, current_revision, head_revision, upgrade
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import InvalidBackup, SchemaMismatch
from deployments.persistence.maintenance import archive
from deployments.persistence.maintenance.backup import back_up, restore, row_counts, verify
from tests.deployments.persistence.payloads import decision, decision_id

ODD = decision(7, plant_id="槟城🏭", request_id="Ünï\\'\"%s\n", request=bytes(range(256)), bucket=0.1 + 0.2)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest revision, to copy: migrating takes longer than all the rest."""
    path = tmp_path_factory.mktemp("template") / "gantry.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def url(template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database with twelve decisions, one of them odd."""
    path = tmp_path_factory.mktemp("full") / "gantry.sqlite3"
    shutil.copy(template, path)
    engine = create_engine(f"sqlite:///{path}")
    records = [decision(number) for number in range(1, 13) if number != 7]
    assert not DecisionWriter(engine).write([record.to_bytes() for record in [*records, ODD]]).poisoned
    engine.dispose()
    return f"sqlite:///{path}"


@pytest.fixture
def empty_url(template: Path, tmp_path: Path) -> str:
    """An empty database to restore into."""
    shutil.copy(template, tmp_path / "gantry.sqlite3")
    return f"sqlite:///{tmp_path / 'gantry.sqlite3'}"


@pytest.fixture(scope="module")
def backup(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    path = tmp_path_factory.mktemp("backups") / "gantry.backup"
    assert back_up(url, path, lambda: None)["decision"] == 12
    return path


def _lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def test_restored_database_is_equal_and_current(backup: Path, empty_url: str) -> None:
    """Row counts and checksums agree, and every byte of a decision comes back."""
    url, rows = empty_url, []
    comparisons = restore(url, backup, lambda: rows.append(1))
    assert all(comparison.is_equal for comparison in comparisons)
    assert sum(comparison.found_rows for comparison in comparisons) == len(rows) >= 12
    assert current_revision(url) == head_revision()
    engine = create_engine(url)
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(7), "planner") == ODD
    engine.dispose()


def test_backup_verifies_without_a_database(backup: Path) -> None:
    """A throwaway database is enough, and nothing of it is left."""
    assert all(comparison.is_equal for comparison in verify(backup, lambda: None))


def test_backup_is_private_and_never_replaces_another(url: str, backup: Path) -> None:
    """It holds a plant's data."""
    assert os.stat(backup).st_mode & 0o077 == 0
    with pytest.raises(InvalidBackup, match="must not exist yet"):
        back_up(url, backup, lambda: None)


def test_backup_shows_one_instant_while_others_write(url: str, tmp_path: Path) -> None:
    """What is written after it began is not in it, and whoever writes does not wait for it."""
    engine, numbers = create_engine(url, connect_timeout_seconds=1), iter(range(100, 120))

    def write_another() -> None:
        with unit_of_work(engine) as decisions:
            decisions.insert([decision(next(numbers), plant_id=None)])

    before = row_counts(url)["decision"]
    assert back_up(url, tmp_path / "busy.backup", write_another)["decision"] == before
    assert row_counts(url)["decision"] > before
    engine.dispose()


def test_restore_into_a_full_database_is_refused(url: str, backup: Path) -> None:
    """Nothing is mixed or overwritten."""
    before = row_counts(url)
    with pytest.raises(SchemaMismatch, match="must be empty for a restore, had rows in"):
        restore(url, backup, lambda: None)
    assert row_counts(url) == before


def test_backup_of_a_newer_program_is_refused(backup: Path, empty_url: str, tmp_path: Path) -> None:
    """Its revision is not known here."""
    lines = _lines(backup)
    lines[0] = lines[0].replace(f'"revision":"{head_revision()}"'.encode(), b'"revision":"9999"')
    newer = tmp_path / "newer.backup"
    newer.write_bytes(gzip.compress(b"".join(lines)))
    with pytest.raises(SchemaMismatch, match="9999"):
        restore(empty_url, newer, lambda: None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "is not complete"),
        (lambda lines: [line for line in lines if b"erp-3" not in line], "are not those that were backed up"),
        (lambda lines: [line.replace(b"erp-3", b"erp-4") for line in lines], "are not those that were backed up"),
        (lambda lines: [b'{"format":"other"}\n', *lines[1:]], "must begin with the header"),
        (lambda lines: [lines[0], b"[7]\n", *lines[1:]], "has a line that is neither"),
        (lambda lines: [], "must begin with the header"),
    ],
)
def test_damaged_backup_is_refused(backup: Path, empty_url: str, tmp_path: Path, damage: object, message: str) -> None:
    """Cut short, a row gone, a row changed, another format, junk, nothing."""
    path = tmp_path / "damaged.backup"
    path.write_bytes(gzip.compress(b"".join(damage(_lines(backup)))))  # type: ignore[operator]
    with pytest.raises(InvalidBackup, match=message):
        restore(empty_url, path, lambda: None)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_torn_file_is_refused(backup: Path, empty_url: str, tmp_path: Path, share: float) -> None:
    """A copy that broke off."""
    path, data = tmp_path / "torn.backup", backup.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InvalidBackup):
        restore(empty_url, path, lambda: None)


def test_failed_backup_leaves_no_file(tmp_path: Path, url: str) -> None:
    """Neither under its name nor beside it."""

    def fail() -> None:
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        back_up(url, tmp_path / "x.backup", fail)
    assert list(tmp_path.iterdir()) == []


def test_file_that_appears_meanwhile_is_not_replaced(url: str, tmp_path: Path) -> None:
    """Two backups of one name that run at the same time: the first to end has it."""
    path = tmp_path / "x.backup"
    with pytest.raises(InvalidBackup, match="must not exist yet"):
        back_up(url, path, lambda: path.write_text("the other one"))
    assert path.read_text() == "the other one"
    assert list(tmp_path.iterdir()) == [path]


def test_tally_does_not_depend_on_the_order() -> None:
    """Two databases may give their rows in different orders; a changed or missing row still shows."""
    rows = [[1, "a"], [2, None], [3, 0.5]]
    sums = []
    for order in (rows, rows[::-1], rows[:2], [[1, "a"], [2, None], [3, 0.25]]):
        tally = archive.Tally()
        for row in order:
            tally.add(row)
        sums.append(tally.checksum)
    assert sums[0] == sums[1]
    assert len(set(sums)) == 3
