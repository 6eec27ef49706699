"""API keys: who is let in, and for what."""

from __future__ import annotations

import pytest

from deployments.access import ALL_SCOPES, Client, KeyRing, Scope, StoredKey, key_digest
from deployments.errors import Forbidden, Unauthenticated
from tests.deployments.fakes import single_key

READER = Client(name="dashboard", scopes=frozenset({Scope.READ}))


def test_single_key_belongs_to_the_default_client() -> None:
    """The one key of the settings may do everything, as the client "default"."""
    client = single_key("secret").authenticate("secret")
    assert client == Client(name="default", scopes=ALL_SCOPES)
    assert client.actor == "default"


@pytest.mark.parametrize("key", [None, "", "Secret", "secret ", "sécret", "\udcff"])
def test_missing_or_wrong_key_is_refused(key: str | None) -> None:
    """Only the exact key opens; an absent one, another case, a blank more or bytes that are no text do not."""
    with pytest.raises(Unauthenticated, match="X-API-Key must carry"):
        single_key("secret").authenticate(key)


def test_refusal_does_not_repeat_the_key() -> None:
    """A mistyped key does not end up in an answer or a log."""
    with pytest.raises(Unauthenticated) as caught:
        single_key("secret").authenticate("almost-secret")
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


def test_client_sees_and_names_only_its_plants() -> None:
    """A plant that is not the key's gets one answer, whether it exists or not; without a list there is no bound."""
    bound = Client(name="erp", scopes=frozenset({Scope.READ}), plants=frozenset({"penang"}))
    bound.require_plant("penang")
    with pytest.raises(Forbidden, match="the key is not for plant 'kulim'"):
        bound.require_plant("kulim")
    assert (bound.may_see("penang"), bound.may_see("kulim"), bound.may_see(None)) == (True, False, False)
    assert READER.may_see("kulim")
    assert READER.may_see(None)


def test_client_without_plants_sees_none() -> None:
    """An empty list of plants is not a missing one."""
    assert not Client(name="erp", scopes=ALL_SCOPES, plants=frozenset()).may_see("penang")


def test_actor_is_the_key_that_was_used() -> None:
    """An audit trail names the key by its name."""
    assert Client(name="erp", scopes=ALL_SCOPES, key_id="0" * 12, key_name="erp night run").actor == "erp night run"
