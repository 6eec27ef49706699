"""The keys that are valid now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deployments.access import Client, KeyRing, Scope, StoredKey
from deployments.access.key_ring import new_key
from deployments.errors import Unauthenticated

NOW = datetime(2025, 7, 22, tzinfo=UTC)
ERP = Client(name="erp", scopes=frozenset({Scope.SCHEDULE}))


def test_two_keys_of_one_client_open_at_once() -> None:
    """While a key is being rotated, the old one and the new one lead to the same client."""
    old, new = new_key(), new_key()
    ring = KeyRing(StoredKey(digest=key.digest, client=ERP) for key in (old, new))
    assert ring.authenticate(old.text) is ring.authenticate(new.text) is ERP


@pytest.mark.parametrize(("seconds_left", "is_valid"), [(1, True), (0, False), (-1, False)])
def test_key_ends_at_its_instant(seconds_left: int, is_valid: bool) -> None:
    """Until the second of its expiry a key opens; from then on its holder is told when it ended."""
    key = new_key()
    stored = StoredKey(digest=key.digest, client=ERP, expires_at=NOW + timedelta(seconds=seconds_left))
    ring = KeyRing([stored], clock=lambda: NOW)
    if is_valid:
        assert ring.authenticate(key.text) is ERP
        return
    with pytest.raises(Unauthenticated, match="was expired at 2025-07-2"):
        ring.authenticate(key.text)


def test_mistyped_key_is_told_from_an_unknown_one() -> None:
    """Both are refused; only the first is called mistyped."""
    ring, key = KeyRing([]), new_key().text
    with pytest.raises(Unauthenticated, match="was not recognised"):
        ring.authenticate(key)
    with pytest.raises(Unauthenticated, match="was incomplete or mistyped"):
        ring.authenticate(key[:-1] + ("0" if key[-1] != "0" else "1"))
