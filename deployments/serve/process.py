"""What every replica does first, and the memory that it gives back once it is warm."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployments.settings.service import Settings

_SMAPS = Path("/proc/self/smaps")
_BEGIN_OF_MAPPING = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
_DONT_NEED = 4
_UNUSED = ("pandas",)
_LEAVE_NOTHING_FREE = 0


def configure_process() -> Settings:
    """The settings of this process, with its log lines as they want them. Raises `InvalidSettings`."""
    # Imported here, because a process of low priority steps back before it imports anything of weight.
    from deployments.logs import configure_logging
    from deployments.settings.service import load_settings

    # Whoever starts the replicas tells once for all of them which names are old.
    settings = load_settings(warns=False)
    configure_logging(settings.log_level.upper(), settings.secrets)
    return settings


def router_count() -> int:
    """How many replicas share the work of the one that asks, as Serve knows it; one outside of Serve."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return serve.get_replica_context().world_size or 1
    except RayServeException:
        return 1


def release_start_up_memory() -> None:
    """Drop what was only needed to become ready: some 80 MB, most of it code of LLVM and of imported libraries.

    The pages are clean copies of files, so the kernel reads back those that are needed after all. What is
    free in the heaps goes back as well; neither happens but on Linux. What is left lives as long as the
    process, so the garbage collector need not look through it again in the middle of a request.
    """
    gc.collect()
    gc.freeze()
    if not _SMAPS.exists():
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(ctypes.c_size_t(_LEAVE_NOTHING_FREE))
    for first, last in _clean_mappings(_SMAPS.read_text(encoding="utf-8", errors="replace")):
        library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONT_NEED)


def leave_out_unused() -> None:
    """Make a serving process do without packages that Ray would import into it for nothing.

    Ray Serve imports pandas wherever it finds it, 30 MB and half a second a process.
    """
    for package in _UNUSED:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]


def _clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """First and last address (exclusive) of each mapping that can be read back from its file.

    Nobody may write to it, and nobody has: the loader relocates data before it protects them.
    """
    for mapping in filter(None, _BEGIN_OF_MAPPING.split(smaps)):
        header, *amounts = mapping.splitlines()
        addresses, permissions, _, _, _, *path = header.split(maxsplit=5)
        is_a_file = bool(path) and path[0].startswith("/")
        own_kilobytes = sum(int(line.split()[1]) for line in amounts if line.startswith(("Anonymous:", "Swap:")))
        if is_a_file and permissions.startswith("r-") and own_kilobytes == 0:
            first, last = (int(address, 16) for address in addresses.split("-"))
            yield first, last
