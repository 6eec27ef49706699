"""Nothing happens on import: neither files nor folders, threads, variables, handlers; and whoever does it is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_audit import ROOT

PLANTED = {
    "cache_folder": "import os; os.mkdir(os.path.join(os.path.dirname(__file__), 'made'))",
    "exit": "import atexit; atexit.register(int)",
    "handler": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "library": "import shelve, tempfile; tempfile.TemporaryFile().close()",
    "line": "open(__file__ + '.log', 'a').close()",
    "log": "import logging; logging.basicConfig()",
    "missing": "import sys; sys.modules['no_such_package'] = None",
    "process": "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)",
    "reading": "text = open(__file__).read()",
    "socket": "import socket; socket.socket().close()",
    "thread": "import threading; threading.Thread(target=int).start()",
    "warning": "import warnings; warnings.simplefilter('ignore')",
    "variable": "import os; os.environ['GANTRY_PLANTED'] = '1'",
}
INNOCENT = """
import asyncio, dataclasses, enum, logging, re, typing
import planted.thread
log = logging.getLogger(__name__)
Kind = enum.Enum("Kind", "one other")
@dataclasses.dataclass(frozen=True, slots=True)
class Point(typing.Generic[typing.TypeVar("T")]):
    x: int
def later():
    open("never", "w")
"""


def audited(*arguments: str) -> list[str]:
    """What a fresh process finds; it writes no bytecode, which is Python's own doing."""
    command = [sys.executable, "-B", "-m", "tests.import_audit", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.system
def test_nothing_happens_on_import() -> None:
    """Of all modules one does something: gymnasium has its environments registered by the import of their package."""
    assert audited() == ["env/gym/__init__.py: gymnasium.envs.registration.register"]


@pytest.mark.system
def test_audit_finds_whatever_happens(tmp_path: Path) -> None:
    """A module for each kind of effect is found by its name, and one that does nothing but define is not."""
    room = tmp_path / "planted"
    room.mkdir()
    for name, program in {**PLANTED, "__init__": "", "a_first": INNOCENT}.items():
        (room / f"{name}.py").write_text(f"{program}\n", encoding="utf-8")
    found = audited(str(tmp_path), "planted")
    assert {line.split(".py: ")[0] for line in found} == {f"planted/{name}" for name in PLANTED}
