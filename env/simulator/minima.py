"""The least of many numbers, kept at hand while they change: minima of blocks, and heaps."""

from __future__ import annotations

from env.simulator.arrays import Floats, Integers
from env.simulator.compilation import compiled_lean

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


@compiled_lean
def push(heap: Integers, key: Floats, root: int, step: int, count: int, entry: int) -> None:
    """Add an entry to the `count` of a heap whose least by `key`, shape [entry], is heap[root].

    The others are heap[root + step], heap[root + 2 * step] and so on.
    """
    position = count
    while position > 0:
        parent = (position - 1) // 2
        above = heap[root + step * parent]
        if key[above] <= key[entry]:
            break
        heap[root + step * position] = above
        position = parent
    heap[root + step * position] = entry


@compiled_lean
def pop(heap: Integers, key: Floats, root: int, step: int, count: int) -> int:
    """Take the least of `count` entries off such a heap, and give it."""
    least, entry = heap[root], heap[root + step * (count - 1)]
    position = 0
    while 2 * position + 1 < count - 1:
        child = 2 * position + 1
        if child + 1 < count - 1 and key[heap[root + step * (child + 1)]] < key[heap[root + step * child]]:
            child += 1
        below = heap[root + step * child]
        if key[entry] <= key[below]:
            break
        heap[root + step * position] = below
        position = child
    heap[root + step * position] = entry
    return least  # type: ignore[no-any-return]


@compiled_lean
def keep(pairs: Integers, ranks: Floats, count: int, pair: int, pair_rank: float) -> int:
    """Add a pair to a bounded max-heap by (rank, pair), pushing out its worst when it is full; gives the new count."""
    if count == len(pairs):
        if is_worse(ranks[0], pairs[0], pair_rank, pair):
            sift_down(pairs, ranks, count, pair, pair_rank)
        return count
    position = count
    while position > 0:
        parent = (position - 1) // 2
        if not is_worse(pair_rank, pair, ranks[parent], pairs[parent]):
            break
        pairs[position], ranks[position] = pairs[parent], ranks[parent]
        position = parent
    pairs[position], ranks[position] = pair, pair_rank
    return count + 1


@compiled_lean
def is_worse(rank_a: float, pair_a: int, rank_b: float, pair_b: int) -> bool:
    """Whether entry a comes after entry b."""
    return rank_a > rank_b or (rank_a == rank_b and pair_a > pair_b)


@compiled_lean
def sift_down(pairs: Integers, ranks: Floats, count: int, pair: int, pair_rank: float) -> None:
    """Put a pair in the place of the heap's root among the first `count` entries."""
    position = 0
    while 2 * position + 1 < count:
        child = 2 * position + 1
        if child + 1 < count and is_worse(ranks[child + 1], pairs[child + 1], ranks[child], pairs[child]):
            child += 1
        if not is_worse(ranks[child], pairs[child], pair_rank, pair):
            break
        pairs[position], ranks[position] = pairs[child], ranks[child]
        position = child
    pairs[position], ranks[position] = pair, pair_rank


@compiled_lean
def sort_down(pairs: Integers, ranks: Floats, count: int) -> None:
    """Turn the heap of the first `count` entries into ascending order."""
    for last in range(count - 1, 0, -1):
        pair, pair_rank = pairs[last], ranks[last]
        pairs[last], ranks[last] = pairs[0], ranks[0]
        sift_down(pairs, ranks, last, pair, pair_rank)
