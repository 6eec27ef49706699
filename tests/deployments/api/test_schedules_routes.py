"""The routes on their good days: scheduling, validating, reading back, probing."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.access import Client, Scope, StoredKey, key_digest
from deployments.api import Services, create_api
from tests.deployments.api.calls import call
from tests.deployments.fakes import (
    FixedKeys,
    KnownHealth,
    MemoryJournal,
    body,
    health_report,
    job,
    scheduling_over,
    services_over,
)


def _ring(**scopes: set[Scope]) -> FixedKeys:
    clients = [Client(name=name, scopes=frozenset(held)) for name, held in scopes.items()]
    return FixedKeys(StoredKey(digest=key_digest(client.name), client=client) for client in clients)


@pytest.mark.parametrize("path", ["/schedule", "/v1/schedules"])
async def test_schedule_answers_the_whole_contract(path: str) -> None:
    """Both paths answer a complete schedule with exactly the documented members."""
    response = await call("POST", path, json=body(request_id="erp-4711"))
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert set(answer) == {
        "schedule_id",
        "request_id",
        "scheduled_jobs",
        "metrics",
        "generation_time",
        "algorithm_used",
        "timestamp",
        "optimization_objective",
        "zone",
        "calendar_used",
        "warnings",
        "decision",
        "safety",
    }
    assert answer["scheduled_jobs"] == [
        {
            "job_id": "JOAW001",
            "machine_id": 42,
            "machine_name": "CM42",
            "start_time": 0.0,
            "end_time": 2.8,
            "start_datetime": "2025-07-22T14:00:00+08:00",
            "end_datetime": "2025-07-22T16:48:00+08:00",
            "setup_time_included": 0.3,
            "working_hours": 2.8,
        }
    ]
    assert (answer["optimization_objective"], answer["zone"]) == ("makespan", "Asia/Kuala_Lumpur")
    assert (answer["calendar_used"]["source"], answer["calendar_used"]["week"]) == ("none", "Mon-Sun 00:00-24:00")
    assert (answer["algorithm_used"], answer["safety"]["valid"]) == ("ppo", True)


async def test_answer_is_what_was_journalled() -> None:
    """The client receives the very bytes that are kept."""
    journal = MemoryJournal()
    response = await call("POST", "/schedule", services=services_over(journal=journal), json=body())
    assert journal.records[0].answer == response.content
    assert journal.records[0].client == "default"


async def test_large_body_is_scheduled_too() -> None:
    """A body that is read in a thread is answered like any other."""
    jobs = [job(f"J{index}") for index in range(1000)]
    response = await call("POST", "/schedule", json=body(jobs=jobs))
    assert response.json()["metrics"]["scheduled_jobs"] == 1000


async def test_unknown_fields_are_warned_of() -> None:
    """What is ignored is said in the answer."""
    response = await call("POST", "/schedule", json=body(colour="red"))
    assert response.json()["warnings"] == [
        "unknown field colour was ignored",
    ]


async def test_our_own_answer_validates() -> None:
    """What POST /schedule answers, POST /v1/validate accepts unchanged."""
    services = services_over()
    answer = (await call("POST", "/schedule", services=services, json=body())).json()
    document = {"request": body(), "scheduled_jobs": answer["scheduled_jobs"]}
    verdict = (await call("POST", "/v1/validate", services=services, json=document)).json()
    assert (verdict["valid"], verdict["violations"], verdict["safety_score"]) == (True, [], 100.0)
    assert verdict["metrics"] == answer["metrics"]
    assert verdict["warnings"] == []


async def test_wrong_schedule_is_judged_not_refused() -> None:
    """A schedule that leaves a job out is answered 200 with the violation."""
    response = await call("POST", "/v1/validate", json={"request": body(), "scheduled_jobs": []})
    verdict = response.json()
    assert (response.status_code, verdict["valid"]) == (200, False)
    assert [(each["code"], each["job_id"]) for each in verdict["violations"]] == [("missing_operation", "JOAW001")]


async def test_decision_can_be_read_back() -> None:
    """A decision shows its figures by arm, its assignment and both bodies."""
    services = services_over()
    answer = (await call("POST", "/schedule", services=services, json=body())).json()
    detail = (await call("GET", f"/v1/schedules/{answer['schedule_id']}", services=services)).json()
    assert (detail["request"], detail["answer"]) == (body(), answer)
    assert detail["arms"]["ppo"]["makespan"] == 2.8
    assert detail["arms"]["manual"] is None
    assert detail["assignment"]["unit"] == "penang//2025-07-22"
    assert detail["generation_time"] == answer["generation_time"]


async def test_decision_without_payload_shows_none() -> None:
    """A decision whose payload was not to be kept shows its figures alone."""
    services = services_over()
    answer = (await call("POST", "/schedule", services=services, json=body(save_to_database=False))).json()
    detail = (await call("GET", f"/v1/schedules/{answer['schedule_id']}", services=services)).json()
    assert (detail["request"], detail["answer"], detail["metrics"]["makespan"]) == (None, None, 2.8)


async def test_decisions_come_in_pages_newest_first() -> None:
    """A cursor leads from page to page until there is none."""
    services = services_over()
    for _ in range(3):
        await call("POST", "/schedule", services=services, json=body())
    first = (await call("GET", "/v1/schedules?limit=2", services=services)).json()
    assert [each["schedule_id"] for each in first["schedules"]] == ["decision-3", "decision-2"]
    path = f"/v1/schedules?limit=2&cursor={first['next_cursor']}"
    last = (await call("GET", path, services=services)).json()
    assert ([each["schedule_id"] for each in last["schedules"]], last["next_cursor"]) == (["decision-1"], None)


async def test_decision_of_another_client_does_not_exist() -> None:
    """Somebody else's id answers 404, and somebody else's list is empty."""
    services = services_over(access=_ring(ours={Scope.SCHEDULE}, theirs={Scope.SCHEDULE}))
    ours, theirs = {"X-API-Key": "ours"}, {"X-API-Key": "theirs"}
    answer = (await call("POST", "/schedule", services=services, headers=ours, json=body())).json()
    path = f"/v1/schedules/{answer['schedule_id']}"
    assert (await call("GET", path, services=services, headers=ours)).status_code == 200
    assert (await call("GET", path, services=services, headers=theirs)).status_code == 404
    assert (await call("GET", "/v1/schedules", services=services, headers=theirs)).json()["schedules"] == []


async def test_key_names_and_sees_only_its_plants() -> None:
    """Naming another plant answers 403; a decision of another plant does not exist for the key, in no route."""
    everywhere = Client(name="erp", scopes=frozenset({Scope.SCHEDULE}))
    bound = Client(name="erp", scopes=frozenset({Scope.SCHEDULE}), plants=frozenset({"kulim"}))
    stored = (("all", everywhere), ("kulim", bound))
    ring = FixedKeys(StoredKey(digest=key_digest(key), client=holder) for key, holder in stored)
    services = services_over(access=ring)
    free, tied = {"X-API-Key": "all"}, {"X-API-Key": "kulim"}
    foreign = (await call("POST", "/schedule", services=services, headers=free, json=body(plant_id="penang"))).json()
    own = (await call("POST", "/schedule", services=services, headers=tied, json=body(plant_id="kulim"))).json()
    for asked in ({"plant_id": "penang"}, {"plant_id": "nowhere"}, {}):
        refused = await call("POST", "/schedule", services=services, headers=tied, json=body(**asked))
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
        question = {"request": body(**asked), "scheduled_jobs": []}
        refused = await call("POST", "/v1/validate", services=services, headers=tied, json=question)
        assert refused.status_code == 403
    for field in ("parent_schedule_id", "previous_schedule_id"):
        named = body(plant_id="kulim", **{field: foreign["schedule_id"]})
        refused = await call("POST", "/schedule", services=services, headers=tied, json=named)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    path = f"/v1/schedules/{foreign['schedule_id']}"
    for suffix in ("", "/explanation", f"/compare/{own['schedule_id']}"):
        assert (await call("GET", path + suffix, services=services, headers=tied)).status_code == 404
        assert (await call("GET", path + suffix, services=services, headers=free)).status_code == 200
    page = (await call("GET", "/v1/schedules", services=services, headers=tied)).json()
    assert [each["schedule_id"] for each in page["schedules"]] == [own["schedule_id"]]


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/schedule", {"json": body()}),
        ("POST", "/v1/validate", {"json": {"request": body(), "scheduled_jobs": []}}),
        ("GET", "/v1/schedules", {}),
        ("GET", "/v1/schedules/decision-1", {}),
    ],
)
async def test_route_needs_its_scope(method: str, path: str, sent: dict[str, Any]) -> None:
    """A key that may only roll back reaches none of these routes."""
    services = services_over(access=_ring(pager={Scope.ROLLBACK}))
    response = await call(method, path, services=services, headers={"X-API-Key": "pager"}, **sent)
    assert (response.status_code, response.json()["error"]) == (403, "forbidden")


async def test_experiment_unit_needs_the_scope_operate() -> None:
    """Choosing one's own unit means choosing one's own arm, which schedulers may not."""
    services = services_over(access=_ring(erp={Scope.SCHEDULE}, operator={Scope.SCHEDULE, Scope.OPERATE}))
    request = body(experiment_unit="a")
    refused = await call("POST", "/schedule", services=services, headers={"X-API-Key": "erp"}, json=request)
    allowed = await call("POST", "/schedule", services=services, headers={"X-API-Key": "operator"}, json=request)
    assert (refused.status_code, allowed.status_code) == (403, 200)


async def test_health_tells_everything_without_a_key() -> None:
    """A healthy replica answers with version, surroundings and the newest schedule."""
    services = services_over()
    before = (await call("GET", "/health", services=services, headers={})).json()
    await call("POST", "/schedule", services=services, json=body())
    after = (await call("GET", "/health", services=services, headers={})).json()
    assert before["last_schedule_time"] is None
    assert after == before | {"last_schedule_time": "2025-07-22T06:00:00Z"}
    assert before | {"version": "1"} == {
        "status": "healthy",
        "version": "1",
        "model_loaded": True,
        "database_connected": True,
        "uptime": 12.5,
        "last_schedule_time": None,
        "environment": "development",
        "spool": {"records": 0, "bytes": 0, "oldest_seconds": 0.0},
        "rollout_stage": "full",
        "keys_age": None,
        "reasons": [],
    }


@pytest.mark.parametrize(
    ("changes", "status", "health_code", "ready_code"),
    [
        ({}, "healthy", 200, 200),
        ({"database_connected": False}, "degraded", 200, 200),
        ({"model_loaded": False}, "degraded", 200, 200),
        ({"model_awaited": True}, "degraded", 200, 503),
        ({"judge_reachable": False}, "unhealthy", 503, 503),
        ({"spool_has_room": False}, "unhealthy", 503, 503),
        ({"spool_works": False}, "unhealthy", 503, 503),
        ({"alarms": ("1 files of dead letters",)}, "degraded", 200, 200),
    ],
)
async def test_health_and_readiness_follow_what_is_missing(
    changes: dict[str, Any], status: str, health_code: int, ready_code: int
) -> None:
    """Without database or policy it is degraded, without judge or spool nothing can be served; a start waits."""
    services = services_over(health=KnownHealth(health_report(**changes)))
    health = await call("GET", "/health", services=services, headers={})
    ready = await call("GET", "/readyz", services=services, headers={})
    assert (health.json()["status"], health.status_code, ready.status_code) == (status, health_code, ready_code)
    assert len(health.json()["reasons"]) == len(changes)


async def test_livez_answers_whatever_else_is_missing() -> None:
    """Being alive needs nothing but the process."""
    services = services_over(health=KnownHealth(health_report(model_loaded=False)))
    response = await call("GET", "/livez", services=services, headers={})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_browser_of_a_listed_origin_may_call() -> None:
    """A listed origin passes the preflight; without a list there is no CORS at all."""
    asked = {"Origin": "https://plant.example", "Access-Control-Request-Method": "POST"}
    allowed = await call("OPTIONS", "/schedule", headers=asked, cors_origins=["https://plant.example"])
    other = await call("OPTIONS", "/schedule", headers=asked, cors_origins=["https://other.example"])
    assert allowed.headers["access-control-allow-origin"] == "https://plant.example"
    assert "access-control-allow-origin" not in other.headers


def test_api_can_be_created_before_its_services() -> None:
    """Nothing is asked of the services until a request comes."""

    def unbound() -> Any:
        raise AssertionError

    assert create_api(unbound).title == "Gantry"


async def test_health_names_the_stage_of_the_rollout() -> None:
    """The stage is the one that the router acts on."""
    services = services_over(scheduling=scheduling_over(share=0.5))
    assert (await call("GET", "/health", services=services)).json()["rollout_stage"] == "expanded"


async def _listed(services: Services, **query: str) -> Any:
    return await call("GET", "/v1/schedules", services=services, params=query)


async def test_lists_are_filtered() -> None:
    """By plant, line, request, arm, when it was made and whether any job is late; filters add up."""
    services = services_over()
    late = [job(lcd_date="2025-07-22T15:00:00")]
    wanted = {"one": {"line_id": "1"}, "two": {"plant_id": "ipoh"}, "three": {"jobs": late}, "four": {"arm": "manual"}}
    for name, changes in wanted.items():
        made = await call("POST", "/schedule", services=services, json=body(request_id=name, **changes))
        assert made.status_code == 200

    async def found(**query: str) -> list[str]:
        return [each["request_id"] for each in (await _listed(services, **query)).json()["schedules"]]

    assert await found(plant_id="ipoh") == ["two"]
    assert await found(line_id="1") == ["one"]
    assert await found(line_id="") == ["four", "three", "two"]
    assert await found(request_id="three") == ["three"]
    assert await found(arm="manual") == ["four"]
    assert await found(late="true") == ["three"]
    assert await found(late="false", plant_id="penang") == ["four", "one"]
    assert await found(**{"from": "2025-07-22T06:00:00"}) == ["four", "three", "two", "one"]
    assert await found(**{"from": "2025-07-22T06:00:01"}) == []
    assert await found(to="2025-07-22T14:00:00+08:00") == []
    assert await found(to="2025-07-22", limit="1") == ["four"]


@pytest.mark.parametrize(
    ("query", "field"),
    [({"late": "perhaps"}, "late"), ({"from": "yesterday"}, "from"), ({"to": "1753"}, "to"), ({"plant": "x"}, "plant")],
)
async def test_filter_that_cannot_be_meant_is_refused(query: dict[str, str], field: str) -> None:
    """A filter that was overlooked would show too much."""
    answer = await _listed(services_over(), **query)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
