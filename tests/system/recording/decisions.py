"""What is asked about decisions that were made: judging, listing, reading, explaining, comparing, and feedback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.system.recording.operations import has_both_arms
from tests.system.recording.plants import START, Body, one_job, shipped, shop
from tests.system.recording.request import Holder, Request, Taken, get, post, schedule, taken
from tests.system.recording.schedules import PENANG

_ONE = "/v1/schedules/{schedule_id}"
_EXPLANATION = f"{_ONE}/explanation"
_COMPARISON = f"{_ONE}/compare/{{other_id}}"
_FEEDBACK = f"{_ONE}/feedback"
_STABLE_FILES = ("/gantt.svg", "/gantt.html", ".csv", "/dispatch.csv", "/dispatch.html")
# A workbook and a calendar say when they were made, and by which id.
_STAMPED_FILES = (".xlsx", ".ics")
_NOBODYS_ID = "00000000-0000-7000-8000-000000000000"


def validations() -> tuple[Request, ...]:
    """Schedules of anybody, held against a request."""
    row = {"job_id": "J1", "machine_id": 1, "start_time": 0.0, "end_time": 1.3}
    dated = {"start_datetime": START, "end_datetime": "2025-07-22T09:18:00"}
    judged: dict[str, Any] = {
        "right row": [row],
        "right row with datetimes": [row | dated],
        "row with everything that an answer has": [
            row | dated | {"machine_ids": [1], "machine_name": "Saw", "setup_time_included": 0.3, "colour": "blue"}
        ],
        "no rows": [],
        "row that is too short": [row | {"end_time": 1.0}],
        "row that is too early": [row | {"start_time": -1.0, "end_time": 0.3}],
        "row that is late": [row | {"start_time": 30.0, "end_time": 31.3}],
        "row on an unknown machine": [row | {"machine_id": 9}],
        "row of an unknown job": [row, row | {"job_id": "J9"}],
        "row twice": [row, row],
        "datetimes that disagree": [row | dated | {"end_datetime": "2025-07-22T09:18:02"}],
        "machines that disagree": [row | {"machine_ids": [1, 2]}],
        "row in a break": [row | {"start_time": 5.0, "end_time": 6.3}],
        "rows are null": None,
        "row without a machine": [{"job_id": "J1", "start_time": 0.0, "end_time": 1.3}],
        "row beyond all time": [row | {"end_time": 1e8}],
        "too many rows": [{}] * 40_001,
    }
    return (
        *(_judged(name, one_job(), rows) for name, rows in judged.items()),
        _judged("own answer", shop(), taken("shop", "scheduled_jobs")),
        _judged(
            "own answer to another question", shop(machines={1: {"current_load": 4}}), taken("shop", "scheduled_jobs")
        ),
        _judged("own answer of 170 jobs", shipped(), taken("shipped plant of 170 jobs", "scheduled_jobs")),
        _judged("stored plant", {"jobs": [], "plant_id": PENANG, "schedule_start": "2030-07-22T08:00:00"}, []),
        _judged("infeasible request", one_job(machines=[]), [row]),
        _judged("too many jobs", one_job(jobs=[{}] * 20_001), [row]),
        post("judged: no request", "/v1/validate", {"scheduled_jobs": []}),
        post("judged: no JSON", "/v1/validate", content=b"?"),
        post("judged: by a reader", "/v1/validate", {}, holder=Holder.READER),
        post("judged: for a plant of others", "/v1/validate", _pair(shop(), []), holder=Holder.PLANNER),
    )


def _pair(request: Body, rows: Any) -> Body:
    return {"request": request, "scheduled_jobs": rows}


def _judged(name: str, request: Body, rows: Any) -> Request:
    return post(f"judged: {name}", "/v1/validate", _pair(request, rows))


def readings() -> tuple[Request, ...]:
    """Lists, single decisions, explanations and comparisons."""
    return (*_lists(), *_details(), *_explanations(), *_comparisons())


def _lists() -> Iterator[Request]:
    newest = "planner's own plant"
    yield get("list of decisions", "/v1/schedules", stored=newest)
    yield get("first page of decisions", "/v1/schedules", query={"limit": "3"})
    cursor = taken("first page of decisions", "next_cursor")
    yield get("second page of decisions", "/v1/schedules", query={"limit": "3", "cursor": cursor})
    yield get("longest page of decisions", "/v1/schedules", query={"limit": "100"})
    yield get("list for a reader", "/v1/schedules", query={"limit": "2"}, holder=Holder.READER)
    yield get("list for a planner of one plant", "/v1/schedules", holder=Holder.PLANNER)
    yield get("list for another client", "/v1/schedules", stored="another client's shop", holder=Holder.STRANGER)
    for limit in ("0", "101", "many", ""):
        yield get(f"list with a limit of {limit or 'nothing'}", "/v1/schedules", query={"limit": limit})
    for cursor_text in ("x", "%ff", "c" * 501):
        yield get(f"list with a cursor of {len(cursor_text)}", "/v1/schedules", query={"cursor": cursor_text})
    yield get("list with an unknown parameter", "/v1/schedules", query={"limit": "1", "colour": "blue"})


def _details() -> Iterator[Request]:
    names = (
        "core request, by the planner's rule",
        "forced policy",
        "replan of running work by the planner's rule",
        "everything from the database, by the planner's rule",
    )
    for name in names:
        yield _about(f"decision: {name}", _ONE, taken(name))
    bare = "decision without its payload"
    yield _about(f"decision: {bare}", _ONE, taken(bare), until=has_both_arms)
    yield _about("decision: one job, of both arms", _ONE, taken("one job"), until=has_both_arms)
    yield _about("decision: shop, of both arms", _ONE, taken("shop"), until=has_both_arms)
    yield _about("decision: own experiment unit, of both arms", _ONE, taken("own experiment unit"), until=has_both_arms)
    yield _about("decision for a reader", _ONE, taken("one job, by the planner's rule"), holder=Holder.READER)
    yield _about(
        "decision for a planner", _ONE, taken("planner's own plant"), holder=Holder.PLANNER, until=has_both_arms
    )
    yield _about("decision of another plant", _ONE, taken("one job"), holder=Holder.PLANNER)
    yield _about("decision of another client", _ONE, taken("one job"), holder=Holder.STRANGER)
    for schedule_id in (_NOBODYS_ID, "nobody", "n" * 200, "%00", "é"):
        yield _about(f"decision of no id, {len(schedule_id)} {schedule_id[0]}", _ONE, schedule_id)


def _explanations() -> Iterator[Request]:
    names = (
        "core request",
        "shop",
        "shop for tardiness, by the planner's rule",
        "due dates that cannot be met",
        "due dates before the start",
        "generated shop of ten families",
        "colours",
        "replan of running work",
        "plant with every feature",
        "machines from the database",
    )
    for name in names:
        yield _about(f"explanation: {name}", _EXPLANATION, taken(name))
    yield _about("explanation for a reader", _EXPLANATION, taken("shop"), holder=Holder.READER)
    yield _about("explanation without payload", _EXPLANATION, taken("decision without its payload"))
    yield _about("explanation for another client", _EXPLANATION, taken("shop"), holder=Holder.STRANGER)
    yield _about("explanation of nobody", _EXPLANATION, _NOBODYS_ID)


def _comparisons() -> Iterator[Request]:
    pairs = {
        "with itself": ("shop", "shop"),
        "with its what-if": ("shop", "what-if with a third saw"),
        "with its replan": ("shop", "replan of running work"),
        "with a job less": ("shop", "replan without a job"),
        "with a job more": ("shop", "replan with a rush job"),
        "of both arms": ("generated shop of ten families", "generated shop of ten families, by the planner's rule"),
        "of two plants": ("shop", "colours"),
        "without payload": ("shop", "decision without its payload"),
        "with another client's": ("shop", "another client's shop"),
    }
    for name, (one, other) in pairs.items():
        places = {"schedule_id": taken(one), "other_id": taken(other)}
        yield get(f"comparison {name}", _COMPARISON, places=places)
    yield get("comparison with nobody", _COMPARISON, places={"schedule_id": taken("shop"), "other_id": "nobody"})
    yield get("comparison of nobody", _COMPARISON, places={"schedule_id": "nobody", "other_id": taken("shop")})


def plans() -> tuple[Request, ...]:
    """Which plan is in force, who releases one and takes it back, and lists by filters."""
    plan, releases, release = "/v1/plants/{plant_id}/plan", "/v1/plants/{plant_id}/releases", f"{_ONE}/release"
    plant = {"plant_id": "released plant"}
    first, second = ({"schedule_id": taken(name)} for name in ("plan to release", "newer plan"))
    because = {"reason": "agreed with the floor", "expected": None}
    filters = {
        "plant": plant,
        "request": {"request_id": "erp-4711"},
        "arm": {"arm": "manual", "limit": "2"},
        "lateness": {"late": "true", "limit": "2"},
        "time": {"from": "2000-01-01", "to": "2000-01-02"},
    }
    return (
        get("plan of a plant without any", plan, places=plant),
        schedule("plan to release", shop(plant_id=plant["plant_id"])),
        schedule("newer plan", shop(plant_id=plant["plant_id"], optimization_objective="makespan")),
        get(
            "plan that is not released",
            plan,
            places=plant,
            stored="newer plan",
            until=lambda answer: has_both_arms(answer["schedule"]),
        ),
        post("release: without a reason", release, because | {"reason": " "}, places=first),
        post("release: without what is expected", release, {"reason": "x"}, places=first),
        post("release: no JSON", release, content=b"?", places=first),
        post("release: of nobody", release, because, places={"schedule_id": "nobody"}),
        post("release: by a reader", release, because, places=first, holder=Holder.READER),
        post("release: by another client", release, because, places=first, holder=Holder.STRANGER),
        post("release", release, because, places=first),
        post("release: over another plan", release, because, places=second),
        get("plan that is released", plan, places=plant),
        get("plan for another client", plan, places=plant, holder=Holder.STRANGER),
        *(get(f"file {ending}", f"{_ONE}{ending}", places=first) for ending in (*_STABLE_FILES, *_STAMPED_FILES)),
        get("file of one machine", f"{_ONE}/dispatch.csv", places=first, query={"machine_id": "1"}),
        get("file of a machine that is none", f"{_ONE}/dispatch.csv", places=first, query={"machine_id": "99"}),
        get("file of nobody", f"{_ONE}.csv", places={"schedule_id": "nobody"}),
        get("file of the plan", f"{plan}/{{file}}", places=plant | {"file": "dispatch.html"}),
        get("file of the plan that is none", f"{plan}/{{file}}", places=plant | {"file": "plan.pdf"}),
        get("plan of a line without any", plan, places=plant, query={"line_id": "7"}),
        post("release: next", release, because | {"expected": taken("plan to release")}, places=second),
        Request(name="undone release", method="DELETE", route=release, places=second, query={"reason": "wrong one"}),
        Request(name="release undone twice", method="DELETE", route=release, places=second),
        get("releases", releases, places=plant),
        get("first page of releases", releases, places=plant, query={"limit": "1"}),
        get("releases for another client", releases, places=plant, holder=Holder.STRANGER),
        get("releases with a wrong cursor", releases, places=plant, query={"cursor": "x"}),
        *(get(f"list by {name}", "/v1/schedules", query=query) for name, query in filters.items()),
        get("list by a day that is none", "/v1/schedules", query={"from": "yesterday"}),
    )


def _about(name: str, route: str, schedule_id: str | Taken, **fields: Any) -> Request:
    return get(name, route, places={"schedule_id": schedule_id}, **fields)


def feedbacks() -> tuple[Request, ...]:
    """What planners and the shop floor say, and what of it is refused."""
    done = {"job_id": "A1", "completed_at": "2025-07-22T11:00:00"}
    given: dict[str, Any] = {
        "rating": {"rating": 4},
        "comment": {"comment": "Zu spät, aber gut."},
        "completions": {"actual_completions": [done, {"job_id": "D", "completed_at": "2025-07-22T15:00:00+08:00"}]},
        "everything": {"rating": 5.0, "comment": "fine", "actual_completions": [done]},
        "nothing": {},
        "empty comment": {"comment": ""},
        "rating of zero": {"rating": 0},
        "rating of six": {"rating": 6},
        "half a rating": {"rating": 2.5},
        "rating in words": {"rating": "good"},
        "comment that is too long": {"comment": "x" * 1001},
        "unknown field": {"rating": 3, "colour": "blue"},
        "job of another schedule": {"actual_completions": [done | {"job_id": "J9"}]},
        "job twice": {"actual_completions": [done, done]},
        "year 1960": {"actual_completions": [done | {"completed_at": "1960-01-01T00:00:00"}]},
        "completion without a job": {"actual_completions": [{"completed_at": "2025-07-22T11:00:00"}]},
        "list": [],
    }
    shop_id = {"schedule_id": taken("shop")}
    unkept = {"schedule_id": taken("decision without its payload")}
    return (
        *(post(f"feedback: {name}", _FEEDBACK, body, places=shop_id) for name, body in given.items()),
        post("feedback: without payload", _FEEDBACK, {"actual_completions": [done]}, places=unkept),
        post("feedback: no JSON", _FEEDBACK, content=b"", places=shop_id),
        post("feedback: on nobody", _FEEDBACK, {"rating": 1}, places={"schedule_id": "nobody"}),
        post("feedback: by a reader", _FEEDBACK, {"rating": 1}, places=shop_id, holder=Holder.READER),
        post("feedback: by another client", _FEEDBACK, {"rating": 1}, places=shop_id, holder=Holder.STRANGER),
    )
