"""`gantry serve` on this machine, and `gantry cluster` for a Ray cluster that somebody else runs."""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.terminal import CheckRow, number_of, plain_console, report_checks

if TYPE_CHECKING:
    from deployments.settings.service import Settings

DEFAULT_PORT = 8000
DEFAULT_GRACE_SECONDS = 15.0
_NODE_SECONDS = 60.0
_ENV_REMEDY = 'eval "$(gantry cluster env)" in the shell of `ray start`, or in what starts it'
_SET_ON_NODES = "a secret: set it on each node, the same on all"

cluster = typer.Typer(no_args_is_help=True, help="What the nodes of a Ray cluster need, and what they lack.")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(serve)
    app.add_typer(cluster, name="cluster")
    cluster.command()(size)


def serve(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = DEFAULT_PORT,
    config: Annotated[Path | None, typer.Option(help="Serve configuration; default: the shipped one.")] = None,
    grace: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds for requests under way when the service is told to stop.")
    ] = DEFAULT_GRACE_SECONDS,
    first: Annotated[
        bool, typer.Option("--first", help="Refuse without a verified backup of the last day, as GANTRY_FIRST_START.")
    ] = False,
) -> None:
    """Run the service in the foreground; Ctrl-C or SIGTERM drains.

    It ends with 75 when Ray died under it, so that a supervisor starts it anew; with 1 when a person must look first.

    Example: gantry serve --port 8000
    """
    from deployments.commands.terminal import StepDisplay, plain_console
    from deployments.local_cluster.service import DEFAULT_CONFIG
    from deployments.local_cluster.service import serve as run
    from deployments.settings.near_misses import unread_variables
    from deployments.settings.service import load_settings

    # Before the settings are checked: what they lack may stand in one of these.
    for sentence in unread_variables():
        _say(f"warning: {sentence}")
    # Only a terminal is worth the memory of what draws on it.
    display = StepDisplay(_say, plain_console() if sys.stdout.isatty() else None)
    # By its variable, because the processes of the service find their settings in the environment.
    if first:
        os.environ["GANTRY_FIRST_START"] = "1"
    run(load_settings(), config or DEFAULT_CONFIG, port, display=display, grace_seconds=grace)


def _say(line: str) -> None:
    # Whoever waits for the readiness line reads a pipe, which would otherwise keep it back.
    print(line, flush=True)


@cluster.callback()
def group() -> None:
    """What the nodes of a Ray cluster need, and what they lack."""


@cluster.command()
def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Print what a node needs in its environment before `ray start`, as lines for a shell.

    The settings of this folder and environment are among them, secrets by name only. On the way the program by which
    Ray starts HAProxy is written into the data folder, so run it on each node; no `gantry serve` may live there.

    Example: eval "$(gantry cluster env)" && ray start --head

    Example: gantry cluster env --json
    """
    from deployments.local_cluster.service import installed_proxy, owning_data_folder
    from deployments.serve.environment import HEAD_PORTS, NODE_PORTS, cluster_variables, gantry_variables
    from deployments.serve.process import DrainNotice
    from deployments.settings.service import load_settings

    settings = load_settings()
    with owning_data_folder(settings):
        # By that of a `gantry serve` that has ended here all routers of the cluster would refuse newcomers.
        DrainNotice(settings.run_folder).withdraw()
        variables = cluster_variables(installed_proxy(settings))
    ours = gantry_variables(settings)
    plain = variables | {name: value for name, value in ours.items() if value is not None}
    hidden = [name for name, value in ours.items() if value is None]
    if as_json:
        starts = {"head": HEAD_PORTS | NODE_PORTS, "node": NODE_PORTS}
        print(json.dumps({"environment": plain, "secrets": hidden, "ray_start": starts}, indent=2))
        return
    for name, value in plain.items():
        print(f"export {name}={shlex.quote(value)}")
    for name in hidden:
        print(f"# {name}: {_SET_ON_NODES}")
    print("# Ray's token: `ray get-auth-token --generate` once, then ~/.ray/auth_token on each node, or RAY_AUTH_TOKEN")
    print(f"# ray start --head {_options(HEAD_PORTS | NODE_PORTS)}")
    print(f"# ray start --address=HEAD:{HEAD_PORTS['port']} {_options(NODE_PORTS)}")


def _options(ports: Mapping[str, int]) -> str:
    return " ".join(f"--{name}={port}" for name, port in ports.items())


@cluster.command()
def check(
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running cluster, such as auto; default: this node.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Look for what this node, or each node of a running cluster, lacks; exit 1 when something is missing.

    Without an address: this shell's environment, settings, folders, policy and database. With one: what the workers of
    each node see, whether all nodes agree, and where the routers are.

    Example: gantry cluster check

    Example: gantry cluster check --address auto
    """
    rows = _rows_of_this_node() if address is None else _rows_of_cluster(address)
    report_checks(list(rows), as_json=as_json)


