"""Gives back memory that a warm replica no longer needs."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_DONT_NEED = 4
_COMPILER = "libllvmlite"


def release_compiler() -> None:
    """Drop the resident pages of LLVM's code, some 50 MB that nothing touches once the core is compiled.

    They are clean copies of a file, so the kernel reads back those that are needed after all. Does
    nothing but on Linux.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    for line in _MAPS.read_text(encoding="utf-8").splitlines():
        addresses, permissions, *_, path = line.split(maxsplit=5)
        # Only code: its pages are never written, while those of relocated data would be lost.
        if permissions == "r-xp" and _COMPILER in path:
            first, last = (int(address, 16) for address in addresses.split("-"))
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONT_NEED)


def leave_out_pandas() -> None:
    """Ray Serve imports pandas wherever it finds it, 30 MB and half a second a process, for nothing that we use."""
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]
