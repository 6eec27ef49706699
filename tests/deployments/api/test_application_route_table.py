"""Every route x every scope x no key, wrong, mistyped, expired, revoked and foreign keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.access import ALL_SCOPES, Client, Scope, StoredKey
from deployments.access.key_ring import NewKey, new_key
from deployments.api import Services, create_api
from tests.deployments.api.calls import call
from tests.deployments.api.route_table import ROWS, Row, guarded_routes, markdown
from tests.deployments.fakes import NOW, FixedKeys, MemoryJournal, body, services_over

SECURITY_PAGE = Path(__file__).parents[3] / "docs" / "SECURITY.md"
ALL_CLIENTS = frozenset({Scope.READ_ALL_CLIENTS})
STRANGERS = ("none", "empty", "nobody's", "mistyped", "half", "expired", "revoked", "digest of a good one")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A service with one decision of the client "ours" for the plant "penang", and keys of all kinds."""

    services: Services
    decision_id: str
    keys: Mapping[str, str | None]

    async def ask(self, row: Row, key: str) -> int:
        """The status that the holder of `key` is answered."""
        path = row.template
        for name in ("{schedule_id}", "{other_id}"):
            path = path.replace(name, self.decision_id)
        path = path.replace("{plant_id}", "penang").replace("{file}", "plan.csv")
        text = self.keys[key]
        headers = {} if text is None else {"X-API-Key": text}
        sent: dict[str, Any] = {} if row.json is None else {"json": row.json}
        answer = await call(row.method, path, services=self.services, headers=headers, **sent)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert text is None or not text or text not in answer.text
        return answer.status_code


async def world() -> World:
    """A new one."""
    made: dict[str, NewKey] = {}

    def stored(name: str, client: str, scopes: frozenset[Scope], **changes: Any) -> StoredKey:
        made[name] = new_key()
        plants = changes.pop("plants", None)
        owner = Client(name=client, scopes=scopes, plants=plants, key_id=made[name].key_id, key_name=name)
        return StoredKey(digest=made[name].digest, client=owner, **changes)

    keys = [stored(scope.value, "ours", frozenset({scope})) for scope in Scope]
    keys.append(stored("foreign", "theirs", ALL_SCOPES))
    keys.append(stored("reports", "theirs", frozenset({Scope.READ, Scope.READ_ALL_CLIENTS})))
    keys.append(stored("reports of another plant", "theirs", ALL_SCOPES | ALL_CLIENTS, plants=frozenset({"kulim"})))
    keys.append(stored("everything", "theirs", ALL_SCOPES | ALL_CLIENTS))
    keys.append(stored("other plant", "ours", ALL_SCOPES, plants=frozenset({"kulim"})))
    keys.append(stored("expired", "ours", ALL_SCOPES, expires_at=NOW - timedelta(seconds=1)))
    stored("revoked", "ours", ALL_SCOPES)
    services = services_over(access=FixedKeys(keys, clock=lambda: NOW), journal=MemoryJournal())
    texts: dict[str, str | None] = {name: key.text for name, key in made.items()}
    good = made["schedule"].text
    texts |= {"none": None, "empty": "", "nobody's": new_key().text, "half": good[:40]}
    texts |= {
        "mistyped": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "digest of a good one": made["schedule"].digest.hex(),
    }
    asked = body(plant_id="penang")
    answer = await call("POST", "/schedule", services=services, headers={"X-API-Key": good}, json=asked)
    return World(services=services, decision_id=answer.json()["schedule_id"], keys=texts)


def _named(row: Row) -> str:
    return row.name


def test_every_route_has_a_row() -> None:
    """Whoever adds a route says who may ask it: one line in ROWS of tests/deployments/api/route_table.py."""
    assert guarded_routes(create_api(services_over)) == {row.name for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=_named)
@pytest.mark.parametrize("key", STRANGERS)
async def test_stranger_is_not_let_in(row: Row, key: str) -> None:
    """Whatever is wrong with the key, the answer is 401, before anything else is looked at."""
    assert await (await world()).ask(row, key) == (row.ok if row.scopes is None else 401)


@pytest.mark.parametrize("row", ROWS, ids=_named)
@pytest.mark.parametrize("scope", Scope)
async def test_key_opens_what_its_scope_says(row: Row, scope: Scope) -> None:
    """A key with one of the route's scopes is served, and any other known key is answered 403."""
    is_allowed = row.scopes is None or scope in row.scopes
    assert await (await world()).ask(row, scope.value) == (row.ok if is_allowed else 403)


@pytest.mark.parametrize("row", [row for row in ROWS if row.scopes is not None], ids=_named)
async def test_other_client_finds_nothing_of_ours(row: Row) -> None:
    """Another client's key with every scope does not see that our decision exists."""
    assert await (await world()).ask(row, "foreign") == row.foreign


@pytest.mark.parametrize("row", [row for row in ROWS if row.scopes is not None], ids=_named)
async def test_key_across_clients_reads_and_does_no_more(row: Row) -> None:
    """What a key of ours with `read` gets; nothing of another plant; and no rating of what another client asked for."""
    here, is_read = await world(), Scope.READ in (row.scopes or ())
    assert await here.ask(row, "reports") == (row.ok if is_read else 403)
    assert await here.ask(row, "reports of another plant") == row.other_plant
    assert await here.ask(row, "everything") == (row.ok if is_read else row.foreign)


async def test_list_across_clients_says_whose_each_decision_is() -> None:
    """A list of one client has none of another, and need not say so."""
    here = await world()
    for key, clients in (("reports", ["ours"]), ("foreign", []), ("read", [None])):
        headers = {"X-API-Key": here.keys[key] or ""}
        answer = await call("GET", "/v1/schedules", services=here.services, headers=headers)
        assert [each.get("client") for each in answer.json()["schedules"]] == clients


@pytest.mark.parametrize("row", [row for row in ROWS if row.scopes is not None], ids=_named)
async def test_key_for_another_plant_is_kept_apart(row: Row) -> None:
    """A key of our own client for another plant may not name this one, and does not see what was decided for it."""
    assert await (await world()).ask(row, "other plant") == row.other_plant


async def test_lists_show_a_key_only_its_own() -> None:
    """Where a stranger gets 200, there is nothing of ours in the answer."""
    ours = await world()
    for key in ("foreign", "other plant"):
        headers = {"X-API-Key": ours.keys[key] or ""}
        page = await call("GET", "/v1/schedules", services=ours.services, headers=headers)
        assert page.json() == {"schedules": [], "next_cursor": None}
    page = await call("GET", "/v1/schedules", services=ours.services, headers={"X-API-Key": ours.keys["read"] or ""})
    assert [each["schedule_id"] for each in page.json()["schedules"]] == [ours.decision_id]


def test_table_stands_in_the_documentation() -> None:
    """docs/SECURITY.md shows it; if not: python -m tests.deployments.api.route_table."""
    assert markdown() in SECURITY_PAGE.read_text(encoding="utf-8")
