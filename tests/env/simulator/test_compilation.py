from __future__ import annotations

from pathlib import Path

import pytest

from env.simulator.compilation import cache_folder, source_digest


def test_cache_folder_is_named_by_the_compiled_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another version of the sources gets another folder, so that no stale code is ever loaded."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path / source_digest()


def test_unusable_cache_folder_does_not_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be kept, code is compiled into a temporary folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    found = cache_folder()
    assert found.is_dir()
    assert found.name.startswith("gantry-compiled-")
    found.rmdir()
