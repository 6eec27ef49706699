from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from env.simulator.compilation import cache_folder, source_digest

FIRST_CALL = """
from pathlib import Path
import sys
from env.simulator.calendar_fit import setup_between
import numpy as np
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
setup_between(np.zeros((1, 1, 1), dtype=np.int64), 0, 0, 0, 5)
print(sum(setup_between.stats.cache_hits.values()), sum(setup_between.stats.cache_misses.values()))
"""


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


@pytest.mark.system
def test_cache_is_opened_by_the_first_call_and_kept(tmp_path: Path) -> None:
    """An import makes no folder; what the first process compiles, the next one loads."""

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", FIRST_CALL, str(tmp_path)],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    assert run() == ["[]", "0 1"]
    assert run() == [f"['{source_digest()}']", "1 0"]
