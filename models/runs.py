"""Benchmark runs as the few small files that reports are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import GantryError
from models.quality import Quality, quality_of_json
from models.speed import Speed, speed_of_json

SPEED_FILE = "speed.json"
_DIGITS = 6


class NoRuns(GantryError):
    """A folder without the figures of a benchmark, or with figures that cannot be read; names what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The newest figures of each set, by its name, and those of speed, None where it was not measured."""

    qualities: Mapping[str, Quality]
    speed: Speed | None

    def updated(self, newer: Runs) -> Runs:
        """These runs with whatever the newer ones have in place of it."""
        return Runs(qualities={**self.qualities, **newer.qualities}, speed=newer.speed or self.speed)


def read_runs(folder: Path) -> Runs:
    """The runs in a folder that `gantry bench quality`, `gantry bench speed` or `write_runs` wrote to.

    Raises `NoRuns` when a file is none of theirs.
    """
    qualities, speed = {}, None
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if path.name == SPEED_FILE:
                speed = speed_of_json(document)
            else:
                found = quality_of_json(document)
                qualities[found.conditions.set_name] = found
        except (ValueError, TypeError, KeyError) as error:
            raise NoRuns(f"{path} must hold the figures of a benchmark, but does not: {error}") from error
    return Runs(qualities=qualities, speed=speed)


def write_runs(folder: Path, runs: Runs) -> None:
    """Write the figures, with six digits, as one file a set and one for speed."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = {f"{name}.json": found.as_json() for name, found in runs.qualities.items()}
    if runs.speed is not None:
        documents[SPEED_FILE] = runs.speed.as_json()
    for name, document in documents.items():
        text = json.dumps(_rounded(document), separators=(",", ":"))
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
