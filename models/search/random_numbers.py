"""Random numbers for the compiled searches: each keeps its own state, so that threads and chunks of work cannot mix."""

from __future__ import annotations

import numpy as np

from env.simulator.arrays import Integers
from env.simulator.compilation import compiled_lean

GOLDEN = 0x2545F4914F6CDD1D


def first_random_state(seed: int) -> int:
    """A state that is never zero, far from that of the next seed."""
    mixed = (seed + 1) * GOLDEN % 2**62
    return mixed | 1


@compiled_lean
def random_below(numbers: Integers, place: int, limit: int) -> int:
    """A whole number in [0, limit) by xorshift (Marsaglia 2003), whose state is numbers[place]."""
    state = np.uint64(numbers[place])
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    numbers[place] = np.int64(state)
    return np.int64((state >> np.uint64(11)) % np.uint64(limit))  # type: ignore[return-value]


@compiled_lean
def random_share(numbers: Integers, place: int) -> float:
    """A number in [0, 1)."""
    return random_below(numbers, place, 1 << 53) / (1 << 53)
