"""Child processes of this one: recorded for a later start with their folders, ended, what they say, their ports."""

from __future__ import annotations

import ctypes
import functools
import ipaddress
import logging
import logging.handlers
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import psutil

from deployments.logs import LINE_BEGINNING
from deployments.runtime.durable_file import owner_only, write_durably
from deployments.runtime.worker_process import started_module
from deployments.serve.environment import MAX_LOG_BYTES

_POLL_SECONDS = 0.05
# While replicas start a new process appears every few moments; later hardly ever.
_LOOK_SECONDS = 1.0
_KILL_SECONDS = 10.0
_HEADER = "gantry-processes 1"
_LINE = re.compile(r"(?P<pid>\d+) (?P<started>\d+)")
_SESSION = re.compile(r"session_[\d_-]+_\d+")
_PROXY_OF_NODE = re.compile(r"[0-9a-f]{56}")
_PROXY_PARENT = "haproxy-serve"
_MAX_KEPT_SESSIONS = 1
_PIPE_BYTES = 2**16
_PR_SET_CHILD_SUBREAPER = 36
_ON = 1
_SCALER = "autoscaler"
LOG_FILES = 2
OWN_LOG = "gantry.log"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, told from all others that ever had its id since the machine was started.

    `started` is when, in ticks since then: unlike a time of day it does not move with the clock.
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this id now; None when there is none."""
        try:
            return cls(pid, _started(pid))
        except (OSError, psutil.Error):
            return None

    def living(self) -> psutil.Process | None:
        """The process, while it is this one that lives."""
        try:
            process = psutil.Process(self.pid)
            return process if _started(self.pid) == self.started and is_alive(process) else None
        except (OSError, psutil.Error):
            return None


def _started(pid: int) -> int:
    """Raises `OSError` or `psutil.Error` when there is no such process."""
    if not sys.platform.startswith("linux"):
        return round(1000 * psutil.Process(pid).create_time())
    fields_behind_the_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    return int(fields_behind_the_name.split()[19])


class ProcessRecord:
    """The file that names every process of one run, for the start after a run that could not clean up.

    A header with the id of the machine's own start, then one line a process: its id, and when it was started.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._noted: set[ProcessIdentity] = set()

    def begin(self) -> None:
        """Names nobody yet. On the medium when this returns. Raises `OSError`."""
        self._noted = set()
        write_durably(self.path, f"{_HEADER} {_boot_id()}\n")

    def note(self, pids: Iterable[int]) -> None:
        """Adds those that are not there yet. On the medium when this returns. Raises `OSError`."""
        found = {each for each in map(ProcessIdentity.of, pids) if each is not None} - self._noted
        if not found:
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, "".join(f"{each.pid} {each.started}\n" for each in found).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._noted |= found

    @property
    def noted(self) -> frozenset[ProcessIdentity]:
        """All that were noted here in this run."""
        return frozenset(self._noted)

    @contextmanager
    def following(self, parent: int) -> Iterator[None]:
        """Notes whatever descends from `parent`, from a thread, as it appears."""
        is_over = threading.Event()

        def follow() -> None:
            while True:
                try:
                    self.note(process.pid for process in descendants(parent))
                except OSError as error:
                    # The service goes on: what is not noted can still be ended by hand.
                    _LOGGER.warning("processes cannot be noted in %s: %s", self.path, error)
                if is_over.wait(_LOOK_SECONDS):
                    return

        thread = threading.Thread(target=follow, name="process record", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def end_leftovers(self) -> int:
        """Kills what lives of the run that wrote the file, and what descends from that. Returns how many.

        Only who has both the id and the time of a line is touched. Raises `OSError`.
        """
        known = [process for each in self._read() if (process := each.living()) is not None]
        families = {process: None for each in known for process in (each, *descendants(each.pid))}
        leftovers = tuple(process for process in families if process.pid != os.getpid())
        for process in leftovers:
            with suppress(psutil.Error):
                process.kill()
        end(leftovers, _KILL_SECONDS)
        return len(leftovers)

    def _read(self) -> list[ProcessIdentity]:
        try:
            header, *lines = self.path.read_text(encoding="ascii", errors="replace").splitlines()
        except (FileNotFoundError, ValueError):
            return []
        if header != f"{_HEADER} {_boot_id()}":
            # Of another version, or from before the machine was started anew.
            return []
        # The last line may have been cut off.
        found = [match for line in lines if (match := _LINE.fullmatch(line)) is not None]
        return [ProcessIdentity(int(match["pid"]), int(match["started"])) for match in found]


class SessionRecord:
    """The file that names the folders of Ray and of its proxy in the temporary directory, run after run.

    One path a line. The session of the last run is kept, because its logs tell why it ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, session: Path, node_id: str) -> None:
        """Those of the run that has just begun. On the medium when this returns. Raises `OSError`."""
        write_durably(self.path, "".join(f"{each}\n" for each in (*self._read(), session, _proxy_folder(node_id))))

    def note_present(self) -> None:
        """Those of the Ray that this process has just started. A disk that takes no note stops nobody."""
        import ray
        from ray._private.worker import global_worker

        assert global_worker.node is not None, "it has just started one"
        session = Path(global_worker.node.get_session_dir_path())
        try:
            self.note(session, ray.get_runtime_context().get_node_id())
        except OSError as error:
            _LOGGER.warning("the folders of this run cannot be noted: %s", error)

    def sweep(self) -> int:
        """Removes what was noted, but for the newest session; nothing else. Returns how many. Raises `OSError`."""
        found = [path for path in self._read() if _is_swept(path)]
        sessions = [path for path in found if _SESSION.fullmatch(path.name)]
        kept = sessions[-_MAX_KEPT_SESSIONS:]
        for path in found:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)
        if self.path.exists():
            write_durably(self.path, "".join(f"{path}\n" for path in kept))
        return len(found) - len(kept)

    def _read(self) -> list[Path]:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [Path(line) for line in lines if line]


def _proxy_folder(node_id: str) -> Path:
    from ray.serve._private.constants import RAY_SERVE_HAPROXY_SERVER_STATE_BASE

    return Path(RAY_SERVE_HAPROXY_SERVER_STATE_BASE) / node_id


def _is_swept(path: Path) -> bool:
    """Whether it still is a folder of this user with a name that only Ray gives, and no way to somewhere else."""
    is_proxy = path.parent.name == _PROXY_PARENT and _PROXY_OF_NODE.fullmatch(path.name)
    if not path.is_absolute() or not (is_proxy or _SESSION.fullmatch(path.name)):
        return False
    return path.is_dir() and not path.is_symlink() and path.lstat().st_uid == os.getuid()


class CoreCompiler:
    """A process that fills the cache of compiled code, so that the compiler does not stay in the memory of this one."""

    def __init__(self) -> None:
        self._lines, theirs = os.pipe()
        os.set_blocking(self._lines, False)
        try:
            self._process = started_module("models.search.warm_up", str(theirs), pass_fds=(theirs,))
        finally:
            os.close(theirs)
        self._compiled = ""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it works; 0 when everything is in the cache."""
        return self._process.poll()

    def progress(self) -> str:
        """How many functions are compiled, in words; empty while none is, and where the cache has them."""
        with suppress(BlockingIOError):
            while part := os.read(self._lines, _PIPE_BYTES):
                # Each line is written at once, so none comes in two parts.
                count, total = part.decode("ascii").split("\n")[-2].split()
                self._compiled = f"{count} functions of at most {total}"
        return self._compiled

    def close(self) -> None:
        """Ends it, whatever it has come to."""
        self._process.kill()
        self._process.wait()
        os.close(self._lines)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def tell_supervisor(*states: str) -> None:
    """Tells whoever has started this process, as sd_notify(3) does, in lines such as READY=1; nobody who does not ask.

    That nobody listens any more is no reason to end.
    """
    if path := os.environ.get("NOTIFY_SOCKET"):
        address = f"\0{path[1:]}" if path.startswith("@") else path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto("\n".join(states).encode(), address)


def adopt_orphans() -> None:
    """From now on whoever descends from this process and loses its parent has this one as its parent; on Linux."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, _ON)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSocket:
    """A TCP socket that waits for connections, and one of the processes that hold it."""

    address: str
    port: int
    pid: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def listening_sockets(pids: Iterable[int]) -> tuple[ListeningSocket, ...]:
    """The listening TCP sockets of these processes, by port; a process that has ended has none."""
    found: dict[tuple[int, str], ListeningSocket] = {}
    for pid in pids:
        with suppress(psutil.Error):
            for found_socket in psutil.Process(pid).net_connections("tcp"):
                if found_socket.status == psutil.CONN_LISTEN:
                    address, port = _address(found_socket.laddr.ip), found_socket.laddr.port
                    found[port, address] = ListeningSocket(address=address, port=port, pid=pid)
    return tuple(found[place] for place in sorted(found))


def _address(text: str) -> str:
    """An address of the older protocol that is written in the newer one is itself."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def descendants(pid: int) -> tuple[psutil.Process, ...]:
    """Children of `pid`, their children, and so on, as of now; a process that has ended has none."""
    try:
        return tuple(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return ()


def name_of(process: psutil.Process) -> str:
    """Of its program; empty when it has ended."""
    with suppress(psutil.Error):
        return process.name()
    return ""


def is_alive(process: psutil.Process) -> bool:
    """Whether exactly this process still exists, not a later one of its id, nor one that only waits to be reaped."""
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def end(processes: tuple[psutil.Process, ...], grace_seconds: float) -> int:
    """Wait until all of `processes` are gone; kill those that outlive the grace. Returns how many were killed."""
    deadline = time.monotonic() + grace_seconds
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    stubborn = [process for process in processes if is_alive(process)]
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(stubborn)


class _OwnersLogFile(logging.handlers.RotatingFileHandler):
    """A log file that nobody else may read; when somebody moves it away, as logrotate does, a new one is begun."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line where the name leads now. A move between that look and the line loses neither.

        Where no file can be had, as on a full disk, the line is lost, and the next one looks anew.
        """
        try:
            if self.stream is not None and not self._leads_to(self.stream.fileno()):
                stream, self.stream = self.stream, None
                stream.close()
            if self.stream is None:
                self.stream = self._open()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def _leads_to(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(descriptor))
        except OSError:
            return False

    def _open(self) -> TextIOWrapper:
        opened = open(self.baseFilename, self.mode, encoding=self.encoding, opener=owner_only)  # noqa: SIM115
        assert isinstance(opened, TextIOWrapper)
        return opened


def keep_lines(logger: logging.Logger, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """From now on what `logger` gets goes to the file as it is; `max_bytes` and as much of each of two older files."""
    handler = _OwnersLogFile(path, maxBytes=max_bytes, backupCount=LOG_FILES)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


@contextmanager
def diverted_lines(path: Path, *, is_printed: bool) -> Iterator[None]:
    """Around the start of Ray: from then on what Ray has to say goes to a file, its tracebacks included.

    What the replicas say in JSON is printed as it is, a line each, and kept in the file `OWN_LOG` beside the other.
    """
    from ray._private import worker as module
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

    worker: Any = module
    handler = _OwnersLogFile(path, maxBytes=MAX_LOG_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    lines, own = logging.getLogger("ray.replicas"), logging.getLogger("ray.gantry")
    for logger in (logging.getLogger("ray"), lines):
        logger.handlers = [handler]
        logger.propagate = False
    lines.setLevel(logging.INFO)
    keep_lines(own, path.with_name(OWN_LOG))

    def divert(batch: dict[str, Any]) -> None:
        if batch.get("pid") == _SCALER:
            # Every five seconds that there is nothing to do.
            return
        for line in batch["lines"]:
            if is_printed and line.startswith(LINE_BEGINNING):
                print(line, file=sys.stderr, flush=True)
                own.info("%s", line)
            else:
                lines.info("%s pid=%s: %s", batch.get("actor_name") or "", batch.get("pid"), line)

    # By this Ray tells of errors that no replica has told.
    worker.print_to_stdstream = lambda batch, **_options: divert(batch)
    yield
    for name in ("ray_print_logs", lines.name):
        dispatcher.remove_handler(name)
    dispatcher.add_handler(lines.name, divert)


@contextmanager
def own_signals() -> Iterator[None]:
    """Around the start of Ray: a signal to this process or to its group, as a supervisor sends it, is for it alone.

    It ends Ray in order. Ray's own processes would all fall down at once with every request in them, and its handler
    would end this process where it stands, also in the middle of the start.
    """
    from ray._private import services as services_module
    from ray._private import utils as utils_module

    services: Any = services_module
    utils: Any = utils_module
    start, handle = services.ConsolePopen, utils.set_sigterm_handler
    own = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def take_back() -> None:
        """Ray's library has taken SIGTERM for itself, and would abort this process three seconds after it."""
        for number, handler in own.items():
            signal.signal(number, handler)

    services.ConsolePopen = functools.partial(start, process_group=0)
    utils.set_sigterm_handler = lambda _handler: take_back()
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler = start, handle
        take_back()
