from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from env.simulator.compilation import MAX_UNUSED_SECONDS, cache_folder, source_digest

FIRST_CALL = """
from pathlib import Path
import sys
from env.simulator.calendar_fit import setup_between
import numpy as np
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
setup_between(np.zeros((1, 1, 1), dtype=np.int64), 0, 0, 0, 5)
print(sum(setup_between.stats.cache_hits.values()), sum(setup_between.stats.cache_misses.values()))
"""
COUNTED = """
import numpy as np
from env.simulator import compilation

@compilation.compiled
def inner(numbers):
    return np.median(numbers)

@compilation.compiled
def outer(numbers):
    return inner(numbers) + np.percentile(numbers, 50.0)

def tell(count, total):
    print(count, "of", total)

with compilation.watched_compilation(tell):
    outer(np.ones(3))
    outer(np.ones(3, dtype=np.int64))
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
def test_caches_that_nobody_used_for_a_month_are_removed(tmp_path: Path) -> None:
    """Of other sources alone: the one in use stays, as does a younger one, and whatever is no cache."""
    old, young, other = tmp_path / ("a" * 16), tmp_path / ("b" * 16), tmp_path / "numba"
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "code.nbc").write_bytes(b"x")
        os.utime(folder, (0, 0 if folder is not young else 2 * MAX_UNUSED_SECONDS))
    removing = "from env.simulator.compilation import remove_unused_caches as remove\n"
    removing += f"print(remove(3 * {MAX_UNUSED_SECONDS}))"
    done = subprocess.run(
        [sys.executable, "-c", removing],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    assert {folder.name for folder in tmp_path.iterdir()} == {young.name, other.name, source_digest()}


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


@pytest.mark.system
def test_count_of_compiled_functions_never_passes_the_total(tmp_path: Path) -> None:
    """numba compiles functions of its own and closures along with ours: they are not counted against ours."""
    script = tmp_path / "counted.py"
    script.write_text(COUNTED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["1 of 2", "2 of 2"]
