"""The rollout on the running service with two routers: up through all stages, and down again for each reason.

`python -m tests.system.test_rollout` prints the walk and, for each trigger, how long PPO still answered; it exits with
1 when that was longer than promised.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.rollout.assignment import assign
from deployments.settings.service import PUBLISHED_MODEL
from models.policy.artefact import MANIFEST_FILE, read_manifest
from tests.deployments.fakes import body, job
from tests.requirements import not_run
from tests.system.faults import CRASH, DAYS_AHEAD, INCOMPLETE, LATE, TOO_EARLY
from tests.system.operating import (
    Operator,
    eventually,
    of_plant,
    operated,
    plants,
    request,
    seconds_until_manual,
    silenced_controller,
    watched,
)

pytestmark = pytest.mark.system

PROMISED_SECONDS = 1.0
# What is asserted leaves room for a machine that does many other things.
ALLOWED_SECONDS = 5.0
MAX_TRIGGER_SECONDS = 180.0
STAGES = (("limited", 0.1), ("expanded", 0.5), ("full", 1.0))
SEED = "gantry"
MAX_DAYS = 60


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One service for the tests of this module, which go on where the last one left it."""
    with operated(tmp_path_factory.mktemp("rollout")) as found:
        yield found


def test_walk_through_all_stages_ends_in_an_incident(operator: Operator) -> None:
    """Shadow serves manual beside PPO, each stage its share, and one critical violation ends it all."""
    walk(operator, plants()[:3])


def walk(operator: Operator, workloads: list[dict[str, Any]]) -> None:
    """The recorded walk. Promotions are forced: no window closes within a test."""
    found = operator.rollout()
    assert (found["stage"], found["share"]) == ("shadow", 0.0)
    in_shadow = [operator.post(of_plant(each)) for each in workloads]
    assert {answer["algorithm_used"] for answer in in_shadow} == {"manual"}
    assert {len(answer["scheduled_jobs"]) for answer in in_shadow} == {170}
    # The process that computes PPO beside them starts now, at the lowest priority.
    assert eventually(lambda: operator.arms_of(in_shadow[0]["schedule_id"]) == {"manual", "ppo"}, 300)
    operator.say(f"shadow: manual served {len(in_shadow)} of {len(in_shadow)}, PPO was computed beside it")
    for stage, share in STAGES:
        _promote(operator, stage)
        _serve(operator, workloads, stage, share)
    seconds = seconds_until_manual(operator, lambda: operator.post(of_plant(workloads[0], TOO_EARLY)))
    operator.say(f"critical violation: last PPO answer {seconds:.2f} s after the trigger")
    assert seconds < ALLOWED_SECONDS
    _look_at_the_end(operator)


def _promote(operator: Operator, stage: str) -> None:
    refused = operator.order("promote")
    assert (refused.status_code, refused.json()["error"]) == (409, "transition_refused"), refused.text
    version = operator.rollout()["version"]
    assert operator.order("promote", force=True, expected_version=version - 1).status_code == 409
    moved = operator.order("promote", force=True, expected_version=version)
    assert (moved.status_code, moved.json()["stage"]) == (200, stage), moved.text
    operator.say(f"to {stage}, by force: {refused.json()['detail']}")
    operator.heard(stage)


def _serve(operator: Operator, workloads: list[dict[str, Any]], stage: str, share: float) -> None:
    """Who serves can be computed from the unit, beforehand and by anybody."""
    sent = [of_plant(each) for each in workloads] + [request() for _ in range(7)]
    served = [operator.post(each)["algorithm_used"] for each in sent]
    assert served == [assign(each["experiment_unit"], seed=SEED, share=share, stage=stage).arm for each in sent]
    operator.say(f"{stage}: {share:.0%} of the units, PPO served {served.count('ppo')} of {len(served)}")


