"""Two services on one MariaDB: one owns the rollout and the other follows, and rolls back, and takes over.

`python -m tests.system.two_services` prints what was seen and how soon; it exits with 1 when a rollback took longer
than promised.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.persistence.database import upgrade
from deployments.rollout_control.database_sync import LEASE_SECONDS, TAKEOVER_SECONDS
from tests.system.mariadb import PrivateMariaDb, private_mariadb
from tests.system.operating import POLICY, eventually
from tests.system.serving import Service, config_with, running_service

PROMISED_SECONDS = 1.0
OUTAGE_SECONDS = 15.0
# One replica of each is enough here, twice.
REPLICAS = {"RequestRouter": 1, "SafetyValidator": 1}
BUILD_APP = "deployments.app:build_app"


@dataclass
class Party:
    """One of the two services, as its operator meets it."""

    name: str
    service: Service
    client: httpx.Client

    def rollout(self) -> dict[str, Any]:
        """Where its controller stands."""
        found: dict[str, Any] = self.client.get("/v1/rollout").raise_for_status().json()
        return found

    def order(self, action: str, **sent: Any) -> httpx.Response:
        """An order with a reason."""
        return self.client.post(f"/v1/rollout/{action}", json={"reason": "two services"} | sent)

    def served_stage(self) -> str:
        """The stage by which its router serves."""
        return str(self.client.get("/health").json()["rollout_stage"])

    def position(self) -> tuple[int, str, float]:
        """Version, stage and share."""
        found = self.rollout()
        return found["version"], found["stage"], found["share"]


@dataclass
class Drill:
    """Both services, their database, and what was seen."""

    owner: Party
    follower: Party
    server: PrivateMariaDb
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """For whoever watches."""
        self.lines.append(line)
        print(line, flush=True)


@contextmanager
def drill(folder: Path) -> Iterator[Drill]:
    """Two services with folders and ports of their own; the first one owns the rollout, which is in shadow."""
    with ExitStack() as stack:
        server = stack.enter_context(private_mariadb())
        url = stack.enter_context(server.schema())
        upgrade(url)
        (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
        variables = {
            "GANTRY_DATABASE_URL": url,
            "GANTRY_POLICY_FILE": str(folder / "policy.toml"),
            "GANTRY_ROLLOUT_INITIAL_STAGE": "shadow",
        }
        parties = []
        for name in ("first", "second"):
            own = folder / name
            own.mkdir()
            config = config_with(own, BUILD_APP, REPLICAS)
            service = stack.enter_context(running_service(own, variables=variables, config=config))
            parties.append(Party(name=name, service=service, client=stack.enter_context(service.client())))
        yield Drill(owner=parties[0], follower=parties[1], server=server)


def seconds_until(holds: Callable[[], bool], since: float) -> float:
    """How long after `since` something was seen to be so."""
    assert eventually(holds, pause_seconds=0.02)
    return time.monotonic() - since


def follow(found: Drill) -> None:
    """Each promotion of the owner is served by the other; orders to the other are refused, and say why."""
    owner, follower = found.owner, found.follower
    assert (owner.rollout()["is_owner"], follower.rollout()["is_owner"]) == (True, False)
    assert follower.rollout()["owner"] == owner.rollout()["owner"]
    assert follower.client.get("/readyz").status_code == 200
    for stage in ("limited", "expanded", "full"):
        refused = follower.order("promote", force=True)
        assert (refused.status_code, refused.json()["error"]) == (409, "transition_refused"), refused.text
        assert "another service owns the rollout" in refused.json()["detail"]
        promoted = owner.order("promote", force=True)
        assert (promoted.status_code, promoted.json()["stage"]) == (200, stage), promoted.text
        seconds = seconds_until(lambda stage=stage: follower.served_stage() == stage, time.monotonic())  # type: ignore[misc]
        assert follower.position() == owner.position()
        found.say(f"promoted to {stage} at the owner: the other serves it {seconds:.2f} s later")


def outlast(found: Drill) -> None:
    """Without the database nothing changes but that nothing can be promoted; and nothing when it is back."""
    parties = found.owner, found.follower
    before = found.owner.position()
    found.server.stop(signal.SIGKILL)
    deadline = time.monotonic() + OUTAGE_SECONDS
    assert OUTAGE_SECONDS > LEASE_SECONDS, "the lease must expire meanwhile"
    while time.monotonic() < deadline:
        for party in parties:
            assert (party.position(), party.served_stage()) == (before, before[1]), party.name
        time.sleep(0.2)
    for party in parties:
        refused = party.order("pause")
        assert (refused.status_code, refused.json()["error"]) in (
            (503, "rollout_unavailable"),
            (409, "transition_refused"),
        )
    found.server.start()
    assert eventually(lambda: bool(found.owner.rollout()["is_owner"]))
    time.sleep(TAKEOVER_SECONDS + 1.0)
    assert [party.position() for party in parties] == [before, before]
    assert (found.owner.rollout()["is_owner"], found.follower.rollout()["is_owner"]) == (True, False)
    found.say(f"MariaDB dead for {OUTAGE_SECONDS:g} s: stage, share, version and owner as before")


def roll_back_at_the_follower(found: Drill) -> float:
    """In force there at once, and at the owner how much later."""
    since = time.monotonic()
    answer = found.follower.order("rollback")
    assert (answer.status_code, answer.json()["stage"]) == (200, "rolled_back"), answer.text
    assert found.follower.served_stage() == "rolled_back"
    seconds = seconds_until(lambda: found.owner.served_stage() == "rolled_back", since)
    assert found.follower.position() == found.owner.position()
    found.say(f"rolled back at the other: the owner serves manual {seconds:.2f} s after the order")
    return seconds


def roll_back_without_the_database(found: Drill) -> float:
    """At the follower while the database is dead: at once there, and at the owner how soon after it is back."""
    owner, follower = found.owner, found.follower
    for _ in range(3):
        assert owner.order("promote", force=True).status_code == 200
    assert eventually(lambda: follower.served_stage() == owner.served_stage() == "expanded")
    found.server.stop(signal.SIGKILL)
    assert follower.order("rollback").status_code == 200
    assert (follower.served_stage(), owner.served_stage()) == ("rolled_back", "expanded")
    found.server.start()
    seconds = seconds_until(lambda: owner.served_stage() == "rolled_back", time.monotonic())
    found.say(
        f"rolled back at the other without the database: the owner serves manual {seconds:.2f} s after it is back"
    )
    return seconds


def take_over(found: Drill) -> None:
    """The owner is killed whole; the other goes on, and takes orders once the lease has expired."""
    owner, follower = found.owner, found.follower
    before = follower.position()
    since = time.monotonic()
    for process in (owner.service.process.pid, *(each.pid for each in owner.service.processes())):
        os.kill(process, signal.SIGKILL)
    owner.service.process.wait()
    seconds = seconds_until(lambda: bool(follower.rollout()["is_owner"]), since)
    assert follower.position() == before
    again = follower.order("promote")
    assert (again.status_code, again.json()["stage"], again.json()["version"]) == (200, "shadow", before[0] + 1), (
        again.text
    )
    transitions = follower.client.get("/v1/rollout/events").raise_for_status().json()["transitions"]
    versions = [row["version"] for row in transitions]
    assert versions == list(range(again.json()["version"], 0, -1))
    found.say(f"owner killed: the other owns the rollout {seconds:.1f} s later, {len(versions)} versions, none twice")


def main() -> int:
    """Everything, printed."""
    with tempfile.TemporaryDirectory(prefix="gantry-two-") as folder, drill(Path(folder)) as found:
        follow(found)
        outlast(found)
        seconds = [roll_back_at_the_follower(found), roll_back_without_the_database(found)]
        take_over(found)
    late = [each for each in seconds if each > PROMISED_SECONDS]
    print(
        f"2 rollbacks at the other service, the slowest {max(seconds):.2f} s, {len(late)} above {PROMISED_SECONDS:g} s"
    )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
