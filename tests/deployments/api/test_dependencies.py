"""What routes depend on: query parameters that would change nothing are refused."""

from __future__ import annotations

import pytest

from deployments.api.application import ROUTERS
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import body

V1 = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    for method in route.methods  # type: ignore[attr-defined]
    if route.path.startswith("/v1/")  # type: ignore[attr-defined]
)


@pytest.mark.parametrize(("method", "path"), V1)
async def test_unknown_query_parameter_of_any_versioned_route_is_refused(method: str, path: str) -> None:
    """Whatever the route: by name, before anything is read or done."""
    response = await call(method, path.replace("{", "").replace("}", ""), params={"coloour": "red"}, json={})
    assert response.status_code == 422, response.text
    ((fault),) = response.json()["errors"]
    assert fault["field"] == "coloour"
    assert fault["message"].startswith(f"is no query parameter of {method} {path}, which has ")


async def test_message_names_what_there_is() -> None:
    """With the one that may have been meant, and each only once."""
    errors = (await call("GET", "/v1/schedules?page_size=3&Limit=3&limt=4&limt=5")).json()["errors"]
    names = "cursor and limit and plant_id and line_id and request_id and arm and from and to and late"
    message = f"is no query parameter of GET /v1/schedules, which has {names}"
    assert [(error["field"], error["message"]) for error in errors] == [
        ("page_size", message),
        ("Limit", f"{message}; did you mean limit?"),
        ("limt", f"{message}; did you mean limit?"),
    ]


async def test_route_without_parameters_says_so() -> None:
    """There is nothing to list."""
    errors = (await call("GET", "/v1/models?limit=3")).json()["errors"]
    assert errors[0]["message"] == "is no query parameter of GET /v1/models, which has none"


async def test_stranger_is_told_nothing_about_parameters() -> None:
    """Who calls comes first."""
    response = await call("GET", "/v1/schedules?colour=red", headers={})
    assert response.status_code == 401


@pytest.mark.parametrize(("method", "path"), [("POST", "/schedule"), ("GET", "/health"), ("GET", "/livez")])
async def test_routes_without_a_version_ignore_parameters(method: str, path: str) -> None:
    """Existing clients and load balancers append what they like."""
    response = await call(method, path, params={"_": "1"}, json=body() if method == "POST" else None, headers=KEY)
    assert response.status_code == 200