def _rows_of_this_node() -> Iterator[CheckRow]:
    from deployments.serve.environment import node_facts

    facts = node_facts(b"")
    yield from rows_of_node(facts, facts)
    if not facts["settings_faults"]:
        from deployments.settings.service import load_settings

        yield from _rows_of_stores(load_settings(warns=False))


def _rows_of_stores(settings: Settings) -> Iterator[CheckRow]:
    """What `gantry serve` would refuse to start without."""
    from deployments.local_cluster.service import prepare_spool
    from deployments.persistence.database import create_engine, place_of, require_current_schema
    from env.errors import GantryError
    from env.simulator.compilation import cache_folder
    from models.policy.artefact import read_manifest

    url = settings.database_url.get_secret_value()

    def schema() -> str:
        engine = create_engine(url)
        try:
            require_current_schema(engine)
        finally:
            engine.dispose()
        return place_of(url)

    def spool() -> str:
        prepare_spool(settings)
        return str(settings.spool_folder.absolute())

    looks: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("policy", lambda: read_manifest(settings.model_path).model_id, "set GANTRY_MODEL_PATH, or install it anew"),
        ("spool", spool, "a folder of this node that outlives it: GANTRY_SPOOL_FOLDER"),
        ("database", schema, "gantry db upgrade, or mend GANTRY_DATABASE_URL"),
    )
    for subject, look, remedy in looks:
        try:
            yield CheckRow(subject=subject, passes=True, seen=str(look()))
        except (GantryError, OSError) as error:
            yield CheckRow(subject=subject, passes=False, seen=" ".join(str(error).split()), remedy=remedy)
    folder = cache_folder()
    is_compiled = any(folder.rglob("*.nbi"))
    seen = f"{'' if is_compiled else 'nothing '}in {folder}"
    yield CheckRow(subject="compiled core", passes=is_compiled, seen=seen, remedy="gantry warm, as the user of Ray")


def rows_of_node(facts: Mapping[str, Any], first: Mapping[str, Any]) -> Iterator[CheckRow]:
    """What one node lacks, and in what it is unlike the `first`; both as `node_facts` tells them."""
    host = facts["host"]

    def row(subject: str, passes: bool, seen: str, remedy: str = "") -> CheckRow:
        return CheckRow(subject=f"{host}: {subject}", passes=passes, seen=seen, remedy=remedy)

    versions = [facts[name] for name in ("gantry", "python", "ray")]
    alike = versions == [first[name] for name in ("gantry", "python", "ray")]
    remedy = f"the versions of {first['host']}: {first['gantry']}, Python {first['python']}, Ray {first['ray']}"
    yield row("versions", alike, "Gantry {}, Python {}, Ray {}".format(*versions), remedy)
    for name, found, wanted in facts["lacks"]:
        yield row(name, False, f"must be {wanted}, was {found}", _ENV_REMEDY)
    if not facts["lacks"]:
        yield row("environment", True, "has what `gantry cluster env` prints")
    remedy = "ray get-auth-token --generate on one node, and ~/.ray/auth_token copied to the others"
    yield row("token", facts["has_token"], "there" if facts["has_token"] else "none", remedy)
    faults = facts["settings_faults"]
    yield row("settings", not faults, "; ".join(faults) or f"valid, data in {facts['data_folder']}", "mend them there")
    digests, others = facts["settings_digests"], first["settings_digests"]
    if digests and others and facts is not first:
        unlike = sorted(name for name in others if digests.get(name) != others[name])
        seen = f"{', '.join(unlike)} unlike {first['host']}" if unlike else f"as on {first['host']}"
        yield row("same settings", not unlike, seen, "the same values on each node")


def rows_of_nodes(found: Sequence[Mapping[str, Any]]) -> Iterator[CheckRow]:
    """What a cluster of these nodes lacks."""
    for facts in found:
        yield from rows_of_node(facts, found[0])
    if len(found) > 1:
        for key, name, seen in (
            ("is_sqlite", "GANTRY_DATABASE_URL", "SQLite, which is a file of one node"),
            ("is_development_key", "GANTRY_API_KEY", "the development key"),
            ("is_lone_disk", "GANTRY_ACKNOWLEDGE_ON", "disk, which is lost with its node: database, or volume"),
        ):
            # A node of the version before may not know the question yet.
            hosts = [facts["host"] for facts in found if facts.get(key)]
            words = f"{seen}, on {', '.join(hosts)}" if hosts else "fit for more than one node"
            yield CheckRow(subject=name, passes=not hosts, seen=words, remedy="set it on each node, the same on all")


