"""What Ray reads from the environment of a node: one list for `gantry serve`, `gantry cluster env` and its check.

`gantry serve` adds what only it can know (`deployments.local_cluster.service`): side ports that are free, a token of
this run, one node alone. A cluster has fixed ports instead, and a token that its nodes share. What cannot be on a
cluster, although it can be on one machine, is refused by name: `require_shareable`.

Imports nothing of weight: Ray reads all this while it is imported.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deployments.errors import InvalidSettings, Reasons
from deployments.serve.process import MAX_MESSAGE_BYTES, MESSAGE_VARIABLE
from deployments.settings.service import (
    DEVELOPMENT_API_KEY,
    ENV_FILE,
    FILE_SUFFIX,
    FOREIGN_NAMES,
    FOREIGN_PREFIX,
    IN_ENVIRONMENT,
    PREFIX,
    Environment,
    Settings,
    load_settings,
    variable_names,
    variables,
)

MAX_LOG_BYTES = 16 * 2**20
"""Of one log file of Ray, or of ours."""
PROXY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
CLUSTER_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 20_001,
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": 20_002,
    "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": 30_000,
    "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": 31_000,
    "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": 40_000,
    "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": 41_000,
}
"""Where Serve listens on each node of a cluster, beside the port of the service."""
HEAD_PORTS = {"port": 6379, "dashboard-port": 8265, "ray-client-server-port": 10_001}
NODE_PORTS = {
    "node-manager-port": 20_010,
    "object-manager-port": 20_011,
    "runtime-env-agent-port": 20_012,
    "dashboard-agent-grpc-port": 20_013,
    "dashboard-agent-listen-port": 20_014,
    "metrics-export-port": 20_015,
    "min-worker-port": 10_002,
    "max-worker-port": 19_999,
}
"""Options of `ray start`, which would choose any port without them: those of the head node alone, and of each node."""
TOKEN_NAMES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
SECRET_FIELDS = frozenset({"api_key", "database_url", "into_password", "notify_urls", "webhook_secret", "webhook_url"})
# With another value the service is another one: slow, open to strangers, or on one node only.
_MUST_BE = frozenset(
    {
        "RAY_SERVE_ENABLE_HA_PROXY",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED",
        "RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY",
        "RAY_AUTH_MODE",
    }
)
_MAX_CONNECTIONS = 16_384
_MIN_CONNECTIONS = 256
_OTHER_FILES = 1_024
LOOPBACK = "127.0.0.1"
_LOOPBACK_HOSTS = frozenset({LOOPBACK, "localhost", "::1"})
_FACTS_VERSION = 1


def _max_connections() -> int:
    """As many as HAProxy may have, with five descriptors for two of them (one to each side, and a pipe for every fourth
    one); it does not start where it may not have them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(_MAX_CONNECTIONS, (hard - _OTHER_FILES) * 2 // 5))


def shared_variables() -> dict[str, str]:
    """What is the same on one machine and on each node of a cluster: throughput mode, one thread each, bounds."""
    variables = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # A plant of 20,000 jobs, and a body with its answer, are more than Ray's 4 MiB.
        MESSAGE_VARIABLE: str(MAX_MESSAGE_BYTES),
        # Longer than any answer may take; a client that is silent for as long holds no connection any more.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "180",
        # A proxy that gives way to the next one finishes what it has begun; no request takes longer (`http_options`).
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "160",
        # Half-open connections that send nothing must not shut out the others before their time is up.
        "RAY_SERVE_HAPROXY_MAXCONN": str(_max_connections()),
        # Behind this proxy nobody else balances, so there is no one to tell half a minute in advance.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # On a busy machine a proxy takes longer to start than the 5 s after which Ray would kill it and begin anew.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # A dead proxy is found after three of these, and nobody can connect meanwhile. One that is merely busy has as
        # long as ever to answer each.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.3",
        # Each turn of the controller copies the configuration of every deployment: ten a second cost 7 % of a core.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
        # Two routers on one node of several would die together.
        "RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The replicas' own ports listen on every interface: nobody without the token is heard there.
        "RAY_AUTH_MODE": "token",
        # A worker that takes longer to import Ray is killed and begun anew: with Ray's own 60 s a machine that is busy
        # enough would never have one.
        "RAY_worker_register_timeout_seconds": "180",
        # Ray would have its workers step back behind every other process of the machine: they are the service.
        "RAY_worker_niceness": "0",
        "RAY_DEDUP_LOGS": "0",
        # Of each process of Ray and of each replica; by default 3 GB each.
        "RAY_ROTATION_MAX_BYTES": str(MAX_LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_COLOR_PREFIX": "0",
        "OMP_NUM_THREADS": "1",
        # Each thread of a replica would otherwise keep a heap of its own.
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    # The proxy's binary comes with Ray on Linux only.
    return variables | ({"RAY_SERVE_ENABLE_HA_PROXY": "1"} if sys.platform == "linux" else {})


def cluster_variables(proxy: Path) -> dict[str, str]:
    """What a node of a cluster needs before `ray start`; `proxy` is the program by which Ray starts HAProxy there.

    Without what empties a worker of packages that Ray imports for nothing: other people's workers may want those.
    """
    ports = {name: str(port) for name, port in CLUSTER_PORTS.items()}
    return shared_variables() | ports | {PROXY_VARIABLE: str(proxy)}


def gantry_variables(settings: Settings) -> dict[str, str | None]:
    """The settings that somebody has set, by the name of their variable; None for a value that is a secret.

    Environment and data folder in any case, and all folders whole: replicas start in another folder than this one.
    """
    names = variable_names()
    fields = {name: field for field, name in names.items()}
    given = {name: found for name, found in variables().items() if _is_setting(name)}
    values = {name: value for name, (value, _) in given.items()}
    found: dict[str, str | None] = {}
    for name in sorted({*values, names["environment"], names["data_folder"]}):
        value = getattr(settings, fields[name]) if name in fields else None
        if fields.get(name) in SECRET_FIELDS and (place := given[name][1]) not in (ENV_FILE, IN_ENVIRONMENT):
            found[name + FILE_SUFFIX] = str(Path(place).absolute())
        elif fields.get(name) in SECRET_FIELDS:
            found[name] = None
        elif isinstance(value, Path):
            found[name] = str(value.absolute())
        else:
            found[name] = values.get(name) or str(value)
    return found


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in FOREIGN_NAMES and not name.startswith(FOREIGN_PREFIX)


def faults_of(environment: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each variable that a node lacks: its name, what was found, what it must be.

    Bounds and ports may be others than ours. HAProxy's program must be one of this node.
    """
    for name, value in wanted.items():
        found = environment.get(name)
        if name == PROXY_VARIABLE:
            if found is None or not os.access(found, os.X_OK):
                yield name, "nothing" if found is None else f"{found}, which is no program here", value
        elif found is None or (name in _MUST_BE and found != value):
            yield name, "nothing" if found is None else found, value


def has_token(environment: Mapping[str, str]) -> bool:
    """Whether Ray finds a token: in the environment, in the file that it names, or in the home of this user."""
    name, path = TOKEN_NAMES
    place = environment.get(path) or os.path.expanduser("~/.ray/auth_token")
    return bool(environment.get(name)) or os.path.isfile(place)


def node_facts(nonce: bytes) -> dict[str, Any]:
    """What one node is, as `gantry cluster check` asks for it: plain values, so that versions understand each other.

    Settings are told by digests that mean something only to whoever knows `nonce`.
    """
    reasons: Reasons = ()
    digests: dict[str, str] = {}
    data_folder, is_sqlite, is_development_key, is_lone_disk = "", False, False, False
    try:
        settings = load_settings(warns=False)
    except InvalidSettings as error:
        reasons = error.reasons
    else:
        data_folder = str(settings.data_folder.absolute())
        is_sqlite, is_development_key = _is_sqlite(settings), settings.own_key == DEVELOPMENT_API_KEY
        is_lone_disk = settings.acknowledge_on == "disk"
        for field, name in variable_names().items():
            value = getattr(settings, field)
            if not isinstance(value, Path) and not (field == "database_url" and is_sqlite):
                plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
                digests[name] = hmac.new(nonce, repr(plain).encode(), hashlib.sha256).hexdigest()
    # Any path: that of the node is in its own environment.
    wanted = cluster_variables(Path(os.environ.get(PROXY_VARIABLE, "gantry-haproxy")))
    return {
        "version": _FACTS_VERSION,
        "host": platform.node(),
        "python": platform.python_version(),
        "ray": _version_of("ray"),
        "gantry": _version_of("gantry"),
        "lacks": list(faults_of(os.environ, wanted)),
        "has_token": has_token(os.environ),
        "settings_faults": [": ".join(reason) for reason in reasons],
        "settings_digests": digests,
        "data_folder": data_folder,
        "is_sqlite": is_sqlite,
        "is_development_key": is_development_key,
        "is_lone_disk": is_lone_disk,
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _is_sqlite(settings: Settings) -> bool:
    return settings.database_url.get_secret_value().startswith("sqlite")


def require_deployable(settings: Settings) -> None:
    """`require_shareable` on the cluster that this process is of, where Serve listens; nowhere without Ray.

    Raises `InvalidSettings`.
    """
    import ray
    from ray.serve.context import _get_global_client

    if ray.is_initialized():
        client = _get_global_client(raise_if_no_controller_running=False)
        host = None if client is None else client.http_config.host
        require_shareable(settings, node_count=_alive_nodes(), host=host or LOOPBACK)


class NodeWatch:
    """How many nodes there are now, for what a disk of one of them cannot promise on several."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.fault: str | None = None
        """What must be set, as `/readyz` says it; None where nothing is missing."""

    def ask(self) -> None:
        """Asks Ray, and blocks. Raises whatever Ray raises: then what was known last stays."""
        import ray

        if ray.is_initialized():
            reason = lone_disk_fault(self._settings, _alive_nodes())
            self.fault = None if reason is None else ": ".join(reason)


def lone_disk_fault(settings: Settings, node_count: int) -> tuple[str, str] | None:
    """The setting, and what it must be, where an acknowledged decision would be lost with one node of several."""
    if node_count < 2 or settings.acknowledge_on != "disk":
        return None
    needed = f"must be database on {node_count} nodes, or volume where GANTRY_SPOOL_FOLDER outlives its node, was disk"
    return variable_names()["acknowledge_on"], needed


def require_few_nodes(settings: Settings) -> None:
    """What a router looks at, too: nodes may have come since. Raises `InvalidSettings`."""
    import ray

    if ray.is_initialized():
        require_shareable(settings, node_count=_alive_nodes(), host=LOOPBACK)


def _alive_nodes() -> int:
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())  # type: ignore[no-untyped-call]


def require_shareable(settings: Settings, *, node_count: int, host: str) -> None:
    """Raises `InvalidSettings` for what is safe on a machine of one's own only.

    `node_count` nodes are alive, and the service listens on `host`.
    """
    if reasons := tuple(_unshareable(settings, node_count, host)):
        raise InvalidSettings(reasons)


def _unshareable(settings: Settings, node_count: int, host: str) -> Iterator[tuple[str, str]]:
    names = variable_names()
    if _is_sqlite(settings) and node_count > 1:
        yield names["database_url"], f"must be a MariaDB URL on {node_count} nodes, was SQLite, a file of one of them"
    lone_disk = lone_disk_fault(settings, node_count)
    if lone_disk is not None and settings.environment is Environment.PRODUCTION:
        yield lone_disk
    if settings.own_key != DEVELOPMENT_API_KEY:
        return
    if node_count > 1:
        yield names["api_key"], f"must not be the development key on {node_count} nodes: set a key of your own"
    elif host not in _LOOPBACK_HOSTS:
        remedy = "set a key of your own, or http_options.host to 127.0.0.1"
        yield names["api_key"], f"must not be the development key where the service listens on {host}: {remedy}"
