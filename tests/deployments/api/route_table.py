"""Every route x whoever may ask it: what is answered to whom.

A new route needs one line in `ROWS`, else the test of this table fails. `python -m tests.deployments.api.route_table`
prints the table as docs/SECURITY.md shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route

from deployments.access import Scope
from deployments.api.application import ROUTERS
from tests.deployments.fakes import body

READERS = frozenset({Scope.READ, Scope.SCHEDULE})
SCHEDULERS = frozenset({Scope.SCHEDULE})
OPERATORS = frozenset({Scope.OPERATE})
BRAKES = frozenset({Scope.ROLLBACK, Scope.OPERATE})
ADMINISTRATORS = frozenset({Scope.ADMIN})
ANYBODY = frozenset(Scope)
# Pages and files that show nothing of anybody.
OPEN_PATHS = frozenset({"/", "/console/{name:path}", "/docs", "/openapi.json", "/static"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route. `{id}` in `path` and in `json` stands for a decision of the client "ours" for plant "penang".

    `scopes` are those of which one suffices, None: no key is needed. `ok` is the answer to such a key, `foreign`
    that to another client's key with every scope, `other_plant` that to a key of the same client and scopes
    for another plant.
    """

    method: str
    template: str
    scopes: frozenset[Scope] | None
    ok: int = 200
    foreign: int = 200
    other_plant: int = 200
    json: Any = field(default=None)

    @property
    def name(self) -> str:
        """The route as the table shows it."""
        return f"{self.method} {self.template}"

    @property
    def shown_scopes(self) -> str:
        """The scopes as the table shows them."""
        return "none" if self.scopes is None else "any" if self.scopes == ANYBODY else " or ".join(sorted(self.scopes))


def _about(method: str, template: str, scopes: frozenset[Scope], json: Any = None) -> Row:
    """A route about one decision: for everybody else the decision does not exist."""
    return Row(method=method, template=template, scopes=scopes, foreign=404, other_plant=404, json=json)


def _everywhere(method: str, template: str, status: int, json: Any) -> Row:
    """A route for operators about something that nobody has."""
    return Row(
        method=method, template=template, scopes=OPERATORS, ok=status, foreign=status, other_plant=status, json=json
    )


def _about_plant(method: str, template: str, scopes: frozenset[Scope]) -> Row:
    """A route about one plant: for whoever has no plan of it, or no key for it, there is none."""
    return Row(method=method, template=template, scopes=scopes, foreign=404, other_plant=404)


_ORDER = {"reason": "because"}
_RELEASE = {"reason": "because", "expected": None}
_QUESTION = {"request": body(plant_id="penang"), "scheduled_jobs": []}
ROWS = (
    Row(method="POST", template="/schedule", scopes=SCHEDULERS, other_plant=403, json=body(plant_id="penang")),
    Row(method="POST", template="/v1/schedules", scopes=SCHEDULERS, other_plant=403, json=body(plant_id="penang")),
    Row(method="POST", template="/v1/validate", scopes=SCHEDULERS, other_plant=403, json=_QUESTION),
    Row(method="GET", template="/v1/schedules", scopes=READERS),
    _about("GET", "/v1/schedules/{schedule_id}", READERS),
    Row(
        method="DELETE",
        template="/v1/schedules/{schedule_id}",
        scopes=SCHEDULERS,
        ok=404,
        foreign=404,
        other_plant=404,
    ),
    Row(
        method="GET",
        template="/v1/schedules/{schedule_id}/progress",
        scopes=READERS,
        ok=404,
        foreign=404,
        other_plant=404,
    ),
    _about("GET", "/v1/schedules/{schedule_id}/explanation", READERS),
    _about("GET", "/v1/schedules/{schedule_id}/compare/{other_id}", READERS),
    _about("POST", "/v1/schedules/{schedule_id}/feedback", SCHEDULERS, {"rating": 5}),
    _about("POST", "/v1/schedules/{schedule_id}/release", SCHEDULERS, _RELEASE),
    Row(
        method="DELETE",
        template="/v1/schedules/{schedule_id}/release",
        scopes=SCHEDULERS,
        ok=409,
        foreign=404,
        other_plant=404,
    ),
    *(
        _about("GET", f"/v1/schedules/{{schedule_id}}{ending}", READERS)
        for ending in ("/gantt.svg", "/gantt.html", ".csv", ".xlsx", ".ics", "/dispatch.csv", "/dispatch.html")
    ),
    _about_plant("GET", "/v1/plants/{plant_id}/plan", READERS),
    _about_plant("GET", "/v1/plants/{plant_id}/plan/{file}", READERS),
    Row(method="GET", template="/v1/plants/{plant_id}/releases", scopes=READERS, other_plant=404),
    Row(method="GET", template="/v1/rollout", scopes=OPERATORS),
    Row(method="POST", template="/v1/rollout/promote", scopes=OPERATORS, json=_ORDER),
    Row(method="POST", template="/v1/rollout/pause", scopes=OPERATORS, json=_ORDER),
    Row(method="POST", template="/v1/rollout/resume", scopes=OPERATORS, json=_ORDER),
    Row(method="POST", template="/v1/rollout/rollback", scopes=BRAKES, json=_ORDER),
    Row(method="GET", template="/v1/rollout/events", scopes=OPERATORS),
    Row(method="GET", template="/v1/rollout/report", scopes=OPERATORS),
    Row(method="GET", template="/v1/models", scopes=OPERATORS),
    _everywhere("POST", "/v1/models", 422, {"folder": "nothing"}),
    _everywhere("POST", "/v1/models/{model_id}/activate", 404, _ORDER),
    Row(method="GET", template="/v1/audit", scopes=ADMINISTRATORS),
    Row(method="GET", template="/v1/session", scopes=ANYBODY),
    Row(method="POST", template="/v1/session", scopes=ANYBODY),
    Row(method="DELETE", template="/v1/session", scopes=None, ok=204),
    Row(method="GET", template="/v1/demo-data", scopes=None),
    Row(method="GET", template="/v1/demo-data/{name}", scopes=None, ok=404),
    Row(method="GET", template="/health", scopes=None),
    Row(method="GET", template="/livez", scopes=None),
    Row(method="GET", template="/metrics", scopes=None),
    Row(method="GET", template="/readyz", scopes=None),
)


def guarded_routes(app: FastAPI) -> set[str]:
    """Every route of the app that is neither a page nor a file, as the table names it."""
    own = [route for route in app.routes if getattr(route, "original_router", None) not in ROUTERS]
    return {
        name for route in (*own, *chain.from_iterable(router.routes for router in ROUTERS)) for name in _names(route)
    }


def _names(route: BaseRoute) -> list[str]:
    path = getattr(route, "path", None)
    if path in OPEN_PATHS or not isinstance(route, Route):
        return [] if path in OPEN_PATHS else [f"? {path}"]
    return [f"{method} {path}" for method in sorted((route.methods or set()) - {"HEAD"})]


def markdown() -> str:
    """The table as it stands in docs/SECURITY.md."""
    lines = ["| route | scope | another client's key | a key for another plant |", "|---|---|---|---|"]
    for row in ROWS:
        others = ("-", "-") if row.scopes is None else (str(row.foreign), str(row.other_plant))
        lines.append(f"| {row.name} | {row.shown_scopes} | {' | '.join(others)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
