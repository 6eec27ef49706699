"""What our own modules do while they are imported: `python -B -m tests.import_audit` imports all, and prints it.

Python's audit hooks tell of files, folders, variables, processes and sockets; what they do not tell of is
watched beside them. What happens while one of our modules imports another package is that package's doing.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import pkgutil
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("env", "models", "deployments")
# What Python itself says while classes, types and functions come to be; everything else counts.
HARMLESS = frozenset(
    {
        *("builtins.id", "code.__new__", "compile", "ctypes.dlsym", "exec", "import"),
        *("object.__getattr__", "object.__setattr__", "sys._getframe"),
    }
)
WATCHED: tuple[tuple[object, str], ...] = (
    (atexit, "register"),
    (logging, "basicConfig"),
    (logging.Logger, "addHandler"),
    (logging.Logger, "setLevel"),
    (random, "seed"),
    (signal, "signal"),
    (threading.Thread, "start"),
    (warnings, "filterwarnings"),
    (warnings, "simplefilter"),
)
# Alembic runs it with a connection, and a room that can be run ends where its import would go on.
NEVER_IMPORTED = ("migrations.env", ".__main__")


class ImportAudit:
    """Notes what the modules below some folders do, as `module.py: what`."""

    def __init__(self, root: Path, floors: tuple[str, ...]) -> None:
        self.root, self.floors = root, floors
        self.found: dict[str, None] = {}
        sys.addaudithook(self._on_event)

    def watch(self, owner: object, name: str) -> None:
        """Note calls of a function that no audit hook hears of."""
        watched: Callable[..., Any] = getattr(owner, name)

        def noting(*arguments: Any, **named: Any) -> Any:
            # Libraries silence warnings while they make a class of ours, and put everything back.
            if owner is not warnings or self._is_ours(sys._getframe(1).f_code.co_filename):
                self._note(f"{getattr(owner, '__name__', owner)}.{name}")
            return watched(*arguments, **named)

        setattr(owner, name, noting)

    def run(self) -> list[str]:
        """Import everything; what was found."""
        for floor in self.floors:
            package = importlib.import_module(floor)
            for module in pkgutil.walk_packages(package.__path__, f"{floor}."):
                if not module.name.endswith(NEVER_IMPORTED):
                    self._import(module.name)
        return list(self.found)

    def _import(self, name: str) -> None:
        emptied = {module for module, content in sys.modules.items() if content is None}
        importlib.import_module(name)
        if emptied < {module for module, content in sys.modules.items() if content is None}:
            self.found[f"{name.replace('.', '/')}.py: sys.modules"] = None

    def _is_ours(self, file: str) -> bool:
        path = Path(file)
        return path.is_relative_to(self.root) and path.relative_to(self.root).parts[0] in self.floors

    def _on_event(self, event: str, _: tuple[Any, ...]) -> None:
        if event not in HARMLESS:
            self._note(event)

    def _note(self, what: str) -> None:
        """Charge it to the innermost module of ours that is being imported, unless that imports somebody else's."""
        frame = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if self._is_ours(code.co_filename):
                self.found[f"{Path(code.co_filename).relative_to(self.root)}: {what}"] = None
                return
            if code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib"):
                return
            frame = frame.f_back


def main(root: str = str(ROOT), *floors: str) -> None:
    """Print what happens; other folders than ours can be named for a test of the audit itself."""
    from gymnasium.envs import registration

    sys.path.insert(0, root)
    audit = ImportAudit(Path(root), floors or FLOORS)
    for owner, name in (*WATCHED, (registration, "register")):
        audit.watch(owner, name)
    print("\n".join(audit.run()))


if __name__ == "__main__":
    main(*sys.argv[1:])
