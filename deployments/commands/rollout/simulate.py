"""`gantry rollout simulate`: what the statistics of the rollout promise, tried out."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.terminal import plain_console, progress_bar
from deployments.errors import ServiceError

if TYPE_CHECKING:
    from deployments.rollout.simulation.characteristics import Characteristic, Figure
    from deployments.rollout.simulation.simulation import Result, Scenario

SHORT_ROLLOUTS = 200


class ImpossibleScenario(ServiceError):
    """The options describe no world; the message says what was required and found."""


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same figures.")] = 1,
    rollouts: Annotated[
        int, typer.Option(min=1, help="Rollouts of each scenario; fewer than some hundred are rough.")
    ] = 1000,
    requests_per_day: Annotated[int, typer.Option(min=1, help="Own: traffic of one simulated day.")] = 50,
    completion_percent: Annotated[float | None, typer.Option(help="Own scenario: true completion.")] = None,
    crash_percent: Annotated[float | None, typer.Option(help="Own scenario: true crash rate.")] = None,
    makespan_percent: Annotated[
        float | None, typer.Option(help="Own scenario: true increase; below 0: shorter.")
    ] = None,
    deviation: Annotated[float | None, typer.Option(min=0.0, help="Own: sd of the paired log makespan ratio.")] = None,
    healthy_before: Annotated[int, typer.Option(min=0, help="Own: healthy requests before all that begins.")] = 0,
    requests: Annotated[int, typer.Option(min=1, help="Own: requests of one rollout.")] = 5000,
    drift: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Own: relative amplitude of the drifting load.")
    ] = 0.0,
    missing_percent: Annotated[float, typer.Option(min=0.0, max=99.0, help="Own: pairs that are lost.")] = 0.0,
    force_ramp: Annotated[bool, typer.Option("--force-ramp", help="Own: a person forces each promotion.")] = False,
    is_short: Annotated[
        bool, typer.Option("--short", help=f"Windows and list groups alone, {SHORT_ROLLOUTS} rollouts: seconds.")
    ] = False,
    is_of_windows: Annotated[bool, typer.Option("--windows", help="Windows and list groups alone.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep what is done of windows and list groups here, and go on from it.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print those as tables for a page of docs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Simulate whole rollouts with the real statistics, guardrails and stages; exit 1 when a promise is missed.

    Without own figures everything that was specified or promised runs: windows and list groups, whose figures are told
    beside those of the specification, and requests one by one. With own figures, that one world alone.

    Example: gantry rollout simulate --short

    Example: gantry rollout simulate --seed 1 --rollouts 1000

    Example: nice -n 19 gantry rollout simulate --windows --rollouts 10000 --checkpoint figures.json --markdown

    Example: gantry rollout simulate --completion-percent 90 --makespan-percent 5 --healthy-before 500
    """
    from deployments.rollout.simulation.simulation import scenarios

    own = {
        "completion": None if completion_percent is None else completion_percent / 100.0,
        "crash_rate": None if crash_percent is None else crash_percent / 100.0,
        "makespan_increase": None if makespan_percent is None else makespan_percent / 100.0,
        "deviation": deviation,
    }
    effects = {name: value for name, value in own.items() if value is not None}
    is_own = bool(effects) or force_ramp or drift > 0.0 or missing_percent > 0.0 or healthy_before > 0
    ways = {
        "drift": drift,
        "missing_pairs": missing_percent / 100.0,
        "forces_ramp": force_ramp,
        "requests": requests,
        "requests_per_day": requests_per_day,
    }
    chosen = (
        (_given(effects, ways, healthy_before),)
        if is_own
        else ()
        if is_short or is_of_windows or as_markdown
        else scenarios()
    )
    rollouts = min(rollouts, SHORT_ROLLOUTS) if is_short else rollouts
    begun = time.monotonic()
    figures = {} if is_own else _characterise(seed, rollouts, checkpoint)
    results = _run(chosen, seed, rollouts)
    seconds = time.monotonic() - begun
    kept = {result.scenario.name: result.kept for result in results}
    kept |= {f"{table}: {figure.name}": figure.kept for table, of_table in figures.items() for figure in of_table}
    missed = [name for name, is_kept in kept.items() if is_kept is False]
    if as_json:
        document = {"seed": seed, "rollouts": rollouts, "seconds": round(seconds, 1), "missed": missed}
        document["figures"] = [
            {"table": table} | _characteristic(figure) for table, of_table in figures.items() for figure in of_table
        ]
        print(json.dumps(document | {"scenarios": [_figures(result) for result in results]}))
    else:
        if as_markdown:
            _print_markdown(figures)
        else:
            _show_figures(figures)
            _show(results)
        promised = sum(is_kept is not None for is_kept in kept.values())
        told = f"missed: {'; '.join(missed)}" if missed else "all kept" if promised else "none made"
        print(f"{rollouts:,} rollouts of each scenario, seed {seed}, {seconds:.0f} s; {promised} promises, {told}")
    if missed:
        raise typer.Exit(1)


