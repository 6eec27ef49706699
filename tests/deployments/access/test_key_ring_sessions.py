"""A session is a key that only the service can read, for a time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from deployments.access.key_ring import SESSION_LIFETIME, SessionContents, Sessions, new_key, require_csrf
from deployments.errors import Forbidden, Unauthenticated
from tests.deployments.fakes import NOW

SECRET = ["gantry-api-key", "mariadb+pymysql://gantry:secret@db/gantry"]


def sessions(*, secret: list[str] = SECRET, at: datetime = NOW) -> Sessions:
    """Those of one router at one moment."""
    return Sessions(secret, clock=lambda: at)


def test_any_router_opens_what_another_one_sealed() -> None:
    """Nothing is stored: the same secret is enough, also after a restart."""
    key = new_key().text
    sealed = sessions().seal(key)
    contents = sessions(at=NOW + timedelta(hours=11)).contents(sealed)
    assert contents.key == key
    assert contents.expires_at == NOW + SESSION_LIFETIME


def test_key_cannot_be_read_in_the_cookie() -> None:
    """Neither the key nor its secret part stands in what is sealed, nor in how the contents show themselves."""
    key = new_key().text
    sealed = sessions().seal(key)
    assert key not in sealed
    assert key.split("_")[2] not in sealed
    assert key not in repr(sessions().contents(sealed))


@pytest.mark.parametrize("spoiled", ["", "x", "gAAAAABh", "\udce4", "é" * 50])
def test_what_was_not_sealed_here_is_refused(spoiled: str) -> None:
    """Whatever a browser may send."""
    with pytest.raises(Unauthenticated, match="sign in again"):
        sessions().contents(spoiled)


def test_changed_cookie_is_refused() -> None:
    """Each letter counts."""
    sealed = sessions().seal("key")
    for index in range(0, len(sealed), 7):
        changed = sealed[:index] + ("A" if sealed[index] != "A" else "B") + sealed[index + 1 :]
        with pytest.raises(Unauthenticated):
            sessions().contents(changed)


@pytest.mark.parametrize("secret", [[], ["other", SECRET[1]], SECRET[:1], ["".join(SECRET)], SECRET[::-1]])
def test_other_secret_opens_nothing(secret: list[str]) -> None:
    """Where the parts of the secret meet matters, too."""
    with pytest.raises(Unauthenticated):
        sessions(secret=secret).contents(sessions().seal("key"))


def test_session_ends() -> None:
    """After its lifetime, to the second."""
    sealed = sessions().seal("key")
    assert sessions(at=NOW + SESSION_LIFETIME).contents(sealed).key == "key"
    with pytest.raises(Unauthenticated, match="has ended"):
        sessions(at=NOW + SESSION_LIFETIME + timedelta(seconds=1)).contents(sealed)


def test_csrf_token_belongs_to_one_session() -> None:
    """The token of another session, of nobody, or in other letters is refused."""
    mine, other = (sessions().contents(sessions().seal("key")) for _ in range(2))
    require_csrf(mine, mine.csrf_token)
    for given in (None, "", other.csrf_token, mine.csrf_token.upper(), "\udce4"):
        with pytest.raises(Forbidden, match="X-CSRF-Token"):
            require_csrf(mine, given)


def test_contents_are_shown_without_the_key() -> None:
    """A traceback may quote them."""
    assert "'***'" in repr(SessionContents(key="secret", csrf_token="t", expires_at=NOW))
    assert "secret" not in repr(SessionContents(key="secret", csrf_token="t", expires_at=NOW))
