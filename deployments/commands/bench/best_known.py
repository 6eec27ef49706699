"""Best known makespans, read from a file for one set of problems or for several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.errors import ServiceError

BEST_KNOWN = "best_known.json"


class NoBestKnown(ServiceError):
    """A file that holds no best known makespans, or none of the set; says what it must hold and what it has."""


def best_known(path: Path, set_name: str) -> dict[str, float]:
    """The best known makespan of each problem, in the unit of its file.

    The file has `{problem: [lower bound, best]}`, or that for each of several sets by its name; then those of
    `set_name` count. Raises `NoBestKnown`.
    """
    found = _document(path)
    if any(isinstance(each, dict) for each in found.values()):
        if set_name not in found:
            raise NoBestKnown(f"{path} must have the set {set_name!r}, but has {', '.join(found)}")
        found = found[set_name]
    return _makespans(path, found)


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        wanted = "problem -> [lower bound, best], or set -> that"
        raise NoBestKnown(f"{path} must be JSON, {wanted}, but cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise NoBestKnown(f"{path} must be a JSON object, was {type(found).__name__}")
    return found


def _makespans(path: Path, found: object) -> dict[str, float]:
    if not isinstance(found, Mapping):
        raise NoBestKnown(f"{path} must have problems for each set, had {found!r:.80}")
    for name, bounds in found.items():
        if not _are_bounds(bounds):
            raise NoBestKnown(f"{path} must have [lower bound, best] for {name!r}, had {bounds!r:.80}")
    return {name: float(best) for name, (_, best) in found.items()}


def _are_bounds(value: object) -> bool:
    if not (isinstance(value, list) and len(value) == 2):
        return False
    return all(type(each) in (int, float) for each in value) and 0.0 < float(value[1]) < float("inf")