def _given(effects: dict[str, Any], ways: dict[str, Any], healthy_before: int) -> Scenario:
    from dataclasses import replace

    from deployments.rollout.simulation.simulation import HEALTHY, Purpose, Scenario

    try:
        world = replace(HEALTHY, **effects)
        if not healthy_before:
            return Scenario(name="as given", purpose=Purpose.GIVEN, world=world, **ways)
        return Scenario(
            name="as given", purpose=Purpose.GIVEN, world=HEALTHY, later=world, change_at=healthy_before, **ways
        )
    except ValueError as error:
        raise ImpossibleScenario(str(error)) from error


def _characterise(seed: int, rollouts: int, checkpoint: Path | None) -> dict[str, list[Figure]]:
    """Every figure of windows and list groups, by the table that it belongs to; those of `checkpoint` are known."""
    import numpy as np

    from deployments.rollout.simulation.characteristics import characteristics
    from deployments.settings.policy_file import shipped_policy

    chosen: Sequence[Characteristic] = characteristics(shipped_policy().ramp_configuration.limits)
    tables: dict[str, list[Figure]] = {}
    known = _checkpointed(checkpoint, seed, rollouts)
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=len(chosen))
        for number, characteristic in enumerate(chosen):
            bar.update(task, description=characteristic.table)
            if number == len(known):
                known.append(characteristic.find(rollouts, np.random.default_rng([seed, 1000 + number])))
                _keep(checkpoint, seed, rollouts, known)
            tables.setdefault(characteristic.table, []).extend(known[number])
            bar.advance(task)
    return tables


