"""`python -m tests.system.packaging`: the wheel, built, installed where no checkout is near, and used.

The new environment sees the packages that ours depends on, but neither the checkout nor what is installed of it.
Prints each command with what it said; exit code 1 when one fails or says something else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.serving import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
FLOORS = ("env", "models", "deployments")
_BESIDE_THE_FLOORS = ("pyproject.toml", "MANIFEST.in", "README.md")
PROBLEM = "two_jobs.fjs"
_TWO_JOBS = "2 2\n2 1 0 3 1 1 2\n2 1 1 3 1 0 2\n"
_WHERE = "import env, models, deployments; print(env.__file__, models.__file__, deployments.__file__)"
_SECONDS = 600.0
# Each command with what it must say, in order: the second compiles what those after it run.
COMMANDS = (
    (("--version",), f"gantry {VERSION}"),
    (("warm",), "compiled core ready after"),
    (("solve", PROBLEM), "full_production@"),
    (("db", "upgrade"), "the schema is at"),
    (("db", "import", "--help"), "Example: gantry db import"),
    (("demo",), "judged safe: True"),
)


class PackagingFailed(Exception):
    """A command failed, or did not say what it must; the message is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """What `make wheel` makes."""

    source: Path
    wheel: Path


def built(folder: Path) -> Distributions:
    """A source distribution of a copy of the checkout, and the wheel that is built of nothing else."""
    copy = folder / "copy"
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, copy / floor, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _BESIDE_THE_FLOORS:
        shutil.copy(ROOT / name, copy / name)
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)], folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Distributions(source=source, wheel=wheel)


def files_of_floors() -> dict[str, bytes]:
    """All that there is on the three floors, by its place in the checkout."""
    paths = [path for floor in FLOORS for path in (ROOT / floor).rglob("*") if path.is_file()]
    found = [path for path in paths if "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The wheel in an environment of its own, and a folder to use it in that has nothing but a small problem."""

    programs: Path
    folder: Path

    def gantry(self, *words: str, **variables: str) -> str:
        """What the installed command says. Raises `PackagingFailed`."""
        return _run([str(self.programs / "gantry"), *words], self.folder, variables)

    def floors(self) -> list[Path]:
        """Where its interpreter finds the three floors."""
        return [Path(word) for word in _run([str(self.programs / "python"), "-c", _WHERE], self.folder).split()]


@contextmanager
def installed(wheel: Path) -> Iterator[Installation]:
    """The wheel alone, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="gantry-wheel-", ignore_cleanup_errors=True) as name:
        environment, folder = Path(name) / "environment", Path(name) / "elsewhere"
        folder.mkdir()
        (folder / PROBLEM).write_text(_TWO_JOBS, encoding="utf-8")
        _run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder)
        places = {"base": str(environment), "platbase": str(environment)}
        programs, packages = (Path(sysconfig.get_path(kind, "venv", places)) for kind in ("scripts", "purelib"))
        # Folders named here are searched, but their own .pth files, such as that of the checkout, are not read.
        ours = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
        (packages / "dependencies.pth").write_text("".join(f"{each}\n" for each in ours), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
        _run([*pip, "--no-index", "--no-deps", str(wheel)], folder)
        yield Installation(programs=programs, folder=folder)


def main() -> int:
    """The whole form, printed."""
    with tempfile.TemporaryDirectory(prefix="gantry-build-") as folder:
        try:
            wheel = built(Path(folder)).wheel
            print(f"built {wheel.name}", flush=True)
            with installed(wheel) as installation:
                for words, wanted in COMMANDS:
                    _use(installation, words, wanted)
        except PackagingFailed as failure:
            print(failure)
            return 1
    print("the wheel works where no checkout is near")
    return 0


def _use(installation: Installation, words: tuple[str, ...], wanted: str) -> None:
    print(f"$ gantry {' '.join(words)}", flush=True)
    output = installation.gantry(*words)
    print(output, flush=True)
    if wanted not in output:
        raise PackagingFailed(f"gantry {' '.join(words)} must say {wanted!r}")


def _run(command: list[str], folder: Path, variables: dict[str, str] | None = None) -> str:
    """Its output; in `folder`, with nothing of our own settings and paths."""
    ours = ("GANTRY_", "RAY_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("ENVIRONMENT", None)
    own = {"PYTHONNOUSERSITE": "1", "NUMBA_CACHE_DIR": str(folder / "compiled")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | own | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise PackagingFailed(f"{' '.join(command)} must succeed, ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
