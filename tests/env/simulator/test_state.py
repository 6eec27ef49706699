from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.simulator.state import BLOCK, block_count, change_entry, entries_of, least_after_change

ENTRIES = 2 * BLOCK + 3
CHANGES = st.lists(st.tuples(st.integers(0, ENTRIES - 1), st.integers(-3, 3)), max_size=120)


@given(CHANGES)
@settings(max_examples=300)
def test_minima_are_those_of_a_plain_scan(changes: list[tuple[int, int]]) -> None:
    """However entries rise and fall, each block's minimum is the least of its entries."""
    values, minima = np.zeros(ENTRIES, dtype=np.int64), np.zeros(block_count(ENTRIES), dtype=np.int64)
    for entry, value in changes:
        change_entry(values, minima, entry, value)
        expected = [values[first : first + BLOCK].min() for first in range(0, ENTRIES, BLOCK)]
        assert minima.tolist() == expected


@given(st.integers(0, 100))
def test_every_entry_is_in_one_block(entries: int) -> None:
    """The blocks follow each other without a gap, the last one as far as there are entries."""
    seen = [entry for block in range(block_count(entries)) for entry in range(*entries_of(block, entries))]
    assert seen == list(range(entries))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6), st.data())
@settings(max_examples=300)
def test_least_after_a_change_is_that_of_a_plain_scan(numbers: list[int], data: st.DataObject) -> None:
    """Of a part of the values, whichever of them changes and however."""
    values = np.array([-9, *numbers, -9])
    least = min(numbers)
    entry = data.draw(st.integers(1, len(numbers)))
    before, values[entry] = values[entry], data.draw(st.integers(-4, 4))
    found = least_after_change(values, 1, len(numbers) + 1, least, before, values[entry])
    assert found == values[1:-1].min()