def _checkpointed(file: Path | None, seed: int, rollouts: int) -> list[list[Figure]]:
    """What an earlier run kept of the same simulation, in the order of the characteristics; nothing of another one."""
    from deployments.rollout.simulation.characteristics import Figure

    if file is None or not file.exists():
        return []
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if [document["seed"], document["rollouts"]] != [seed, rollouts]:
            raise ImpossibleScenario(
                f"{file} has seed {document['seed']} and {document['rollouts']} rollouts: name another file"
            )
        return [[Figure(**figure) for figure in found] for found in document["found"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ImpossibleScenario(f"{file} is no checkpoint of a simulation: {error}") from error


def _keep(file: Path | None, seed: int, rollouts: int, found: list[list[Figure]]) -> None:
    from dataclasses import asdict

    from deployments.runtime.durable_file import write_durably

    if file is not None:
        plain = [[asdict(figure) for figure in of_one] for of_one in found]
        write_durably(file, json.dumps({"seed": seed, "rollouts": rollouts, "found": plain}))


def _run(chosen: Sequence[Scenario], seed: int, rollouts: int) -> list[Result]:
    import numpy as np

    from deployments.rollout.simulation.simulation import simulate as run
    from deployments.settings.policy_file import shipped_policy

    configuration = shipped_policy().ramp_configuration
    results = []
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=len(chosen) * rollouts)
        for number, scenario in enumerate(chosen):
            bar.update(task, description=scenario.name)
            # A stream of its own for each scenario, so that leaving one out does not change the others.
            rng = np.random.default_rng([seed, number])
            results.append(
                run(
                    scenario,
                    rollouts=rollouts,
                    rng=rng,
                    configuration=configuration,
                    on_progress=lambda: bar.advance(task),
                )
            )
    return results


def _figures(result: Result) -> dict[str, Any]:
    """One scenario for programs; a time that is never reached is null."""
    scenario = result.scenario
    return {
        "scenario": scenario.name,
        "purpose": scenario.purpose.value,
        "alarm_share": result.alarm_share,
        "alarms_by_rule": result.alarms_by_rule,
        "alarms_before_the_change": result.early_alarms,
        "clock": scenario.clock.value,
        "wait_median": _finite(result.wait_quantile(0.5)),
        "wait_95_percent": _finite(result.wait_quantile(0.95)),
        "days_to_promote": {
            stage.value: {"reached_share": len(days) / result.rollouts, "median": statistics.median(days)}
            for stage, days in result.days_to.items()
            if days
        },
        "promise": scenario.promise,
        "promised_quantile": scenario.promised_quantile if scenario.promise is not None else None,
        "kept": result.kept,
    }


def _characteristic(figure: Figure) -> dict[str, Any]:
    """One figure for programs; what is never reached is null."""
    return {
        "name": figure.name,
        "unit": figure.unit,
        "found": _finite(figure.found),
        "by_chance": [_finite(figure.low), _finite(figure.high)],
        "specified": figure.specified,
        "is_bound": figure.is_bound,
        "kept": figure.kept,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _show_figures(tables: dict[str, list[Figure]]) -> None:
    from rich.table import Table

    console = plain_console(file_width=140)
    for title, figures in tables.items():
        table = Table("", title=title, title_justify="left")
        for header in ("specified", "found", "by chance", ""):
            table.add_column(header, justify="right")
        for figure in figures:
            table.add_row(*_cells(figure))
        console.print(table)


def _print_markdown(tables: dict[str, list[Figure]]) -> None:
    for title, figures in tables.items():
        print(f"## {title}\n\n| | specified | found | by chance | |\n|---|---|---|---|---|")
        for figure in figures:
            print(f"| {' | '.join(_cells(figure))} |")
        print()


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    """Name, what was specified, found, and what chance makes of it, and the verdict."""
    unit = figure.unit if figure.unit == "%" else ""
    specified = "-" if figure.specified is None else f"{_told(figure.specified)} {unit}".strip()
    bound = "at most " if figure.is_bound and figure.specified is not None else ""
    chance = "exact" if figure.is_exact else f"{_told(figure.low)} to {_told(figure.high)}"
    verdict = {True: "kept", False: "MISSED", None: "-"}[figure.kept]
    return figure.name, bound + specified, f"{_told(figure.found)} {unit}".strip(), chance, verdict


def _told(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _show(results: Sequence[Result]) -> None:
    from rich.table import Table

    from deployments.rollout.simulation.simulation import Purpose

    console = plain_console(file_width=140)
    for purpose in Purpose:
        rows = [result for result in results if result.scenario.purpose is purpose]
        if not rows:
            continue
        table = Table(title=purpose.value, title_justify="left")
        makers = [_name, *_COLUMNS[purpose.name]]
        for header, justify in (maker(None) for maker in makers):
            table.add_column(header, justify="left" if justify == "left" else "right")
        for result in rows:
            table.add_row(*(maker(result)[0] for maker in makers))
        console.print(table)


def _name(result: Result | None) -> tuple[str, str]:
    return (result.scenario.name if result else "scenario", "left")


def _alarms(result: Result | None) -> tuple[str, str]:
    return (f"{100.0 * result.alarm_share:.1f} %" if result else "stopped", "right")


def _median_wait(result: Result | None) -> tuple[str, str]:
    return (_wait(result, 0.5) if result else "median until seen", "right")


def _late_wait(result: Result | None) -> tuple[str, str]:
    return (_wait(result, 0.95) if result else "95 % seen within", "right")


def _wait(result: Result, quantile: float) -> str:
    waited = result.wait_quantile(quantile)
    return f"{waited:,.0f} {result.scenario.clock.value}" if math.isfinite(waited) else "never"


def _promotions(result: Result | None) -> tuple[str, str]:
    if result is None:
        return ("median days to limited, expanded, full (reached by)", "right")
    told = (
        f"{statistics.median(days):.0f} ({100 * len(days) / result.rollouts:.3g} %)" if days else "-"
        for days in result.days_to.values()
    )
    return (", ".join(told), "right")


def _promise(result: Result | None) -> tuple[str, str]:
    if result is None:
        return ("promise", "right")
    if result.kept is None:
        return ("-", "right")
    from deployments.rollout.simulation.simulation import Purpose

    scenario = result.scenario
    limit = f"{scenario.promise:g}" if scenario.purpose is Purpose.DETECTION else f"{100 * (scenario.promise or 0):g} %"
    return (f"{'kept' if result.kept else 'MISSED'} (at most {limit})", "right")


_COLUMNS = {
    "FALSE_ALARMS": (_alarms, _promotions, _promise),
    "ONE_BOUND": (_alarms, _promise),
    "DETECTION": (_alarms, _median_wait, _late_wait, _promise),
    "PROMOTION": (_alarms, _promotions),
    "GIVEN": (_alarms, _median_wait, _late_wait, _promotions),
}