def _look_at_the_end(operator: Operator) -> None:
    """Trail, incident, notices and report tell the same story."""

    # What the last request makes of PPO beside the manual arm may be an incident of its own, but blocks promotion only.
    def rolled_back() -> list[dict[str, Any]]:
        return [each for each in operator.events()["incidents"] if each["action"] == "rolled back"]

    assert eventually(lambda: bool(rolled_back()))
    (incident,) = rolled_back()
    events = operator.events()
    assert (incident["trigger"], incident["stage"]) == ("critical_violation", "full")
    stages = [row["to_stage"] for row in reversed(events["transitions"])]
    assert stages == ["shadow", "limited", "expanded", "full", "rolled_back"]
    # Told by the controller, or by the router that saw it first and stopped by itself.
    evidence = incident["evidence"]
    trigger = evidence["trigger"] if "trigger" in evidence else evidence["latch"]["trigger"]
    operator.say(f"incident {incident['incident_id']}: {trigger['detail'][:100]}")
    receiver = operator.receiver
    assert eventually(lambda: bool(receiver.notices("incident")))
    told = receiver.notices("transition")
    assert [notice["to"] for notice in told] == stages
    assert receiver.notices("incident")[0]["incident_id"] == incident["incident_id"]
    assert (receiver.unsigned, receiver.bodies[0] == receiver.bodies[1]) == (0, True), "the first call was answered 500"
    operator.say(f"webhook: {len(told)} transitions and the incident, signed, in {receiver.calls} calls")
    report = operator.client.get("/v1/rollout/report").raise_for_status().json()
    assert report["state"]["stage"] == "rolled_back"
    assert report["integrity"]["findings"] == []


def _repeated(fault: str, pause_seconds: float = 0.0) -> Callable[[Operator], None]:
    """The same fault until a router has rolled back; with a pause, so that the other arm can be computed beside it."""

    def trigger(operator: Operator) -> None:
        def is_rolled_back() -> bool:
            time.sleep(pause_seconds)
            return bool(operator.post(request(fault))["decision"]["stage"] == "rolled_back")

        assert eventually(is_rolled_back, MAX_TRIGGER_SECONDS), f"{fault} must be seen"

    return trigger


def _once(fault: str) -> Callable[[Operator], object]:
    return lambda operator: operator.post(request(fault))


TRIGGERS: dict[str, Callable[[Operator], object]] = {
    "critical_violation": _once(TOO_EARLY),
    "crash_rate": _repeated(CRASH),
    "data_corruption": Operator.corrupt,
    "completion_rate": _repeated(INCOMPLETE),
    "makespan_increase": _repeated(LATE, pause_seconds=0.1),
}
HOW = {signal.SIGKILL: "controller killed", signal.SIGSTOP: "controller hung"}


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_trigger_ends_ppo_on_all_routers(operator: Operator, name: str) -> None:
    """Whatever the reason, the last answer of PPO comes soon after it, and the incident says what it was."""
    assert drill(operator, name) < ALLOWED_SECONDS


def drill(operator: Operator, name: str) -> float:
    """One trigger, from a new ramp up; how long PPO went on."""
    operator.climb()
    fault = LATE if name == "makespan_increase" else ""
    seconds = seconds_until_manual(operator, lambda: TRIGGERS[name](operator), fault)
    assert eventually(lambda: operator.events()["incidents"][0]["trigger"] == name), operator.events()["incidents"][0]
    operator.say(f"{name}: last PPO answer {seconds:.2f} s after the trigger")
    return seconds


@pytest.mark.parametrize(
    ("name", "number"), [("critical_violation", signal.SIGKILL), ("crash_rate", signal.SIGSTOP), (None, signal.SIGSTOP)]
)
def test_rollback_needs_no_controller(operator: Operator, name: str | None, number: signal.Signals) -> None:
    """With the controller killed or silent, a trigger or a person ends PPO on both routers, for good."""
    assert drill_without_controller(operator, name, number) < ALLOWED_SECONDS


def drill_without_controller(operator: Operator, name: str | None, number: signal.Signals) -> float:
    """A trigger, or None: a rollback by hand, while nobody owns the stage."""
    operator.climb()
    replies = []

    def trigger() -> None:
        with silenced_controller(operator, number):
            if name is None:
                replies.append(operator.order("rollback").status_code)
            else:
                TRIGGERS[name](operator)

    seconds = seconds_until_manual(operator, trigger, LATE if name == "makespan_increase" else "")
    assert replies == ([202] if name is None else [])
    assert eventually(lambda: operator.events()["incidents"][0]["trigger"] == (name or "by hand"))
    assert {operator.post(request())["algorithm_used"] for _ in range(6)} == {"manual"}
    operator.say(f"{name or 'by hand'}, {HOW[number]}: last PPO answer {seconds:.2f} s after the trigger")
    return seconds


