"""Files that are there as a whole, and stay."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.runtime.durable_file import (
    OWNER_FILE,
    replacing,
    sweep_drafts,
    sweep_temporary_folders,
    temporary_folder,
    write_durably,
)


def test_file_is_replaced_and_no_draft_is_left(tmp_path: Path) -> None:
    """The newest text is there, in a folder that is made, and nothing else."""
    path = tmp_path / "new" / "file.json"
    for text in ("longer than the next", "next"):
        write_durably(path, text)
    assert path.read_text(encoding="utf-8") == "next"
    assert list(path.parent.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The caller hears of it."""
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(OSError, match="taken"):
        write_durably(tmp_path / "taken" / "file.json", "text")


def test_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    """What broke off in the middle changes nothing, and leaves nothing beside it."""
    path = tmp_path / "file.json"
    write_durably(path, "old")

    def break_off() -> None:
        with replacing(path) as file:
            file.write(b"half of")
            (draft,) = (each for each in tmp_path.iterdir() if each != path)
            assert (draft.name.startswith(".file.json."), draft.suffix) == (True, ".draft")
            assert path.read_text(encoding="utf-8") == "old"
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="pulled the plug"):
        break_off()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_medium_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut finds the old file or the new one: the draft is synced under its own name, the folder at the end."""
    path = tmp_path / "file.json"
    write_durably(path, "old")
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size} bytes"
        synced.append((kind, path.read_text(encoding="utf-8")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_durably(path, "new text")
    assert synced == [("8 bytes", "old"), ("folder", "new text")]


def test_disk_that_does_not_keep_the_content_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing takes the name that is not on the medium."""
    path = tmp_path / "file.json"
    write_durably(path, "old")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_durably(path, "new")
    assert (path.read_text(encoding="utf-8"), list(tmp_path.iterdir())) == ("old", [path])


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask, also where a file that was open to others is replaced."""
    path, umask = tmp_path / "file.json", os.umask(0)
    try:
        path.touch()
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        write_durably(path, "for one")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(umask)


def test_writers_at_the_same_moment_do_not_mix(tmp_path: Path) -> None:
    """One of the texts is there as a whole, whoever was last."""
    path = tmp_path / "file.json"
    texts = [f"{number}" * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: write_durably(path, text), texts))
    assert path.read_text(encoding="utf-8") in texts
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_folder_of_the_dead_is_swept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose lock nobody holds goes with all that is in it; that of the living, a stranger's and a link stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, stranger = tmp_path / "gantry-demo-dead", tmp_path / "gantry-demo-plan-kept"
    for folder in (dead, stranger):
        (folder / "data").mkdir(parents=True)
    (dead / OWNER_FILE).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / OWNER_FILE).touch()
    (tmp_path / "gantry-link").symlink_to(elsewhere)
    with temporary_folder("demo") as living:
        (living / "file").touch()
        assert sweep_temporary_folders() == 1
        assert {path.name for path in tmp_path.iterdir()} == {
            living.name, stranger.name, "elsewhere", "gantry-link",
        }  # fmt: skip
        assert (living / "file").exists()
    assert not living.exists()


def test_temporary_folder_of_somebody_else_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares the temporary directory keeps what is theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "gantry-demo-theirs").mkdir()
    (tmp_path / "gantry-demo-theirs" / OWNER_FILE).touch()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert sweep_temporary_folders() == 0
    assert (tmp_path / "gantry-demo-theirs").exists()


def test_old_drafts_are_swept_and_nothing_else(tmp_path: Path) -> None:
    """What a process that died was writing goes; a draft of this moment and whatever is called otherwise stay."""
    name = f".api_keys.json.{'0a' * 16}.draft"
    swept = [tmp_path / name, tmp_path / "spool" / name, tmp_path / "run" / "4711.draft"]
    kept = [tmp_path / f".fresh.{'0b' * 16}.draft", tmp_path / "plan.draft", tmp_path / f"{'0a' * 16}.draft"]
    for path in (*swept, *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half of", encoding="utf-8")
        if "fresh" not in path.name:
            os.utime(path, (0, 0))
    assert sweep_drafts(tmp_path, tmp_path / "spool", tmp_path / "absent") == 3
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
