"""What operators, monitors and browsers ask: probes, pages, keys, the rollout, its models and the audit trail."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from tests.system.recording.plants import one_job, shop
from tests.system.recording.request import Holder, Request, get, post, schedule, taken
from tests.system.recording.schedules import CANDIDATE

_ACTIVATION = "/v1/models/{model_id}/activate"
_REASON = {"reason": "recorded"}
_WRONG = {"X-API-Key": "wrong"}


def probes() -> tuple[Request, ...]:
    """What needs no key."""
    nobody: dict[str, Any] = {"holder": Holder.NOBODY}
    origin = {"Origin": "https://planner.example"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    static = ("docs.js", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "nothing.js")
    return (
        get("livez", "/livez", **nobody),
        get("readyz", "/readyz", **nobody),
        get("health", "/health", until=lambda health: health["status"] == "healthy", **nobody),
        get("livez with an id", "/livez", headers={"X-Request-ID": "abc-123"}, **nobody),
        get("livez of another origin", "/livez", headers=origin, **nobody),
        get("metrics", "/metrics", **nobody),
        get("documentation", "/docs", **nobody),
        get("OpenAPI document", "/openapi.json", **nobody),
        *(get(f"static file {name}", f"/static/{name}", **nobody) for name in static),
        get("unknown path", "/nothing", **nobody),
        get("root", "/", **nobody),
        get("unknown file of the console", "/console/nothing.js", **nobody),
        get("names of demo data", "/v1/demo-data", **nobody),
        get("demo data", "/v1/demo-data/{name}", places={"name": "plant-170"}, **nobody),
        get("unknown demo data", "/v1/demo-data/{name}", places={"name": "nothing"}, **nobody),
        Request(name="sign out", method="DELETE", route="/v1/session", **nobody),
        get("trailing slash", "/v1/schedules/"),
        Request(name="HEAD of livez", method="HEAD", route="/livez", **nobody),
        Request(name="HEAD of a list", method="HEAD", route="/v1/schedules"),
        Request(name="DELETE of a list", method="DELETE", route="/v1/schedules"),
        Request(name="PUT of a schedule", method="PUT", route="/schedule", body=one_job()),
        Request(name="PATCH of the rollout", method="PATCH", route="/v1/rollout", body={}),
        get("GET of a schedule", "/schedule"),
        get("GET of an order", "/v1/rollout/promote"),
        Request(name="preflight", method="OPTIONS", route="/schedule", headers=origin | preflight, **nobody),
        Request(
            name="preflight of a stranger's origin",
            method="OPTIONS",
            route="/schedule",
            headers=preflight | {"Origin": "https://evil.example"},
            **nobody,
        ),
        Request(name="OPTIONS without an origin", method="OPTIONS", route="/schedule", **nobody),
    )


def initial_state() -> tuple[Request, ...]:
    """What everything is like before anything was asked for."""
    return (
        get("rollout at first", "/v1/rollout"),
        get("events at first", "/v1/rollout/events", until=lambda found: bool(found["transitions"])),
        get("report at first", "/v1/rollout/report"),
        get("report page at first", "/v1/rollout/report", query={"format": "html"}),
        get("models at first", "/v1/models"),
        get("empty list of decisions", "/v1/schedules"),
    )


def access_checks() -> tuple[Request, ...]:
    """Every route without a key, with a wrong one, and with one that may not."""
    return (*_without_key(), *_without_scope(), *_without_plant())


def _without_key() -> Iterator[Request]:
    order, places = {"reason": "x"}, {"schedule_id": "x", "other_id": "x", "model_id": "x"}
    routes: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/schedule", one_job()),
        ("POST", "/v1/schedules", one_job()),
        ("POST", "/v1/validate", {}),
        ("GET", "/v1/schedules", None),
        ("GET", "/v1/schedules/{schedule_id}", None),
        ("GET", "/v1/schedules/{schedule_id}/explanation", None),
        ("GET", "/v1/schedules/{schedule_id}/compare/{other_id}", None),
        ("POST", "/v1/schedules/{schedule_id}/feedback", {"rating": 1}),
        ("GET", "/v1/rollout", None),
        ("GET", "/v1/rollout/events", None),
        ("GET", "/v1/rollout/report", None),
        ("POST", "/v1/rollout/promote", order),
        ("POST", "/v1/rollout/pause", order),
        ("POST", "/v1/rollout/resume", order),
        ("POST", "/v1/rollout/rollback", order),
        ("GET", "/v1/models", None),
        ("POST", "/v1/models", {"folder": "x"}),
        ("POST", _ACTIVATION, order),
        ("GET", "/v1/audit", None),
        ("GET", "/v1/session", None),
    )
    for method, route, body in routes:
        yield Request(
            name=f"without a key: {method} {route}",
            method=method,
            route=route,
            places=places,
            body=body,
            holder=Holder.NOBODY,
        )
    yield schedule("wrong key", one_job(), headers=_WRONG, holder=Holder.NOBODY)
    yield schedule("empty key of a client", one_job(), headers={"X-API-Key": ""}, holder=Holder.NOBODY)
    yield schedule("no key and no JSON", None, content=b"{", holder=Holder.NOBODY)
    bearer = {"Authorization": "Bearer wrong"}
    yield get("wrong kind of key", "/v1/schedules", headers=bearer, holder=Holder.NOBODY)


def _without_scope() -> Iterator[Request]:
    reader: dict[str, Any] = {"holder": Holder.READER}
    yield get("reader asks who it is", "/v1/session", **reader)
    yield post("session with a wrong key", "/v1/session", headers=_WRONG, holder=Holder.NOBODY)
    yield get("session that nobody began", "/v1/session", headers={"Cookie": "gantry_session=x"}, holder=Holder.NOBODY)
    yield schedule("reader schedules", one_job(), **reader)
    yield get("reader looks at the rollout", "/v1/rollout", **reader)
    yield get("reader looks at events", "/v1/rollout/events", **reader)
    yield get("reader looks at the report", "/v1/rollout/report", **reader)
    yield get("reader looks at models", "/v1/models", **reader)
    yield get("reader looks at the audit trail", "/v1/audit", **reader)
    for order in ("promote", "pause", "resume", "rollback"):
        yield post(f"reader orders {order}", f"/v1/rollout/{order}", _REASON, **reader)
    yield post("reader registers a model", "/v1/models", {"folder": "x"}, **reader)
    yield post("reader activates a model", _ACTIVATION, _REASON, places={"model_id": CANDIDATE}, **reader)
    responder: dict[str, Any] = {"holder": Holder.RESPONDER}
    yield get("responder reads decisions", "/v1/schedules", **responder)
    yield post("responder promotes", "/v1/rollout/promote", _REASON, **responder)
    yield schedule("planner forces an arm", shop(plant_id="penang", arm="ppo"), holder=Holder.PLANNER)
    yield schedule("planner names a unit", shop(plant_id="penang", experiment_unit="u"), holder=Holder.PLANNER)


def _without_plant() -> Iterator[Request]:
    planner: dict[str, Any] = {"holder": Holder.PLANNER}
    yield schedule("planner schedules the default plant", shop(), **planner)
    yield schedule("planner schedules another plant", shop(plant_id="ipoh"), **planner)
    earlier = {"previous_schedule_id": taken("shop"), "freeze_until": "2025-07-22T09:00:00"}
    yield schedule("planner continues another plant", shop(plant_id="penang") | earlier, **planner)
    parent = {"parent_schedule_id": taken("shop")}
    yield schedule("planner copies another plant", shop(plant_id="penang") | parent, **planner)


def orders() -> tuple[Request, ...]:
    """The rollout from full to rolled back and up again, with every order that is refused on the way."""
    return (*_refused_orders(), *_ramp(), *_models())


def _order(name: str, order: str, body: Any = None, **fields: Any) -> Request:
    return post(name, f"/v1/rollout/{order}", _REASON if body is None else body, **fields)


def _refused_orders() -> Iterator[Request]:
    bodies: dict[str, Any] = {
        "no reason": {},
        "empty reason": {"reason": ""},
        "blank reason": {"reason": " "},
        "reason is a number": {"reason": 1},
        "unknown field": _REASON | {"colour": "blue"},
        "version in words": _REASON | {"expected_version": "1"},
        "negative version": _REASON | {"expected_version": -1},
        "list": [],
    }
    for name, body in bodies.items():
        yield _order(f"promote: {name}", "promote", body)
    yield _order("promote: force in words", "promote", _REASON | {"force": "yes"})
    for order in ("promote", "pause", "resume", "rollback"):
        yield post(f"{order}: no JSON", f"/v1/rollout/{order}", content=b"{")
    for order in ("pause", "resume", "rollback"):
        yield _order(f"{order}: no reason", order, {})
    for order in ("promote", "pause", "resume"):
        yield _order(f"{order}: stale version", order, _REASON | {"expected_version": 7})


def _ramp() -> Iterator[Request]:
    yield _compared("longest key")
    yield get("rollout when full", "/v1/rollout", is_settled=True)
    yield get("report when full", "/v1/rollout/report")
    yield get("report page when full", "/v1/rollout/report", query={"format": "html"})
    yield _order("promote from full", "promote")
    yield _order("promote from full by force", "promote", _REASON | {"force": True})
    yield _order("resume what is not paused", "resume")
    yield _order("pause", "pause", _REASON | {"expected_version": 1})
    yield schedule("schedule while paused", shop(experiment_unit="paused"))
    yield _order("pause again", "pause")
    yield _order("promote while paused", "promote")
    yield _compared("schedule while paused")
    yield get("rollout while paused", "/v1/rollout", is_settled=True)
    yield _order("resume", "resume")
    yield _order("rollback by the responder", "rollback", holder=Holder.RESPONDER)
    yield _order("rollback again, at a stale version", "rollback", _REASON | {"expected_version": 1, "force": True})
    yield schedule("schedule after the rollback", shop(experiment_unit="rolled back"))
    yield schedule("forced policy after the rollback", shop(arm="ppo"))
    yield _order("pause after the rollback", "pause")
    yield _order("resume after the rollback", "resume")
    yield get("rollout after the rollback", "/v1/rollout", is_settled=True)
    yield get("health after the rollback", "/health")
    yield _order("promote after the rollback", "promote")
    yield _order("promote from shadow", "promote")
    yield schedule("schedule in shadow", shop(experiment_unit="shadow"))
    yield _compared("schedule in shadow")
    yield get("rollout in shadow", "/v1/rollout", is_settled=True)
    for stage in ("limited", "expanded"):
        yield _order(f"promote to {stage} by force", "promote", _REASON | {"force": True})
        for number in range(1, 7):
            yield schedule(f"schedule {number} when {stage}", shop(experiment_unit=f"{stage} {number}"))
        yield _compared(f"schedule 6 when {stage}")
        yield get(f"rollout when {stage}", "/v1/rollout", is_settled=True)


def _compared(name: str) -> Request:
    """The decision of that name, once the other arm has been computed, and with it all that waited before."""
    places = {"schedule_id": taken(name)}
    return get(f"decision: {name}, of both arms", "/v1/schedules/{schedule_id}", places=places, until=has_both_arms)


def has_both_arms(decision: Any) -> bool:
    """Whether the arm that did not serve has been computed as well."""
    return len(decision["evaluations"]) == 2


def _models() -> Iterator[Request]:
    activate: dict[str, Any] = {"route": _ACTIVATION, "places": {"model_id": CANDIDATE}}
    folders: dict[str, Any] = {
        "no folder": {},
        "path": {"folder": "../models"},
        "empty folder": {"folder": ""},
        "missing folder": {"folder": "nothing-here"},
        "unknown field": {"folder": "candidate", "colour": "blue"},
    }
    for name, body in folders.items():
        yield post(f"model: {name}", "/v1/models", body)
    yield post("model: no JSON", "/v1/models", content=b"{")
    yield post("activation of an unknown model", body=_REASON, **activate)
    yield schedule("arm of an unknown model", shop(arm=CANDIDATE))
    yield post("model: registered", "/v1/models", {"folder": "candidate"})
    yield post("model: registered again", "/v1/models", {"folder": "candidate"})
    yield get("models with a candidate", "/v1/models")
    yield schedule("arm of a registered model", shop(arm=CANDIDATE))
    yield post("activation without a reason", body={}, **activate)
    yield post("activation: no JSON", content=b"{", **activate)
    yield post("activation of an unknown champion", body=_REASON | {"champion": "oracle@1"}, **activate)
    yield post("activation at a stale version", body=_REASON | {"expected_version": 1}, **activate)
    yield post("activation beside the rule by force", body=_REASON | {"champion": "manual", "force": True}, **activate)
    yield schedule("schedule by the candidate", shop(experiment_unit="candidate"))
    yield _compared("schedule by the candidate")
    yield get("rollout of the candidate", "/v1/rollout", is_settled=True)
    yield post("activation again", body=_REASON, **activate)
    yield get("models with another challenger", "/v1/models")
    published = {"champion": taken("models at first", "models.0.model_id")}
    yield post("activation of a duel", body=_REASON | published, **activate)
    yield schedule("schedule in a duel", shop(experiment_unit="duel"))
    yield _compared("schedule in a duel")
    yield get("rollout of a duel", "/v1/rollout", is_settled=True)


def final_state() -> tuple[Request, ...]:
    """What everything has become."""
    return (
        get("events at last", "/v1/rollout/events", query={"limit": "200"}, is_settled=True),
        get("one event", "/v1/rollout/events", query={"limit": "1"}),
        get("events with a limit of 201", "/v1/rollout/events", query={"limit": "201"}),
        get("report at last", "/v1/rollout/report"),
        get("report of a week", "/v1/rollout/report", query={"days": "7"}),
        get("report page of a week", "/v1/rollout/report", query={"format": "html", "days": "7"}),
        get("report of no days", "/v1/rollout/report", query={"days": "0"}),
        get("report in another format", "/v1/rollout/report", query={"format": "pdf"}),
        get("audit trail", "/v1/audit", query={"limit": "100"}, is_settled=True),
        get("first page of the audit trail", "/v1/audit", query={"limit": "2"}),
        get(
            "second page of the audit trail",
            "/v1/audit",
            query={"limit": "2", "cursor": taken("first page of the audit trail", "next_cursor")},
        ),
        get("audit trail with a bad cursor", "/v1/audit", query={"cursor": "x"}),
        get("audit trail with a limit of 0", "/v1/audit", query={"limit": "0"}),
    )


def limits(rate: int) -> tuple[Request, ...]:
    """Bodies that are too large or too slow, a key that is still busy, and one that asks more often than `rate`."""
    busy = {"Idempotency-Key": "busy"}
    slow = one_job(jobs=shop()["jobs"], machines=shop()["machines"], time_budget_ms=4000, arm="ppo")
    running = schedule("still running", slow, headers=busy, holder=Holder.OPERATOR)
    return (
        schedule("body of 33 MiB", None, content=b" " * (33 * 2**20)),
        schedule("body of 33 MiB in chunks", None, content=_large),
        post("order of 33 MiB", "/v1/rollout/pause", content=b" " * (33 * 2**20)),
        schedule("body that does not end", None, content=_endless),
        schedule("key that is still busy", slow, headers=busy, beside=running),
        get("reader who asks too often", "/v1/schedules", query={"limit": "1"}, holder=Holder.READER, repeats=rate + 1),
    )


def _large() -> Iterable[bytes]:
    return (b" " * 2**20 for _ in range(33))


def _endless() -> Iterator[bytes]:
    """The beginning of a body, and then nothing for longer than the service of the recording waits."""
    yield b'{"jobs": '
    time.sleep(6)
    yield b"[]}"


def faults() -> tuple[Request, ...]:
    """The policy fails as the name of the request asks for: the planner's rule serves, and the answer says why."""
    return tuple(
        schedule(f"faulty policy: {fault}", shop(request_id=f"{fault}-1", arm="ppo"))
        for fault in ("crash", "incomplete", "early", "late")
    )
