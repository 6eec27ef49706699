"""Both arms in pairs: what the challenger changes, with intervals that hold at every moment, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from deployments.rollout.analysis.confidence import Interval, MeanSequence
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import (
    COMPARED_FIGURES,
    DIFFERENCE_NAMES,
    Baseline,
    MissingPair,
    PairedObservation,
    Replans,
)
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.gate import Evidence
from deployments.rollout.ramp.state import Stage

MAKESPAN = "log_makespan_ratio"
COMPARED = (MAKESPAN, *DIFFERENCE_NAMES)
DISPLAY_ALPHA = 0.05
SNAPSHOT_FORMAT = 1

DEVIATION_FLOORS = {MAKESPAN: 0.01} | {name: figure.deviation_floor for name, figure in COMPARED_FIGURES.items()}
"""Least standard deviation that is believed, of the ratio and of each difference in its own unit."""


class PairedComparison:
    """Paired observations of one ramp. Feed every pair and every missing pair once, in the order of arrival."""

    def __init__(self, *, ramp: int) -> None:
        self.ramp = ramp
        self._replans = {baseline: Replans() for baseline in Baseline}
        self._sequences = {
            baseline: {name: MeanSequence(deviation_floor=DEVIATION_FLOORS[name]) for name in COMPARED}
            for baseline in Baseline
        }
        self._pairs: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()

    def observe(self, event: Event) -> None:
        """Take one event; those that are neither pair nor missing pair, or of another ramp, leave no trace."""
        if event.ramp != self.ramp:
            return
        if isinstance(event, MissingPair):
            self._missing[event.stage] += 1
        if not isinstance(event, PairedObservation):
            return
        values = (event.log_makespan_ratio, *event.differences)
        revision = self._replans[event.baseline].feed(event.group, values)
        sequences = self._sequences[event.baseline].values()
        if revision.before is None:
            self._pairs[event.stage] += 1
            for sequence, value in zip(sequences, revision.after, strict=True):
                sequence.add(value)
        else:
            for sequence, before, after in zip(sequences, revision.before, revision.after, strict=True):
                sequence.revise(before, after)

    def pairs(self, stage: Stage) -> int:
        """Observations within `stage`; replans of one job list are one."""
        return self._pairs[stage.value]

    def missing(self, stage: Stage) -> int:
        """Requests within `stage` that should have been compared and were not."""
        return self._missing[stage.value]

    def count(self, baseline: Baseline) -> int:
        """Observations against one kind of baseline, over all stages."""
        return self._sequences[baseline][MAKESPAN].n

    def interval(self, baseline: Baseline, name: str, alpha: float = DISPLAY_ALPHA) -> Interval | None:
        """Two-sided sequence of `name` (one of `COMPARED`) at level 1 - alpha; None without enough data."""
        return self._sequences[baseline][name].interval(alpha)

    def evidence(self, stage: Stage, guardrails: Guardrails, integrity: tuple[str, ...] = ()) -> Evidence:
        """What the gate must know about `stage`; `integrity` comes from `sample_ratio`."""
        makespans = {baseline: self.interval(baseline, MAKESPAN) for baseline in Baseline}
        others = (
            (
                f"{name} against the {baseline.value}",
                self.interval(baseline, name),
                COMPARED_FIGURES[name].is_more_better,
            )
            for baseline in Baseline
            for name in DIFFERENCE_NAMES
        )
        return Evidence(
            triggers=guardrails.triggers,
            breaches=guardrails.breaches(),
            integrity=integrity,
            pairs_in_stage=self.pairs(stage),
            missing_in_stage=self.missing(stage),
            makespans={baseline: interval for baseline, interval in makespans.items() if interval is not None},
            other_kpis=tuple((name, interval, better) for name, interval, better in others if interval is not None),
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON values; `restored` is the inverse."""
        return {
            "format": SNAPSHOT_FORMAT,
            "ramp": self.ramp,
            "pairs": dict(self._pairs),
            "missing": dict(self._missing),
            "replans": {baseline.value: replans.snapshot() for baseline, replans in self._replans.items()},
            "sequences": {
                baseline.value: {name: sequence.snapshot() for name, sequence in sequences.items()}
                for baseline, sequences in self._sequences.items()
            },
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> PairedComparison:
        """The comparison that `snapshot` described. Raises `UnreadableState`."""
        if document.get("format") != SNAPSHOT_FORMAT:
            found = document.get("format")
            raise UnreadableState(f"comparison snapshot must have format {SNAPSHOT_FORMAT}, had {found}")
        try:
            comparison = cls(ramp=int(document["ramp"]))
            comparison._pairs.update(document["pairs"])
            comparison._missing.update(document["missing"])
            for baseline in Baseline:
                comparison._replans[baseline] = Replans.restored(document["replans"][baseline.value])
                for name, stored in document["sequences"][baseline.value].items():
                    floor = DEVIATION_FLOORS[name]
                    comparison._sequences[baseline][name] = MeanSequence.restored(stored, deviation_floor=floor)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"comparison snapshot is damaged: {error!r}") from error
        return comparison
