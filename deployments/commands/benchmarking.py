"""`gantry bench speed`: what a policy pass and a judgement cost, and how that grows."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.quality import quality

if TYPE_CHECKING:
    from env.problem import Problem

SIZES = (170, 500, 1_000, 2_000, 5_000)
MACHINES = 150
SMALLEST_PLANT_MACHINES = 22
FAMILY_LENGTH = 4
_ENOUGH_SECONDS = 1.0
_MOST_REPEATS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median milliseconds of each step for one plant."""

    operations: int
    machines: int
    calendar: bool
    policy_ms: float
    rule_ms: float
    judge_ms: float


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Benchmarks; shared machines are noisy, trust ratios within a run.")
    group.command()(speed)
    group.command()(quality)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Benchmarks, with tables side by side."""


def speed(
    model: Annotated[Path | None, typer.Option(help="Policy folder; default: the published one.")] = None,
    largest: Annotated[int, typer.Option(min=170, help="Largest plant, operations.")] = SIZES[-1],
    output: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Time the policy pass, the planner's rule and the judge on plants of growing size.

    Example: gantry bench speed --largest 2000
    """
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    plants = [(size, hours) for size in SIZES if size <= largest for hours in (False, True)]
    console = Console(stderr=True)
    timings = [time_plant(size, hours, model) for size, hours in track(plants, "timing", console=console)]
    table = Table(title="median milliseconds after warm-up, one core")
    for column in ("operations", "machines", "calendar", "policy pass", "planner's rule", "judge"):
        table.add_column(column, justify="right")
    for timing in timings:
        times = (f"{value:,.1f}" for value in (timing.policy_ms, timing.rule_ms, timing.judge_ms))
        table.add_row(f"{timing.operations:,}", str(timing.machines), "yes" if timing.calendar else "no", *times)
    Console().print(table)
    print(f"policy pass grows as operations ^ {growth_exponent(timings):.2f} (continuous operation)")
    if output is not None:
        output.write_text(json.dumps([asdict(timing) for timing in timings], indent=2) + "\n", encoding="utf-8")


def time_plant(operations: int, calendar: bool, model: Path | None = None) -> Timing:
    """Timings on one generated plant of that many operations."""
    from env.dispatching_rules import Rule, dispatch
    from env.feasibility import judge
    from models.artefact import PUBLISHED, load_predictor

    problem = plant_of(operations, calendar)
    predictor = load_predictor(model or PUBLISHED)
    schedule = predictor.schedule(problem)
    return Timing(
        operations=len(problem.operations),
        machines=len(problem.machines),
        calendar=calendar,
        policy_ms=_median_ms(lambda: predictor.schedule(problem)),
        rule_ms=_median_ms(lambda: dispatch(problem, Rule.PLANNER)),
        judge_ms=_median_ms(lambda: judge(problem, schedule)),
    )


def plant_of(operations: int, calendar: bool) -> Problem:
    """A plant by machine types, of exactly that many operations; always the same one."""
    import numpy as np

    from env.generator import ORIGIN, Plant, random_problem
    from env.problem import WorkingHours

    machines = SMALLEST_PLANT_MACHINES if operations <= SIZES[0] else MACHINES
    plant = Plant(
        operations=(2 * operations, 2 * operations),
        operations_per_job=(FAMILY_LENGTH, FAMILY_LENGTH),
        machines=(machines, machines),
        type_share=1.0,
        calendar_share=0.0,
        changeover_share=0.0,
    )
    problem = random_problem(np.random.default_rng(operations), plant)
    jobs, left = [], operations
    for job in problem.jobs:
        if left > 0:
            jobs.append(replace(job, operations=job.operations[:left]))
            left -= len(jobs[-1].operations)
    return replace(problem, jobs=tuple(jobs), hours=WorkingHours(origin=ORIGIN) if calendar else None)


def growth_exponent(timings: list[Timing]) -> float:
    """Slope of log(policy pass) over log(operations), continuous operation."""
    import numpy as np

    steady = [timing for timing in timings if not timing.calendar]
    if len(steady) < 2:
        return float("nan")
    sizes = np.log([timing.operations for timing in steady])
    return float(np.polyfit(sizes, np.log([timing.policy_ms for timing in steady]), 1)[0])


def _median_ms(run: Callable[[], object]) -> float:
    times: list[float] = []
    while sum(times) < _ENOUGH_SECONDS and len(times) < _MOST_REPEATS:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(times)