def test_rollback_needs_no_database(operator: Operator) -> None:
    """With MariaDB dead a trigger ends PPO as soon as ever, and the trail is complete once it is back."""
    if operator.server is None:
        not_run("mariadb", "mariadbd is not installed")
    assert drill_without_database(operator) < ALLOWED_SECONDS


def drill_without_database(operator: Operator) -> float:
    """A critical violation while nothing can be stored."""
    assert operator.server is not None
    operator.climb()
    operator.server.stop(signal.SIGKILL)
    try:
        seconds = seconds_until_manual(operator, lambda: TRIGGERS["critical_violation"](operator))
        assert operator.order("rollback").status_code == 200, "idempotent, also now"
    finally:
        operator.server.start()
    version = operator.rollout()["version"]
    assert eventually(lambda: operator.events()["transitions"][0]["version"] == version)
    assert eventually(lambda: operator.events()["incidents"][0]["rollout_version"] == version)
    operator.say(f"critical_violation, database killed: last PPO answer {seconds:.2f} s after the trigger")
    return seconds


def test_model_is_activated_under_load(operator: Operator) -> None:
    """Another policy serves, and then the first one again: no request fails and no replica is replaced."""
    operator.climb()
    activate_under_load(operator)


def activate_under_load(operator: Operator) -> None:
    """There and back again."""
    published = read_manifest(PUBLISHED_MODEL).model_id
    candidate = _candidate(operator.service.folder / "data" / "models")
    registered = operator.client.post("/v1/models", json={"folder": candidate})
    assert (registered.status_code, registered.json()["model_id"]) == (201, "candidate@1"), registered.text
    replicas = set(operator.service.replicas("PPOPolicy"))
    with watched(operator) as watch:
        for model_id in ("candidate@1", published):
            found = operator.client.post(
                f"/v1/models/{model_id}/activate", json={"reason": "system test", "force": True}
            )
            assert (found.status_code, found.json()["stage"]) == (200, "full"), found.text
            assert eventually(lambda: _models(operator) == {model_id})  # noqa: B023
    assert watch.failures == []
    assert replicas <= set(operator.service.replicas("PPOPolicy")), "a replica was replaced"
    operator.say(f"two activations under load: {watch.answers} requests answered, {len(watch.failures)} failed")


def test_windows_lead_from_shadow_to_full(tmp_path: Path) -> None:
    """Day after day, by a clock that is set ahead: each promotion opens when the windows have shown it.

    A service of its own: what earlier tests have stored of these two policies would count.
    """
    with operated(tmp_path) as operator:
        climb_by_windows(operator)


def climb_by_windows(operator: Operator) -> None:
    """A policy that nobody knows yet, beside planners who lose half of each day."""
    candidate = _candidate(operator.service.folder / "data" / "models")
    assert operator.client.post("/v1/models", json={"folder": candidate}).status_code == 201
    begun = operator.client.post(
        "/v1/models/candidate@1/activate", json={"reason": "system test", "champion": "manual"}
    )
    assert (begun.status_code, begun.json()["stage"]) == (200, "shadow"), begun.text
    operator.heard("shadow")
    days = 0
    for stage in ("limited", "expanded", "full"):
        refused = operator.order("promote")
        assert (refused.status_code, "the verdict is HOLD" in refused.json()["detail"]) == (409, True), refused.text
        while operator.rollout()["gate"]["verdict"] == "HOLD" and days < MAX_DAYS:
            days += 1
            _play_a_day(operator, days)
        promoted = operator.order("promote")
        assert promoted.status_code == 200, promoted.text
        assert promoted.json()["stage"] == stage
        operator.say(f"to {stage} after {days} days, by what their windows have shown")
        operator.heard(stage)
    assert operator.rollout()["gate"]["verdict"] == "COMPLETE"
    transitions = operator.events()["transitions"][:3]
    assert [row["evidence"].get("is_forced", False) for row in transitions] == [False] * 3


def test_equal_challenger_ends_futile(tmp_path: Path) -> None:
    """Two months of plans that are as long as the rule's: nobody gets it to full, by force neither.

    A service of its own: what earlier tests have stored of these two policies would count.
    """
    with operated(tmp_path) as operator:
        end_futile(operator)


