"""Minima over blocks of an array that changes entry by entry, so that a search need not look at every entry.

A block's minimum is exact at all times. A new value that is lower than it replaces it; the block is
read again only when an entry that was its minimum rises, and no further than to another one.
"""

from __future__ import annotations

from env.compilation import compiled_lean
from env.problem_arrays import Integers

BLOCK_BITS = 4
BLOCK = 1 << BLOCK_BITS
"""Entries of a block; few, since a whole block is read when its minimum rises."""


def block_count(entries: int) -> int:
    """How many blocks so many entries fill, the last one perhaps in part."""
    return -(-entries // BLOCK)


@compiled_lean
def change_entry(values: Integers, minima: Integers, entry: int, value: int) -> None:
    """Change `values[entry]`, shape [entry], and keep its block's entry of `minima`, shape [block], exact."""
    block = entry >> BLOCK_BITS
    before = values[entry]
    values[entry] = value
    first, last = entries_of(block, len(values))
    minima[block] = least_after_change(values, first, last, minima[block], before, value)


@compiled_lean
def least_after_change(values: Integers, first: int, last: int, least: int, before: int, now: int) -> int:
    """The least of values[first:last], which was `least` until one of them went from `before` to `now`."""
    if now <= least:
        return now
    if before > least:
        return least
    found = now
    for entry in range(first, last):
        if values[entry] == least:
            return least
        found = min(found, values[entry])
    return found


@compiled_lean
def entries_of(block: int, entries: int) -> tuple[int, int]:
    """The first entry of a block, and the first one behind it, of so many entries in all."""
    return block << BLOCK_BITS, min((block + 1) << BLOCK_BITS, entries)
