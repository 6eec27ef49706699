"""The policies that one replica holds: the published one always, and the last few that requests asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from deployments.registry import Artefact, verified
from models.artefact import load_predictor
from models.predictor import Predictor

MOST_KEPT = 4


class Predictors:
    """Thread-safe. A policy is loaded by its hash and verified once; after `MOST_KEPT` others it is forgotten."""

    def __init__(self, published: Path, registered: Path) -> None:
        """Raises `ArtefactError` for a published policy that must not be used."""
        self.published = load_predictor(published)
        self._folder = registered
        self._kept: OrderedDict[str, Predictor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, artefact: Artefact | None) -> Predictor:
        """The policy of that hash (None: the published one). Raises `ArtefactError` when it is not there."""
        if artefact is None:
            return self.published
        with self._lock:
            predictor = self._kept.get(artefact.sha256)
            if predictor is None:
                folder = self._folder / artefact.sha256
                verified(folder, artefact)
                predictor = load_predictor(folder)
                self._kept[artefact.sha256] = predictor
            self._kept.move_to_end(artefact.sha256)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return predictor
