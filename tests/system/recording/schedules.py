"""Requests that are scheduled: every feature under both arms, plans that continue others, plant data, idempotency."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.system.recording.features import CORE, FEATURES
from tests.system.recording.plants import Body, all_features, all_features_before, job, machine, one_job, shop
from tests.system.recording.request import Holder, Request, get, post, schedule, taken

PENANG = "penang"
"""The plant whose machines, pending jobs and calendar are in the database."""
CANDIDATE = "candidate@1"
"""A registered model: the published policy under another name."""


def schedules() -> tuple[Request, ...]:
    """All of them, in order; every one is answered by a schedule."""
    return (
        *_under_both_arms(),
        *_beyond_the_schema(),
        *_chosen_arms(),
        *_continued(),
        *_from_the_database(),
        *_of_others(),
    )


def _under_both_arms() -> Iterator[Request]:
    for name, body in FEATURES.items():
        yield schedule(name, body)
        yield schedule(f"{name}, by the planner's rule", body | {"arm": "manual"})


def _beyond_the_schema() -> Iterator[Request]:
    """Fields that nobody knows, and what the way of sending makes no difference to."""
    strange = {"colour": "blue", "jobs": [job("J1", shade=1), job("J2", shade=2)], "calendar": {"moon": "full"}}
    yield post("core request to the versioned path", "/v1/schedules", CORE)
    yield schedule("unknown fields", one_job() | strange)
    yield schedule("sixty unknown fields", one_job(**{f"unknown_{number:02}": number for number in range(60)}))
    yield schedule("no request id", {name: value for name, value in CORE.items() if name != "request_id"})
    yield schedule("decision without its payload", shop(save_to_database=False))
    yield schedule("plant and line", shop(plant_id="ipoh", line_id="line 7"))
    yield schedule("same line again", shop(plant_id="ipoh", line_id="line 7", schedule_start="2025-07-23T08:00:00"))
    yield schedule("own experiment unit", shop(experiment_unit="unit-1"))
    text = json.dumps(one_job())
    yield schedule("no content type", None, content=text.encode())
    yield schedule("text for a content type", None, content=text.encode(), headers={"Content-Type": "text/plain"})
    yield schedule("the same field twice", None, content=text.replace("{", '{"time_budget_ms": 7, ', 1).encode())
    packed = gzip.compress(text.encode(), mtime=0)
    yield schedule("compressed body", None, content=packed, headers={"Content-Encoding": "gzip"})
    yield schedule("by the letter", one_job(), headers={"Prefer": "handling=strict"})
    yield schedule("own request id in a header", one_job(), headers={"X-Request-ID": "trace-4711"})
    yield schedule("request id that is refused", one_job(), headers={"X-Request-ID": "two words"})
    yield schedule("browser of another origin", one_job(), headers={"Origin": "https://planner.example"})
    yield schedule("browser of a stranger's origin", one_job(), headers={"Origin": "https://evil.example"})


def _chosen_arms() -> Iterator[Request]:
    yield schedule("forced policy", shop(arm="ppo"))
    yield schedule("forced policy beside a planner's own plan", FEATURES["a planner's own plan"] | {"arm": "ppo"})
    unbounded = {name: value for name, value in shop(arm="manual").items() if name != "time_budget_ms"}
    yield schedule("default time budget for the rule", unbounded)
    # Refused until 0.2.0: now it is cut, and the rule spends none of it.
    yield schedule("time budget beyond the limit", unbounded | {"time_budget_ms": 60_001})


def _continued() -> Iterator[Request]:
    """What-if copies and replans of decisions that were made before."""
    parent = {"parent_schedule_id": taken("shop")}
    yield schedule("what-if with a third saw", _with_a_third_saw() | parent)
    yield schedule("what-if for tardiness", shop(optimization_objective="tardiness") | parent)
    frozen = {"previous_schedule_id": taken("shop"), "freeze_until": "2025-07-22T11:00:00"}
    yield schedule("replan before anything has begun", shop() | frozen)
    later = shop(schedule_start="2025-07-22T11:00:00") | frozen
    yield schedule("replan of running work", later)
    yield schedule("replan of running work by the planner's rule", later | {"arm": "manual"})
    yield schedule("replan that may move everything", later | {"stability_weight": 0})
    yield schedule("replan that may move nothing", later | {"stability_weight": 100})
    without = [each for each in later["jobs"] if each["job_id"] != "D"]
    yield schedule("replan without a job", later | {"jobs": without})
    yield schedule("replan with a rush job", later | {"jobs": [*later["jobs"], job("RUSH", 0.5, (2,), priority=1)]})
    yield schedule("replan after a breakdown", _broken_down(later))
    yield schedule("replan of the replan", later | {"previous_schedule_id": taken("replan of running work")})
    frozen_whole = later | {"freeze_until": "2025-08-01T00:00:00"}
    yield schedule("replan with everything frozen", frozen_whole)
    yield schedule("plant with every feature, an hour before", all_features_before())
    again = {"previous_schedule_id": taken("plant with every feature, an hour before")}
    yield schedule("plant with every feature", all_features() | again)
    yield schedule("plant with every feature, by the planner's rule", all_features(arm="manual") | again)
    yield schedule("plant with every feature for tardiness", all_features(optimization_objective="tardiness") | again)


def _with_a_third_saw() -> Body:
    body = shop()
    return body | {"machines": [*body["machines"], machine(6, "Saw 3", 1)]}


def _broken_down(body: Body) -> Body:
    broken = {1: {"status": "offline"}, 2: {"status": "available"}}
    machines = [each | broken.get(each["machine_id"], {}) for each in body["machines"]]
    return body | {"machines": machines}


def _from_the_database() -> Iterator[Request]:
    """What the request leaves out is read from the plant's own data."""
    own = {"plant_id": PENANG, "schedule_start": "2030-07-22T08:00:00", "time_budget_ms": 0}
    yield schedule("everything from the database", own | {"jobs": []})
    yield schedule("everything from the database, by the planner's rule", own | {"jobs": [], "arm": "manual"})
    yield schedule("machines from the database", own | {"jobs": [job("J1"), job("J2", 2.0, (2,))]})
    yield schedule("machines from the database, asked for by null", own | {"jobs": [job("J1")], "machines": None})
    four = [machine(number, f"Own {number}", 1 + number % 2) for number in range(1, 5)]
    yield schedule("jobs from the database", own | {"jobs": [], "machines": four})
    yield schedule("calendar of the request for stored plants", own | {"jobs": [], "calendar": {"breaks": []}})


