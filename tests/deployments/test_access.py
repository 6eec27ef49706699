"""API keys: who is let in, and for what."""

from __future__ import annotations

import pytest

from deployments.access import ALL_SCOPES, Client, KeyRing, Scope, StoredKey, key_digest
from deployments.errors import Forbidden, Unauthenticated

READER = Client(name="dashboard", scopes=frozenset({Scope.READ}))


def test_single_key_belongs_to_the_default_client() -> None:
    """The one key of the settings may do everything, as the client "default"."""
    client = KeyRing.of_single_key("secret").authenticate("secret")
    assert client == Client(name="default", scopes=ALL_SCOPES)


@pytest.mark.parametrize("key", [None, "", "Secret", "secret ", "sécret", "\udcff"])
def test_missing_or_wrong_key_is_refused(key: str | None) -> None:
    """Only the exact key opens; an absent one, another case, a blank more or bytes that are no text do not."""
    with pytest.raises(Unauthenticated, match="X-API-Key must carry"):
        KeyRing.of_single_key("secret").authenticate(key)


def test_refusal_does_not_repeat_the_key() -> None:
    """A mistyped key does not end up in an answer or a log."""
    with pytest.raises(Unauthenticated) as caught:
        KeyRing.of_single_key("secret").authenticate("almost-secret")
    assert "almost-secret" not in str(caught.value)


def test_key_ring_tells_its_clients_apart() -> None:
    """Each key leads to its own holder."""
    ring = KeyRing([StoredKey(digest=key_digest("a"), client=READER)])
    assert ring.authenticate("a") is READER


def test_client_needs_one_of_the_scopes() -> None:
    """Any of the wanted scopes suffices; without all of them the error names what was missing."""
    READER.require(Scope.SCHEDULE, Scope.READ)
    with pytest.raises(Forbidden, match="must have the scope operate or admin, had read"):
        READER.require(Scope.OPERATE, Scope.ADMIN)
