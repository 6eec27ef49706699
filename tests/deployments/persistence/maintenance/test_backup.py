"""A backup is whole or refused; a restore is equal or says so. On SQLite."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
from pathlib import Path

import pytest

from deployments.persistence.database import create_engine, current_revision, head_revision
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import InvalidBackup, SchemaMismatch
from deployments.persistence.maintenance import archive
from deployments.persistence.maintenance.backup import back_up, restore, row_counts, scratch, verify
from tests.deployments.persistence.payloads import decision, decision_id

ODD = decision(7, plant_id="槟城🏭", request_id="Ünï\\'\"%s\n", request=bytes(range(256)), bucket=0.1 + 0.2)


@pytest.fixture(scope="module")
def url(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database with twelve decisions, one of them odd."""
    path = tmp_path_factory.mktemp("full") / "gantry.sqlite3"
    shutil.copy(migrated_file, path)
    engine = create_engine(f"sqlite:///{path}")
    records = [decision(number) for number in range(1, 13) if number != 7]
    assert not DecisionWriter(engine).write([record.to_bytes() for record in [*records, ODD]]).poisoned
    engine.dispose()
    return f"sqlite:///{path}"


@pytest.fixture
def empty_url(migrated_file: Path, tmp_path: Path) -> str:
    """An empty database to restore into."""
    shutil.copy(migrated_file, tmp_path / "gantry.sqlite3")
    return f"sqlite:///{tmp_path / 'gantry.sqlite3'}"


@pytest.fixture(scope="module")
def backup(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    path = tmp_path_factory.mktemp("backups") / "gantry.backup"
    header, counts = back_up(url, path, lambda: None)
    assert (counts["decision"], header.binary_log) == (12, None)
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
    assert back_up(url, tmp_path / "busy.backup", write_another)[1]["decision"] == before
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


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    """A file with an identity, and its recipient."""
    secret, recipient = archive.new_identity()
    path = tmp_path / "identity.txt"
    path.write_text(f"# public key: {recipient}\n\n{secret}\n")
    return path, recipient


def test_encrypted_backup_is_read_by_any_of_its_recipients(
    url: str, tmp_path: Path, identity: tuple[Path, str]
) -> None:
    """And restores equal; the file has nothing of the plain one, and `age` would know it."""
    other = tmp_path / "other.txt"
    secret, recipient = archive.new_identity()
    other.write_text(secret)
    path = tmp_path / "x.backup.age"
    back_up(url, path, lambda: None, recipients=[identity[1], recipient])
    assert path.read_bytes().startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert b"\x1f\x8b\x08" not in path.read_bytes()[:1_000]
    for file in (identity[0], other):
        assert archive.read_header(path, file).revision == head_revision()
        assert all(comparison.is_equal for comparison in verify(path, lambda: None, identity=file))


def test_encrypted_backup_needs_its_identity(url: str, tmp_path: Path, identity: tuple[Path, str]) -> None:
    """None, another one, or what is none: each refused with what is wrong, and without the words of the file."""
    path, other, none = tmp_path / "x.backup.age", tmp_path / "other.txt", tmp_path / "none.txt"
    back_up(url, path, lambda: None, recipients=[identity[1]])
    other.write_text(archive.new_identity()[0])
    none.write_text("AGE-SECRET-KEY-1MISTYPED\n")
    with pytest.raises(InvalidBackup, match="is encrypted: give the file of its identity by --identity"):
        verify(path, lambda: None)
    with pytest.raises(InvalidBackup, match=r"cannot be decrypted with .*other\.txt: No matching keys found"):
        verify(path, lambda: None, identity=other)
    with pytest.raises(InvalidBackup, match="must have identities") as caught:
        verify(path, lambda: None, identity=none)
    assert "MISTYPED" not in str(caught.value)
    with pytest.raises(InvalidBackup, match="a recipient must be a public key"):
        back_up(url, tmp_path / "y.backup.age", lambda: None, recipients=["age1mistyped"])
    assert not (tmp_path / "y.backup.age").exists()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_torn_or_changed_encrypted_file_is_refused(
    url: str, tmp_path: Path, identity: tuple[Path, str], share: float
) -> None:
    """Whatever is cut off, or changed by one bit, nobody takes the rest for a backup."""
    path, torn = tmp_path / "x.backup.age", tmp_path / "torn.backup.age"
    back_up(url, path, lambda: None, recipients=[identity[1]])
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    torn.write_bytes(content[:place])
    with pytest.raises(InvalidBackup):
        verify(torn, lambda: None, identity=identity[0])
    content[place] ^= 1
    torn.write_bytes(content)
    with pytest.raises(InvalidBackup):
        verify(torn, lambda: None, identity=identity[0])


def test_failed_encrypted_backup_leaves_no_file(url: str, tmp_path: Path, identity: tuple[Path, str]) -> None:
    """Whatever goes wrong on the way, and no thread is left to wait."""

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(url, tmp_path / "x.backup.age", fail, recipients=[identity[1]])
    assert sorted(tmp_path.iterdir()) == [identity[0]]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("age")] == []


def test_scratch_is_empty_again_and_never_was_anything_else(url: str, backup: Path, empty_url: str) -> None:
    """A database with rows is left alone."""
    with scratch(empty_url):
        verify(backup, lambda: None, empty_url)
    assert not Path(empty_url.removeprefix("sqlite:///")).exists()
    before = row_counts(url)
    with pytest.raises(SchemaMismatch, match="must be empty for a restore"), scratch(url):
        pass
    assert row_counts(url) == before


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
