"""Signing in to the console: the cookie, its flags, the CSRF token, and how a session ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from http.cookies import SimpleCookie

import httpx
import pytest

from deployments.access import ALL_SCOPES, Client, Scope, StoredKey
from deployments.access.key_ring import SESSION_LIFETIME, RateLimiter, Sessions, new_key, rate_of
from deployments.api import Services
from deployments.settings.service import DEVELOPMENT_API_KEY, Environment, Settings
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, FixedKeys, MemoryJournal, body, development_settings, services_over

ROLLBACK = {"reason": "late orders"}
PRODUCTION_KEY = "k" * 40


def production_settings() -> Settings:
    """Settings that production takes."""
    return development_settings(
        environment=Environment.PRODUCTION,
        api_key=PRODUCTION_KEY,
        database_url="mariadb+pymysql://gantry:secret@127.0.0.1/gantry",
    )


class ChangingKeys(FixedKeys):
    """Keys of which any may be revoked."""

    revoked = False

    def authenticate(self, key: str | None) -> Client:
        """As any ring, without keys once they are revoked."""
        return FixedKeys([]).authenticate(key) if self.revoked else super().authenticate(key)


def keys_of(*scopes: Scope) -> tuple[ChangingKeys, Mapping[str, str]]:
    """A ring of one key, and the header with that key."""
    key = new_key()
    client = Client(name="plant", scopes=frozenset(scopes), key_id=key.key_id, key_name="night shift")
    return ChangingKeys([StoredKey(digest=key.digest, client=client)], clock=lambda: NOW), {"X-API-Key": key.text}


def cookie_of(answer: httpx.Response) -> str:
    """What the browser sends from now on."""
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return f"{cookie.key}={cookie.value}"


async def session(services: Services, headers: Mapping[str, str] = KEY) -> tuple[dict[str, str], str]:
    """Signs in: the header that the browser sends, and the CSRF token."""
    answer = await call("POST", "/v1/session", services=services, headers=headers)
    assert answer.status_code == 200, answer.text
    return {"Cookie": cookie_of(answer)}, answer.json()["csrf_token"]


async def test_cookie_is_out_of_reach_for_scripts_and_other_sites() -> None:
    """HttpOnly and SameSite=Strict, for as long as the session lasts; the key cannot be read in it."""
    answer = await call("POST", "/v1/session")
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "strict", "/", "")
    assert int(cookie["max-age"]) == SESSION_LIFETIME.total_seconds()
    assert DEVELOPMENT_API_KEY not in answer.headers["set-cookie"] + answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_cookie_is_secure_behind_tls() -> None:
    """Wherever TLS ends, here or at a proxy."""
    services = services_over()
    for headers in (KEY | {"X-Forwarded-Proto": "https"}, KEY | {"X-Forwarded-Proto": "HTTPS"}):
        answer = await call("POST", "/v1/session", services=services, headers=headers)
        assert "; Secure" in answer.headers["set-cookie"]


async def test_session_reads_as_its_key_does() -> None:
    """With the scopes of the key: what it may not do, the session may not."""
    keys, header = keys_of(Scope.READ)
    services = services_over(access=keys)
    cookie, _ = await session(services, header)
    assert (await call("GET", "/v1/schedules", services=services, headers=cookie)).status_code == 200
    assert (await call("GET", "/v1/rollout", services=services, headers=cookie)).status_code == 403
    who = (await call("GET", "/v1/session", services=services, headers=cookie)).json()
    assert (who["actor"], who["client"], who["scopes"]) == ("night shift", "plant", ["read"])
    assert who["expires_at"] == (NOW + SESSION_LIFETIME).isoformat().replace("+00:00", "Z")


async def test_change_needs_the_csrf_token() -> None:
    """Without it, with that of another session, or with none: 403, and nothing is done."""
    services = services_over()
    cookie, token = await session(services)
    _, other = await session(services)
    for headers in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x"},
        *([{"X-CSRF-Token": other}] if other != token else []),
    ):
        answer = await call("POST", "/v1/rollout/rollback", services=services, headers=cookie | headers, json=ROLLBACK)
        assert (answer.status_code, "X-CSRF-Token" in answer.json()["detail"]) == (403, True)
    assert services.rollout_client.rollbacks == []  # type: ignore[attr-defined]
    good = cookie | {"X-CSRF-Token": token}
    answer = await call("POST", "/v1/rollout/rollback", services=services, headers=good, json=ROLLBACK)
    assert answer.status_code == 200
    assert services.rollout_client.rollbacks == [("default", "late orders")]  # type: ignore[attr-defined]


async def test_token_can_be_asked_for_again() -> None:
    """A page that is loaded anew has lost it; a key in a header has none."""
    services = services_over()
    cookie, token = await session(services)
    again = (await call("GET", "/v1/session", services=services, headers=cookie)).json()
    assert again["csrf_token"] == token
    assert (await call("GET", "/v1/session", services=services)).json()["csrf_token"] is None


async def test_key_in_a_header_needs_no_token_whatever_cookie_comes_along() -> None:
    """Clients without a browser go on as they did."""
    headers = KEY | {"Cookie": "gantry_session=old"}
    assert (await call("POST", "/schedule", headers=headers, json=body())).status_code == 200
    assert (await call("GET", "/v1/session", headers=headers)).json()["expires_at"] is None


async def test_wrong_key_is_not_saved_by_a_cookie() -> None:
    """What the header says counts."""
    services = services_over()
    cookie, _ = await session(services)
    headers = cookie | {"X-API-Key": "wrong"}
    assert (await call("GET", "/v1/schedules", services=services, headers=headers)).status_code == 401


async def test_session_does_not_begin_another_one() -> None:
    """Without a key there is none to seal, whatever cookie and token come along."""
    keys, header = keys_of(*ALL_SCOPES)
    services = services_over(access=keys, settings=production_settings())
    cookie, token = await session(services, header)
    answer = await call("POST", "/v1/session", services=services, headers=cookie | {"X-CSRF-Token": token})
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)


async def test_revoked_key_ends_its_sessions() -> None:
    """At the next request."""
    keys, header = keys_of(Scope.READ)
    services = services_over(access=keys)
    cookie, _ = await session(services, header)
    keys.revoked = True
    assert (await call("GET", "/v1/schedules", services=services, headers=cookie)).status_code == 401


async def test_old_session_is_refused() -> None:
    """With a sentence that says what to do."""
    now = [NOW]

    def clock() -> datetime:
        return now[0]

    services = services_over(sessions=Sessions(["s"], clock=clock))
    cookie, _ = await session(services)
    now[0] = NOW + SESSION_LIFETIME + timedelta(seconds=1)
    answer = await call("GET", "/v1/schedules", services=services, headers=cookie)
    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "the session has ended, or is not of this service; sign in again",
    )


async def test_session_counts_against_the_rate_of_its_key() -> None:
    """By header or by cookie, it is the same key."""
    services = services_over(rates=RateLimiter(rate_of("2/minute")))
    cookie, _ = await session(services)
    assert (await call("GET", "/v1/schedules", services=services, headers=cookie)).status_code == 200
    assert (await call("GET", "/v1/schedules", services=services)).status_code == 429


async def test_signing_out_takes_the_cookie_back() -> None:
    """Also for whoever has none."""
    for headers in ({}, {"Cookie": "gantry_session=old"}):
        answer = await call("DELETE", "/v1/session", headers=headers)
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert (answer.status_code, cookie.value, cookie["max-age"], cookie["path"]) == (204, "", "0", "/")


async def test_developer_needs_no_key() -> None:
    """In development with the well-known key alone: a key of somebody's own opens nothing by itself."""
    assert (await call("POST", "/v1/session", headers={})).status_code == 200
    own = services_over(settings=development_settings(api_key=PRODUCTION_KEY))
    assert (await call("POST", "/v1/session", services=own, headers={})).status_code == 401
    production = services_over(settings=production_settings())
    assert (await call("POST", "/v1/session", services=production, headers={})).status_code == 401


