"""What every replica does first, the memory that it gives back once it is warm, and how a router hears of the end."""

from __future__ import annotations

import ctypes
import gc
import getpass
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.runtime.background import BackgroundTask
from deployments.runtime.clock import utc_now
from deployments.runtime.durable_file import DRAFT_SUFFIX, OWNER_ONLY, owner_only

if TYPE_CHECKING:
    from deployments.settings.service import Settings

_SMAPS = Path("/proc/self/smaps")
_BEGIN_OF_MAPPING = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
_DONT_NEED = 4
_UNUSED = ("pandas",)
_LEAVE_NOTHING_FREE = 0
_log = logging.getLogger(__name__)
_REPORT_SUFFIX = ".router"
_LOOK_SECONDS = 0.1
YOUNG_OBJECTS = 10_000
"""So many objects that may be in cycles are made before the garbage collector looks for such; Python's own number, 700,
has it look many times in each request."""
MESSAGE_VARIABLE = "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"
MAX_MESSAGE_BYTES = 2**31 - 1
"""The most that gRPC can be told to take. What may come in at all is bounded where it comes in."""
_RAYS_MESSAGE_BYTES = 4 * 2**20
# Of a message beside the body that it carries: the answer, and what holds them together.
_MESSAGE_OVERHEAD_BYTES = 16 * 2**20


class DrainNotice:
    """Files by which whoever ends the service tells its routers so, and they tell what they still have in flight.

    Files, because they reach every router whatever becomes of Ray, and last as long as nobody takes them away.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notice = folder / "draining"
        self._end_of_grace = folder / "grace-over"

    @property
    def is_given(self) -> bool:
        """Whether newcomers are to be refused."""
        return self._notice.exists()

    def withdraw(self) -> None:
        """As if nobody had ever been told, nor told anything. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in (self._notice, self._end_of_grace, *self._folder.glob(f"*{_REPORT_SUFFIX}")):
            path.unlink(missing_ok=True)

    def give(self) -> None:
        """From now on newcomers are to be refused. Raises `OSError`."""
        self._notice.touch(OWNER_ONLY)

    def end_grace(self) -> None:
        """From now on what is under way is to be called off. Raises `OSError`."""
        self._end_of_grace.touch(OWNER_ONLY)

    @property
    def is_grace_over(self) -> bool:
        """Whether what is under way is to be called off."""
        return self._end_of_grace.exists()

    def in_flight(self, living: Collection[int]) -> int | None:
        """Requests under way in the routers among the processes `living`; None while one has not heard the notice."""
        counts = []
        for path in self._folder.glob(f"*{_REPORT_SUFFIX}"):
            with suppress(OSError, ValueError):
                if int(path.name.removesuffix(_REPORT_SUFFIX)) in living:
                    counts.append(json.loads(path.read_text(encoding="ascii")))
        return None if None in counts else sum(counts)

    def report(self, pid: int, in_flight: int | None) -> None:
        """What the router `pid` has under way; None: it still takes newcomers. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{pid}{_REPORT_SUFFIX}"
        draft = path.with_suffix(DRAFT_SUFFIX)
        with open(draft, "w", encoding="ascii", opener=owner_only) as file:
            json.dump(in_flight, file)
        draft.replace(path)

    def sign_out(self, pid: int) -> None:
        """The router `pid` has nothing under way any more, and takes nothing. Raises `OSError`."""
        (self._folder / f"{pid}{_REPORT_SUFFIX}").unlink(missing_ok=True)


class NewcomersGate:
    """One router's part: counts the requests under way, and refuses newcomers once the notice is given.

    `start` and `stop` on its event loop.
    """

    def __init__(self, notice: DrainNotice, pid: int | None = None) -> None:
        self._notice = notice
        self._pid = os.getpid() if pid is None else pid
        self._inside: dict[object, Callable[[], None]] = {}
        self._reported: int | None = None
        self._task = BackgroundTask("drain notice", self._round, period_seconds=_LOOK_SECONDS)
        self._is_grace_over = False
        self.refuses = False

    def start(self) -> None:
        """A router that starts while the service ends refuses from the beginning.

        One that cannot tell anybody serves all the same: then it is not waited for at the end.
        """
        try:
            self.look()
            self._notice.report(self._pid, self._reported)
        except OSError as error:
            _log.warning("whoever ends the service will not hear what is under way here: %s", error)
        self._task.start()

    async def stop(self) -> None:
        """Whoever comes now is refused."""
        self.refuses = True
        await self._task.stop()
        with suppress(OSError):
            self._notice.sign_out(self._pid)

    def look(self) -> None:
        """Hear the notice, and tell what is under way when that is news. Raises `OSError`."""
        self.refuses = self.refuses or self._notice.is_given
        if self._inside and not self._is_grace_over and self.refuses and self._notice.is_grace_over:
            self._is_grace_over = True
            for call_off in tuple(self._inside.values()):
                call_off()
        if self.refuses and self._reported != len(self._inside):
            self._notice.report(self._pid, len(self._inside))
            self._reported = len(self._inside)

    async def _round(self) -> None:
        self.look()

    @contextmanager
    def passing(self, on_grace_over: Callable[[], None]) -> Iterator[None]:
        """Around one request that was let in; `on_grace_over` is called when it is there longer than anybody waits."""
        request = object()
        self._inside[request] = on_grace_over
        try:
            yield
        finally:
            del self._inside[request]


def configure_process() -> Settings:
    """The settings of this process, with its log lines as they want them. Raises `InvalidSettings`."""
    # Imported here, because a process of low priority steps back before it imports anything of weight.
    from deployments.logs import configure_logging
    from deployments.settings.service import load_settings

    # Whoever starts the replicas tells once for all of them which names are old.
    settings = load_settings(warns=False)
    configure_logging(settings.log_level.upper(), settings.secrets)
    return settings


def require_message_room(settings: Settings) -> None:
    """Raises `InvalidSettings` where a body that may come in is larger than what may go from replica to replica.

    Ray reads its bound from the environment, while it is imported, and only counts where replicas speak gRPC.
    """
    from deployments.errors import InvalidSettings

    if os.environ.get("RAY_SERVE_USE_GRPC_BY_DEFAULT", os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")) != "1":
        return
    found = int(os.environ.get(MESSAGE_VARIABLE, _RAYS_MESSAGE_BYTES))
    # A decision travels in the letters of base64, four for three bytes.
    wanted = settings.max_body_bytes * 4 // 3 + _MESSAGE_OVERHEAD_BYTES
    if found < wanted:
        message = f"must be at least {wanted} for GANTRY_MAX_BODY_BYTES {settings.max_body_bytes}, was {found}"
        raise InvalidSettings(((MESSAGE_VARIABLE, message),))


def require_proven_backup(settings: Settings) -> None:
    """In production, and wherever GANTRY_FIRST_START says so, the first start on a database with decisions needs one.

    Raises `BackupMissing` or `DatabaseError`.
    """
    if settings.environment != "production" and not settings.first_start:
        return
    # Imported here, because only one process of a service asks.
    from deployments.persistence.database import create_engine
    from deployments.persistence.decisions.records import AuditEvent
    from deployments.persistence.maintenance.backup_history import FIRST_START, require_backup

    place = f"{platform.node()}:{settings.data_folder.absolute()}"
    event = AuditEvent.of_machine(f"service:{getpass.getuser()}", utc_now(), FIRST_START, place)
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        require_backup(engine, event, is_asked=settings.first_start)
    finally:
        engine.dispose()


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
    process, so the garbage collector need not look through it again in the middle of a request; nor, again and again,
    through the thousands of objects that a request makes, for hardly any of them is in a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
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
