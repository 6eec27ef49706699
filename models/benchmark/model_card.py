"""A published policy's manifest and the runs that measured it -> MODEL_CARD.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.benchmark.benchmark import POLICY, RULES
from models.benchmark.leaderboard import Quality
from models.benchmark.performance_report import SEARCH, ResultFiles, ordered, speed_lines
from models.benchmark.quality_page import number, table
from models.policy.artefact import Manifest
from models.publishing.evaluation import GATES

_USE = """## What it is for
It chooses, one dispatch after the other, which operation a plant does next and on which machine: flexible job shops
with calendars, setups, releases and due dates, of any number of jobs and machines. It proposes; an independent judge
decides what may be served, and the planner's rule answers where the policy fails. Its greedy pass is also where the
search of `time_budget_ms` begins.

It is not for plants whose work cannot be told by machines, times, sequences and calendars: blocking, no-wait, batches,
shared operators."""


def model_card(manifest: Manifest, bytes_of: Mapping[str, int], runs: ResultFiles) -> str:
    """The whole card; `bytes_of` is the size of each file of the artefact."""
    parts = [
        f"# {manifest.model_id}",
        "Written by `gantry bench report` from `manifest.json` and the runs in `docs/figures/`; do not edit by hand.",
        "\n".join(_identity(manifest, bytes_of)),
        _USE,
        "## How it was trained\n\n" + _training(manifest.training),
        "## Gates that it passed\n\n" + _gates(manifest.results),
        "## How good it is\n\n" + _quality(manifest, runs.qualities),
        "## How fast it is\n\n" + _speed(manifest, runs),
        "## What it sees\n\n" + _observation(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _identity(manifest: Manifest, bytes_of: Mapping[str, int]) -> list[str]:
    rows = [["published", manifest.created_at]]
    for name, digest in manifest.files.items():
        rows.append([f"`{name}`", f"{bytes_of[name] / 1000:,.0f} kB, SHA-256 `{digest}`"])
    return table(["policy", manifest.model_id], rows)


def _observation(manifest: Manifest) -> str:
    sight = f"Observation {manifest.observation_version}, up to {manifest.candidate_limit} candidates a decision"
    return f"{sight}, {len(manifest.features)} features each: {', '.join(manifest.features)}."


def _training(networks: Sequence[Mapping[str, Any]]) -> str:
    """Duration and configuration of each network side by side, nested settings as dotted names."""
    lines = ["Trained on generated plants only, never on a benchmark file; validated on fixed sets of their kind."]
    if len(networks) > 1:
        lines.append(
            f"A pass is played by up to {len(networks)} networks, and the best schedule by the objective counts."
        )
    minutes = [training["seconds"] / 60 for training in networks if "seconds" in training]
    if minutes:
        lines.append(f"The training took {' and '.join(f'{each:,.0f}' for each in minutes)} minutes.")
    configs = [_flat(training.get("config", {})) for training in networks]
    names = list(dict.fromkeys(name for config in configs for name in config))
    rows = [[f"`{name}`", *(f"`{config[name]}`" if name in config else "" for config in configs)] for name in names]
    header = ["setting", *(["value"] if len(networks) == 1 else [f"network {at + 1}" for at in range(len(networks))])]
    return " ".join(lines) + "\n\n" + "\n".join(table(header, rows))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _gates(results: Mapping[str, Any]) -> str:
    measured = results.get("gates", {})
    if not measured:
        return "It was published before its gates were recorded."
    rows = []
    for gate in GATES:
        bound = f"<= {gate.at_most:g}" if gate.at_most is not None else f">= {gate.at_least:g}"
        rows.append([f"{gate.name}: {gate.quantity}", bound, number(measured.get(gate.name), 2)])
    return "\n".join(table(["gate", "bound", "measured"], rows)) + "\n\n" + _comparison(results)


def _comparison(results: Mapping[str, Any]) -> str:
    found = results.get("compared_with_published")
    if found is None:
        return "There was no published policy to compare it with that sees the same observation."
    low, mean, high = (100 * found[name] for name in ("low", "mean", "high"))
    return (
        f"Against {found['published']} on {found['problems']} validation problems it won {found['wins']} and lost "
        f"{found['losses']}; the mean difference is {mean:.2f} % of the objective "
        f"(95 % interval {low:.2f} to {high:.2f} %)."
    )


def _quality(manifest: Manifest, qualities: Mapping[str, Quality]) -> str:
    sets = ordered(qualities)
    if not sets:
        return "Not measured."
    rows = [_row(found) for found in sets]
    lines = table(["set", "instances", "figure", "best rule", POLICY, SEARCH, "better than every rule on, %"], rows)
    return "\n".join([*_other_models(manifest, sets), *lines])


def _other_models(manifest: Manifest, sets: list[Quality]) -> list[str]:
    """A warning where figures are those of another policy."""
    others = sorted({found.conditions.model for found in sets} - {manifest.model_id})
    return [f"**Measured with {', '.join(others)}, not with this version.**", ""] if others else []


def _row(found: Quality) -> list[str]:
    figure, attribute = _figure(found)
    rules = [row for row in found.standings if row.competitor in RULES]
    values = [value for row in rules if (value := getattr(row, attribute)) is not None]
    return [
        found.conditions.set_name,
        f"{len(found.instances)} of {found.instances_in_set}",
        figure,
        number(min(values, default=None), 2),
        *(number(getattr(found.standing(name), attribute, None), 2) for name in (POLICY, SEARCH)),
        number(found.policy_better_than_every_rule_percent, 0),
    ]


def _figure(found: Quality) -> tuple[str, str]:
    """What the set is compared by: the objective where it is no makespan, hours where it has hours, else the gap."""
    if found.conditions.objective != "makespan":
        return f"objective ({found.conditions.objective}), h", "mean_objective_hours"
    if found.conditions.in_hours:
        return "makespan, h", "mean_makespan_hours"
    return "gap to best known, %", "mean_gap_percent"


def _speed(manifest: Manifest, runs: ResultFiles) -> str:
    if runs.speed is None:
        return "Not measured."
    warning = (
        []
        if runs.speed.model == manifest.model_id
        else [f"**Measured with {runs.speed.model}, not with this version.**"]
    )
    steady = [timing for timing in runs.speed.timings if not timing.calendar]
    rows = [[f"{timing.operations:,}", str(timing.machines), number(timing.policy_ms, 1)] for timing in steady]
    lines = table(["operations", "machines", "policy pass, median ms on one core"], rows)
    return "\n\n".join([*warning, "\n".join(lines), " ".join(speed_lines(runs.speed))])
