"""How the compiled core is built and cached, once for training and serving.

numba notices a change in the function that it caches, not in functions of other files that were
compiled into it. So all caches live in one folder named by a hash of every compiled source, which is
looked for when the first function is called: an import leaves no trace.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import event

_ROOT = Path(__file__).resolve().parents[2]
_COMPILED_FLOORS = ("env", "models")
_MARK = b"@compiled"
_DIGEST = re.compile(r"[0-9a-f]{16}")
MAX_UNUSED_SECONDS = 30 * 24 * 3600

Function = TypeVar("Function", bound=Callable[..., Any])


def source_digest() -> str:
    """Hash of all sources that hold compiled functions, and of the compiler's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for floor in _COMPILED_FLOORS:
        for path in sorted((_ROOT / floor).rglob("*.py")):
            source = path.read_bytes()
            if _MARK in source:
                digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled code is kept: below NUMBA_CACHE_DIR, else the user's cache folder, else a temporary one."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (Path(chosen) if chosen else user_cache / "gantry" / "compiled") / source_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="gantry-compiled-"))


def remove_unused_caches(now_seconds: float) -> int:
    """Removes what other versions of the sources compiled and nobody has used for a month; gives how many.

    `now_seconds` is since 1970. A process marks its folder as used when it looks for it, see `cache_folder`.
    """
    used, removed = _folder_of_process(), 0
    for folder in used.parent.iterdir() if used.name == source_digest() else ():
        with suppress(OSError):
            is_old = now_seconds - folder.stat().st_mtime > MAX_UNUSED_SECONDS
            if is_old and folder != used and _DIGEST.fullmatch(folder.name) and folder.is_dir():
                shutil.rmtree(folder)
                removed += 1
    return removed


_folder_of_process = cache(cache_folder)
_dispatchers: list[Any] = []
_ids_of_dispatchers: set[int] = set()
_COMPILING = "numba:compile"


class _CompilationListener(event.Listener):
    """Counts those of our functions that are compiled; what comes from the cache is no event.

    Functions of numba and closures that ours need are compiled along with them, and are part of no total.
    """

    def __init__(self, on_function: Callable[[int, int], None]) -> None:
        self._on_function = on_function
        self._compiled: set[int] = set()

    def on_start(self, event: event.Event) -> None:
        """The compiler begins a function, or one that another needs."""

    def on_end(self, event: event.Event) -> None:
        """A function is compiled, for some types of its arguments."""
        finished = id(event.data["dispatcher"])
        if finished in _ids_of_dispatchers and finished not in self._compiled:
            self._compiled.add(finished)
            self._on_function(len(self._compiled), len(_dispatchers))


@contextmanager
def watched_compilation(on_function: Callable[[int, int], None]) -> Iterator[None]:
    """Meanwhile `on_function` is told after each function how many are compiled, and of how many at most.

    Functions that are fetched from the cache are not counted, and where all of them are nobody is told anything.
    """
    listener = _CompilationListener(on_function)
    event.register(_COMPILING, listener)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        event.unregister(_COMPILING, listener)  # type: ignore[no-untyped-call]


class _UnopenedCache:
    """Opens numba's cache of a function, which makes folders, and gives way to it, once anything is asked of it."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def __getattr__(self, name: str) -> Any:
        numba.config.CACHE_DIR = str(_folder_of_process())  # type: ignore[attr-defined]
        self._dispatcher.enable_caching()
        return getattr(self._dispatcher._cache, name)


def compiled(function: Function, **options: Any) -> Function:
    """Compile on first use, without the interpreter lock, and keep the result for the next process."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    dispatcher._cache = _UnopenedCache(dispatcher)
    _dispatchers.append(dispatcher)
    _ids_of_dispatchers.add(id(dispatcher))
    return cast("Function", dispatcher)


def compiled_lean(function: Function) -> Function:
    """Like `compiled`, but for what hot loops call with tuples of arrays: uncounted, and written into every caller.

    A call would count references on every array of a tuple, and copy what describes each of them; both
    can cost more than the function's own work. Such a function may use the arrays that it is given and
    return numbers; it must neither make arrays, which the compiler refuses, nor return any, since nobody
    would count the new owner.
    """
    return compiled(function, _nrt=False, forceinline=True)  # numba's own names; its types do not list them