def _of_others() -> Iterator[Request]:
    """Keys that may do less than everything."""
    yield schedule("planner's own plant", shop(plant_id=PENANG), holder=Holder.PLANNER)
    yield schedule("another client's shop", shop(), holder=Holder.STRANGER)


def idempotent_requests() -> tuple[Request, ...]:
    """Keys that are claimed, replayed and refused."""
    body, other = one_job(request_id="once"), one_job(request_id="twice")
    return (
        _keyed("claimed key", "key-1", body),
        _keyed("replayed key", "key-1", body),
        post("replayed key on the other path", "/v1/schedules", body, headers={"Idempotency-Key": "key-1"}),
        _keyed("key of another request", "key-1", other),
        _keyed("same key of another client", "key-1", other, holder=Holder.STRANGER),
        _keyed("claimed key without payload", "key-2", one_job(save_to_database=False)),
        _keyed("replayed key without payload", "key-2", one_job(save_to_database=False)),
        _keyed("claimed key of an infeasible request", "key-3", one_job(machines=[])),
        _keyed("claimed key of an invalid request", "key-4", one_job(time_budget_ms=-1)),
        _keyed("replayed key of an invalid request", "key-4", one_job(time_budget_ms=-1)),
        _keyed("claimed key of what cannot be scheduled", "key-5", one_job(jobs=[job("J1", kinds=(9,))])),
        _keyed("replayed key of what cannot be scheduled", "key-5", one_job(jobs=[job("J1", kinds=(9,))])),
        _keyed("claimed key of no JSON", "key-6", None, content=b"{"),
        _keyed("replayed key of no JSON", "key-6", None, content=b"{"),
        _keyed("key in words", "order 4711 / line 7", body),
        _keyed("empty key", "", body),
        _keyed("key with a tab", "a\tb", body),
        _keyed("longest key", "k" * 255, body),
        _keyed("key that is too long", "k" * 256, body),
    )


def _keyed(name: str, key: str, body: Any, **fields: Any) -> Request:
    return schedule(name, body, headers={"Idempotency-Key": key}, **fields)


def unattended_requests() -> tuple[Request, ...]:
    """A plan that nobody waits for: taken, asked for until it is there, told of, and ended when it has ended."""
    run = {"schedule_id": taken("plan that nobody waits for")}
    path, later = "/v1/schedules/{schedule_id}", {"Prefer": "respond-async"}
    return (
        post("plan that nobody waits for", "/v1/schedules", one_job(request_id="later"), headers=later),
        get("plan that nobody waited for", path, places=run, until=lambda found: found["state"] == "done"),
        # Its decision can be read a moment before its row says that it has ended.
        get("its progress when it is there", f"{path}/progress", places=run, is_settled=True),
        Request(name="its end when it has ended", method="DELETE", route=path, places=run),
        Request(name="its end by a stranger", method="DELETE", route=path, places=run, holder=Holder.STRANGER),
        post("invalid plan that nobody waits for", "/v1/schedules", one_job(machines=[]), headers=later),
    )