def rows_of_routers(details: Mapping[str, Any], node_count: int) -> Iterator[CheckRow]:
    """Whether the service is there, and its routers are on as many nodes as they can be, by Serve's own details."""
    for name, application in details.get("applications", {}).items():
        state = str(getattr(application["status"], "value", application["status"]))
        message = " ".join(str(application.get("message", "")).split())
        remedy = "look at `serve status`, and at the logs of Ray"
        yield CheckRow(
            subject=f"application {name}", passes=state == "RUNNING", seen=f"{state} {message}".strip(), remedy=remedy
        )
        replicas = application["deployments"].get("RequestRouter", {}).get("replicas", [])
        nodes = {replica["node_id"] for replica in replicas}
        wanted = min(len(replicas), node_count)
        seen = f"{number_of(len(replicas), 'router')} on {number_of(len(nodes), 'node')} of {node_count}"
        remedy = "room on the other nodes: CPUs of `ray start --num-cpus`, and their rows above"
        yield CheckRow(subject=f"routers of {name}", passes=0 < wanted <= len(nodes), seen=seen, remedy=remedy)


def _rows_of_cluster(address: str) -> Iterator[CheckRow]:
    """Asks a worker on each node."""
    import logging

    import ray
    from ray.exceptions import RayError
    from ray.serve.context import _get_global_client
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from deployments.local_cluster.cluster import last_line
    from deployments.serve.environment import node_facts

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        remedy = "start it with `ray start`, or name it with --address; the token must be the cluster's"
        yield CheckRow(subject="cluster", passes=False, seen=_first_line(error), remedy=remedy)
        return
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        # By the types of Ray it would have no options.
        look: Any = ray.remote(node_facts)
        asked: list[tuple[str, Any]] = []
        nonce = secrets.token_bytes(16)
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            asked.append((node["NodeManagerAddress"], look.options(**options).remote(nonce)))
        found = []
        for place, reference in asked:
            try:
                found.append(ray.get(reference, timeout=_NODE_SECONDS))
            except RayError as error:
                remedy = "install this version of Gantry there, for the Python that Ray runs"
                yield CheckRow(subject=f"{place}: Gantry", passes=False, seen=last_line(str(error)), remedy=remedy)
        if found:
            yield from rows_of_nodes(found)
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is not None:
            yield from rows_of_routers(client.get_serve_details(), len(nodes))
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