@pytest.mark.parametrize("sent", [{}, {"json": {"key": "hidden"}}])
async def test_signing_in_is_audited_without_what_was_sent(sent: dict[str, object]) -> None:
    """Whoever puts the key into a body must not find it in the trail."""
    journal = MemoryJournal()
    keys, header = keys_of(*ALL_SCOPES)
    await call("POST", "/v1/session", services=services_over(journal=journal, access=keys), headers=header, **sent)
    (event,) = journal.others
    assert (event.actor, event.action, event.detail) == ("night shift", "sign_in", "signed in to the console")  # type: ignore[union-attr]


async def test_page_of_another_origin_cannot_use_the_cookie() -> None:
    """Its preflight does not allow the header that a change needs, and no answer allows credentials."""
    asked = {
        "Origin": "https://plant.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-CSRF-Token",
    }
    answer = await call("OPTIONS", "/v1/rollout/rollback", headers=asked, cors_origins=["https://plant.example"])
    assert answer.status_code == 400
    assert "access-control-allow-credentials" not in answer.headers


async def test_demo_data_are_ready_requests() -> None:
    """Each name stands for a request that can be sent as it is, without a key; in production there are none."""
    names = (await call("GET", "/v1/demo-data", headers={})).json()["names"]
    assert "plant-170" in names
    request = (await call("GET", "/v1/demo-data/plant-170", headers={})).json()
    assert len(request["jobs"]) == 170
    production = services_over(settings=production_settings())
    for path in ("/v1/demo-data", "/v1/demo-data/plant-170", "/v1/demo-data/nothing"):
        assert (await call("GET", path, services=production)).status_code == 404
