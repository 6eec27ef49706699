"""A key as its holder has it."""

from __future__ import annotations

import re

import pytest

from deployments.access.key_ring import new_key, require_well_typed
from deployments.errors import Unauthenticated

MISTYPED = "must carry a whole key, was incomplete or mistyped"


def test_new_key_has_prefix_id_32_bytes_and_checksum() -> None:
    """The parts stand in this order, and the key is well typed."""
    made = new_key()
    prefix, key_id, secret, checksum = made.text.split("_")
    assert (prefix, key_id, len(bytes.fromhex(secret))) == ("gantry", made.key_id, 32)
    assert re.fullmatch("[0-9a-f]{8}", checksum)
    require_well_typed(made.text)


def test_new_keys_differ() -> None:
    """A hundred keys have a hundred ids and a hundred digests."""
    made = [new_key() for _ in range(100)]
    assert len({key.key_id for key in made}) == len({key.digest for key in made}) == 100


def test_new_key_does_not_print_itself() -> None:
    """A log line or a traceback that shows the object does not show the key."""
    made = new_key()
    assert made.text not in f"{made!r} {made}"
    assert made.key_id in repr(made)


def test_every_changed_character_is_noticed() -> None:
    """One wrong character anywhere behind the prefix, and the key is called mistyped."""
    text = new_key().text
    for place in range(len("gantry_"), len(text)):
        wrong = "0" if text[place] != "0" else "1"
        with pytest.raises(Unauthenticated, match=MISTYPED):
            require_well_typed(text[:place] + wrong + text[place + 1 :])


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 30), slice(0, 7)])
def test_half_a_key_is_noticed(cut: slice) -> None:
    """A key that was not copied to its end is called incomplete."""
    with pytest.raises(Unauthenticated, match=MISTYPED):
        require_well_typed(new_key().text[cut])


@pytest.mark.parametrize("key", ["dev-api-key-change-in-production", "k" * 40, "Gantry_x", "\udcff"])
def test_keys_of_other_forms_have_no_checksum(key: str) -> None:
    """The key of the settings is whatever its owner chose."""
    require_well_typed(key)