MAX_PLANS_PER_SECOND = 10_000.0
MIN_REPLICAS = 2
"""Of each stage but the writer, as in `serve_config.yaml`: while one is started anew, the other serves."""
MIN_NODES = 2
SPARE_NODES = 1
"""A node may die, and the others still carry the whole rate."""
WRITER = "DBWriter"
_OTHER_REPLICAS = 2
"""Counterfactual and RolloutController, one each."""
# docs/SERVING_PERFORMANCE.md, commit f6b62867f: sixteen clients, 170 jobs, time_budget_ms 0, a busy machine.
_ROUTER_MS, _POLICY_MS, _JUDGE_MS, _WRITER_MS, _HAPROXY_MS = 19.6, 24.5, 9.2, 2.9, 0.3
_IDLE_CORES_PER_NODE = 0.2607
# The same page, one client, commit dabd523: the whole service, Ray's processes too, shared by its nine replicas.
_MIB_PER_REPLICA = 1915.5 / 9
# docs/DURABILITY.md, "How the database grows": MariaDB, and what the challenger's row may have on top since.
_BYTES_PER_DECISION = 11_469 + 1_500
_ROWS_PER_DECISION = 3
"""The decision, and an evaluation for each of the two arms."""
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCosts:
    """Processor milliseconds of each stage for one plan."""

    router_ms: float = _ROUTER_MS
    policy_ms: float = _POLICY_MS
    judge_ms: float = _JUDGE_MS
    writer_ms: float = _WRITER_MS

    def by_deployment(self) -> dict[str, float]:
        """Milliseconds by the name that the deployment has in `serve_config.yaml`."""
        return {
            "RequestRouter": self.router_ms,
            "PPOPolicy": self.policy_ms,
            "SafetyValidator": self.judge_ms,
            WRITER: self.writer_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """What a rate of plans needs; computed, not measured."""

    plans_per_second: float
    replicas: dict[str, int]
    cores: float
    """For the plans alone, with the share that is kept free."""
    nodes: int
    """The one that may die included."""
    memory_gib: float
    """Proportional set size of all replicas together, without what requests under way hold."""
    database_rows_per_second: float
    database_gb_per_day: float
    """At this rate all day long."""
    max_stored_per_second: float
    """What one writer stores; above it the spools fill."""

    @property
    def is_stored(self) -> bool:
        """Whether the one writer keeps up."""
        return self.plans_per_second <= self.max_stored_per_second


def size_of(plans_per_second: float, costs: StageCosts, *, cores_per_node: int, busy_share: float) -> ClusterSize:
    """The least cluster on which no stage, and no node when one is dead, is busier than `busy_share`."""
    stages = costs.by_deployment()
    busy = {name: plans_per_second * milliseconds / 1000 / busy_share for name, milliseconds in stages.items()}
    replicas = {name: 1 if name == WRITER else max(MIN_REPLICAS, _whole(cores)) for name, cores in busy.items()}
    cores = sum(busy.values()) + plans_per_second * _HAPROXY_MS / 1000 / busy_share
    return ClusterSize(
        plans_per_second=plans_per_second,
        replicas=replicas,
        cores=cores,
        nodes=max(MIN_NODES, _whole(cores / (cores_per_node - _IDLE_CORES_PER_NODE)) + SPARE_NODES),
        memory_gib=(sum(replicas.values()) + _OTHER_REPLICAS) * _MIB_PER_REPLICA / 1024,
        database_rows_per_second=plans_per_second * _ROWS_PER_DECISION,
        database_gb_per_day=plans_per_second * _BYTES_PER_DECISION * _SECONDS_PER_DAY / 1e9,
        max_stored_per_second=busy_share * 1000 / costs.writer_ms,
    )


def _whole(number: float) -> int:
    """Rounded up, but for what a float is beside the number that is meant."""
    return math.ceil(round(number, 9))


Cost = Annotated[float, typer.Option(min=0.01, max=60_000, help="Processor milliseconds of this stage per plan.")]


def size(
    plans_per_second: Annotated[
        list[float], typer.Option(min=0.01, max=MAX_PLANS_PER_SECOND, help="Rate; may be given several times.")
    ],
    cores_per_node: Annotated[int, typer.Option(min=1, max=1024, help="Cores of each node.")] = 16,
    busy_share: Annotated[float, typer.Option(min=0.1, max=0.95, help="Share of a core that plans may use.")] = 0.7,
    router_ms: Cost = _ROUTER_MS,
    policy_ms: Cost = _POLICY_MS,
    judge_ms: Cost = _JUDGE_MS,
    writer_ms: Cost = _WRITER_MS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Compute replicas, nodes, memory and database growth for a rate of plans; nothing is asked or measured.

    For plans of 170 jobs without a search. The costs by default are those of docs/SERVING_PERFORMANCE.md, from a busy
    machine; measure your own by `make compare`. Exit 1 when the one writer of the database could not keep up.

    Example: gantry cluster size --plans-per-second 10 --plans-per-second 100
    """
    costs = StageCosts(router_ms=router_ms, policy_ms=policy_ms, judge_ms=judge_ms, writer_ms=writer_ms)
    found = [size_of(rate, costs, cores_per_node=cores_per_node, busy_share=busy_share) for rate in plans_per_second]
    if as_json:
        print(json.dumps([asdict(each) | {"is_stored": each.is_stored} for each in found], indent=2))
    else:
        _show(found)
    raise typer.Exit(0 if all(each.is_stored for each in found) else 1)


def _show(found: list[ClusterSize]) -> None:
    console = plain_console(file_width=200)
    console.print("Computed from processor time per plan, not measured.")
    console.print(f"| plans/s | {' | '.join(found[0].replicas)} | cores | nodes | GiB | rows/s | GB a day | stored |")
    console.print("|---" * (len(found[0].replicas) + 7) + "|")
    for each in found:
        figures = f"{each.cores:.1f} | {each.nodes} | {each.memory_gib:.1f} | {each.database_rows_per_second:g}"
        stored = "yes" if each.is_stored else f"at most {each.max_stored_per_second:.0f}/s"
        counts = " | ".join(map(str, each.replicas.values()))
        console.print(
            f"| {each.plans_per_second:g} | {counts} | {figures} | {each.database_gb_per_day:.1f} | {stored} |"
        )