def end_futile(operator: Operator) -> None:
    """The published policy beside the rule, on a list with one job."""
    assert eventually(lambda: bool(operator.rollout()))
    # Every router must know the stage; what they are asked for is the list of the first day.
    assert eventually(lambda: all(_stage_of(operator, _day_sent(1)) == "shadow" for _ in range(8)))
    days = 0
    while operator.rollout()["gate"]["verdict"] == "HOLD" and days < MAX_DAYS:
        days += 1
        _play_a_day(operator, days, is_planned=False)
    gate = operator.rollout()["gate"]
    assert gate["verdict"] == "FUTILE", gate
    operator.say(f"futile after {days} days: {'; '.join(gate['reasons'])}")
    refused = operator.order("promote")
    assert (refused.status_code, "FUTILE" in refused.json()["detail"]) == (409, True), refused.text
    for stage in ("limited", "expanded"):
        forced = operator.order("promote", force=True)
        assert (forced.status_code, forced.json().get("stage")) == (200, stage), forced.text
    refused = operator.order("promote", force=True)
    assert refused.status_code == 409, refused.text
    assert operator.rollout()["stage"] == "expanded"
    operator.say(f"forced to expanded, and not to full: {refused.json()['detail']}")


def _play_a_day(operator: Operator, day: int, *, is_planned: bool = True) -> None:
    """One list, both arms on it, and the night."""
    schedule_id = operator.post(_day_sent(day, is_planned=is_planned))["schedule_id"]
    # The process that computes the other arm has the lowest priority, and has to start on the first day.
    assert eventually(lambda: operator.arms_of(schedule_id) == {"manual", "ppo"}, 300), operator.arms_of(schedule_id)
    (operator.service.folder / "data" / "rollout" / DAYS_AHEAD).write_text(str(day))
    # The controller looks at its clock once a second.
    time.sleep(1.5)


def _day_sent(day: int, *, is_planned: bool = False) -> dict[str, Any]:
    """The list of a day; `is_planned`: with the planners' own plan, who begin in the evening."""
    at = datetime.now(UTC) + timedelta(days=day - 1)
    own = [{"job_id": "A", "machine_id": 42, "start_datetime": at.strftime("%Y-%m-%dT20:00:00")}]
    planned = {"manual_schedule": own} if is_planned else {}
    return body(jobs=[job("A", processing_time=2.0)], schedule_start=at.strftime("%Y-%m-%dT08:00:00"), **planned)


def _stage_of(operator: Operator, sent: dict[str, Any]) -> str:
    return str(operator.post(sent)["decision"]["stage"])


def _models(operator: Operator) -> set[str | None]:
    return {operator.post(request())["decision"]["model"] for _ in range(8)}


def _candidate(folder: Path) -> str:
    """The published policy under another name, so under another id and hash."""
    copy = folder / "candidate"
    shutil.copytree(PUBLISHED_MODEL, copy, dirs_exist_ok=True)
    manifest = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    changed = json.dumps(manifest | {"name": "candidate", "version": 1})
    (copy / MANIFEST_FILE).write_text(changed, encoding="utf-8")
    return copy.name


def main() -> int:
    """Everything, printed."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gantry-drill-") as folder, operated(Path(folder)) as operator:
        walk(operator, plants())
        seconds += [drill(operator, name) for name in TRIGGERS]
        seconds += [drill_without_controller(operator, name, signal.SIGKILL) for name in (*TRIGGERS, None)]
        seconds += [drill_without_controller(operator, name, signal.SIGSTOP) for name in ("crash_rate", None)]
        if operator.server is not None:
            seconds.append(drill_without_database(operator))
        operator.climb()
        activate_under_load(operator)
    with tempfile.TemporaryDirectory(prefix="gantry-windows-") as folder, operated(Path(folder)) as operator:
        climb_by_windows(operator)
    with tempfile.TemporaryDirectory(prefix="gantry-futile-") as folder, operated(Path(folder)) as operator:
        end_futile(operator)
    late = [each for each in seconds if each > PROMISED_SECONDS]
    print(f"{len(seconds)} drills, the slowest {max(seconds):.2f} s, {len(late)} above {PROMISED_SECONDS:g} s")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
