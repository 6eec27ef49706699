"""What travels between replicas, as bytes.

Packing a plant of 20,000 jobs takes half a second. Left to Ray, that would happen on the event loop of
the router, so the adapters pack and unpack in threads where the size asks for it.
"""

from __future__ import annotations

import pickle
from typing import Any


def pack(value: object) -> bytes:
    """`value` as bytes for another process of the same cluster."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(freight: bytes) -> Any:
    """What was packed. Only for bytes from our own replicas, as for every argument of a remote call."""
    return pickle.loads(freight)  # noqa: S301
