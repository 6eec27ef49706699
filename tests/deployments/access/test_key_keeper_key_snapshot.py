"""The key ring on local disk."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.access import Client, Scope, StoredKey
from deployments.access.key_keeper import KnownKeys, UnusableSnapshot, load_snapshot, save_snapshot
from deployments.access.key_ring import new_key

NOW = datetime(2025, 7, 22, tzinfo=UTC)
KEY = new_key()
KNOWN = KnownKeys(
    keys=(
        StoredKey(
            digest=KEY.digest,
            client=Client(
                name="erp",
                scopes=frozenset({Scope.READ, Scope.SCHEDULE}),
                plants=frozenset({"penang"}),
                key_id=KEY.key_id,
                key_name="erp night run",
            ),
            expires_at=NOW,
        ),
        StoredKey(digest=bytes(32), client=Client(name="all", scopes=frozenset({Scope.ADMIN}))),
    ),
    had_admin=True,
    read_at=NOW,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A snapshot in a folder that does not exist yet."""
    path = tmp_path / "data" / "api_keys.json"
    save_snapshot(path, KNOWN)
    return path


def test_snapshot_comes_back_as_it_was_saved(path: Path) -> None:
    """Keys, their clients and the moment survive."""
    assert load_snapshot(path) == KNOWN


def test_snapshot_is_for_its_owner_only(path: Path) -> None:
    """Mode 0600, also when it takes the place of a file that was open to others, and no other file is left."""
    path.chmod(0o644)
    save_snapshot(path, KNOWN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["api_keys.json"]


def test_snapshot_holds_no_key(path: Path) -> None:
    """The digest is there, the key is not."""
    text = path.read_text()
    assert KEY.digest.hex() in text
    assert KEY.text not in text
    assert KEY.text.split("_")[2] not in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o700])
def test_snapshot_that_others_can_reach_is_not_believed(path: Path, mode: int) -> None:
    """Whoever may write to it could let himself in."""
    path.chmod(mode)
    with pytest.raises(UnusableSnapshot, match=f"must be ours with mode 0600, was of user {os.geteuid()} with mode"):
        load_snapshot(path)


def test_absent_snapshot_is_one_clear_line(tmp_path: Path) -> None:
    """A first start has none."""
    with pytest.raises(UnusableSnapshot, match="must be readable: No such file"):
        load_snapshot(tmp_path / "api_keys.json")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"read_at": "2025-07-22T00:00:00"},
        {"read_at": None},
        {"keys": [{}]},
        {"keys": [{"digest": "xyz"}]},
        {"keys": 7},
    ],
)
def test_snapshot_of_another_form_is_refused(path: Path, change: dict[str, object]) -> None:
    """Whatever is wrong inside, the answer is the same kind of error."""
    document = json.loads(path.read_text()) | change
    path.write_text(json.dumps(document))
    with pytest.raises(UnusableSnapshot, match="must be one that a router wrote"):
        load_snapshot(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "{}"])
def test_snapshot_that_is_no_snapshot_is_refused(path: Path, text: str) -> None:
    """A torn or foreign file is no key ring."""
    path.write_text(text)
    with pytest.raises(UnusableSnapshot, match="must be one that a router wrote"):
        load_snapshot(path)
