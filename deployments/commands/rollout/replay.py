"""`gantry rollout replay`: what a plant's own stored decisions say about how long a rollout takes there."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.database import opened
from deployments.commands.terminal import plain_console, progress_bar

if TYPE_CHECKING:
    from deployments.rollout.analysis.confidence import Interval
    from deployments.rollout.analysis.triggers import Limits
    from deployments.rollout.analysis.windows import WindowObservation
    from deployments.rollout.simulation.window_worlds import WorldEstimate

IMPROVEMENTS = (-0.05, -0.10, -0.20)
MAX_DAYS = 365
NOTABLE_COMMON = 0.2
"""Part of what a window shares that is worth a word when all lines share it."""
ALL_LINES = "all lines"


def replay(
    rollouts: Annotated[int, typer.Option(min=20, help="Simulated rollouts of each improvement and line.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same days.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Tell from the stored decisions how alike this plant's lists and days are, and how long a rollout takes here.

    Reads the database, of the present challenger and champion all that is stored, and changes nothing. ICC
    (intraclass correlation) is how much lists of one day are alike, rho how much a day is like the one before; with
    them whole rollouts are simulated, whose stages last as long as the policy file asks. For each line, and for all of
    them together.

    Example: gantry rollout replay

    Example: GANTRY_DATABASE_URL=sqlite:///gantry.sqlite3 gantry rollout replay --rollouts 1000 --json
    """
    from deployments.rollout.ramp.state import DAY_SECONDS
    from deployments.rollout.simulation.window_worlds import estimated
    from deployments.settings.service import load_settings

    ramp = load_settings().policy.ramp_configuration
    closed = _closed_windows(ramp.limits)
    lines: dict[str, list[WindowObservation]] = {ALL_LINES: closed}
    for observation in closed:
        lines.setdefault(observation.line.rstrip("/"), []).append(observation)
    if len(lines) == 2:
        del lines[ALL_LINES]
    estimates = {line: estimated(of_line) for line, of_line in lines.items()}
    lasting = tuple(step.min_seconds / DAY_SECONDS for step in (ramp.shadow, ramp.limited, ramp.expanded))
    days = _days_to_stages(estimates, lasting, rollouts, seed)
    if as_json:
        found = {line: _estimate_as_json(estimate) | {"days": days[line]} for line, estimate in estimates.items()}
        print(json.dumps({"seed": seed, "rollouts": rollouts, "lines": found}))
    else:
        _show_estimates(estimates, days, rollouts)


def _closed_windows(limits: Limits) -> list[WindowObservation]:
    """Every window of the present arms that is over, as the gate counts it from the database."""
    from deployments.persistence.decisions.rollout_repository import RolloutRows
    from deployments.rollout.analysis.outcomes import PairedObservation
    from deployments.rollout.assignment import ArmRole
    from deployments.rollout.ramp.comparison import WindowComparison
    from deployments.rollout.ramp.comparison import replay as replayed
    from deployments.rollout.ramp.stages import since_same_arms
    from deployments.rollout_control.database_sync import paired_rows, readable_rows
    from deployments.rollout_control.transition_log import transition_of
    from deployments.runtime.clock import utc_now

    now = utc_now()
    with opened() as engine, progress_bar() as bar:
        rows = RolloutRows(engine)
        transitions = since_same_arms([transition_of(row) for row in rows.all_transitions()])
        if not transitions:
            return []
        begun = min(each.at for each in transitions)
        # The published policy changes with a version, under one name.
        by_model, newest = defaultdict[str, list[PairedObservation]](list), ""
        task = bar.add_task("reading", total=max(1, (now - begun).days))
        place: tuple[datetime, str] | None = (begun, "")
        while place is not None:
            page, place = rows.evaluations_page(place, now)
            readable = readable_rows(page)
            asked = [row.model for row in readable if row.role == ArmRole.PPO.value and row.model and not row.is_forced]
            newest = asked[-1] if asked else newest
            for model in set(asked):
                of_model = [row for row in readable if row.role != ArmRole.PPO.value or row.model == model]
                found = paired_rows(of_model, champion=transitions[-1].state.champion)
                by_model[model] += [each for each in found if isinstance(each, PairedObservation)]
            bar.update(task, completed=((now if place is None else place[0]) - begun).days)
    comparison = WindowComparison(challenger="", champion="", limits=limits)
    return [observation for _, observation in replayed(comparison, by_model[newest], transitions, now=now)]


def _days_to_stages(
    estimates: dict[str, WorldEstimate], lasting: tuple[float, ...], rollouts: int, seed: int
) -> dict[str, dict[str, dict[str, int | None]] | None]:
    """Of each line, for each improvement, the median days to each stage: None where half never get there.

    None instead where there are too few windows. `lasting` is how many days each stage lasts at least.
    """
    import numpy as np

    from deployments.rollout.simulation.window_worlds import NEVER, STAGES, ClimbRules, climb

    found: dict[str, dict[str, dict[str, int | None]] | None] = {}
    told = [line for line, estimate in estimates.items() if estimate.world(0.0) is not None]
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=len(told) * len(IMPROVEMENTS))
        for number, (line, estimate) in enumerate(estimates.items()):
            of_line: dict[str, dict[str, int | None]] = {}
            # Days of the world are those on which the line plans; how long a stage must last is told by the calendar.
            days_a_window = max(estimate.days_a_window, 1.0)
            min_days = tuple(math.ceil(days / days_a_window) for days in lasting)
            rules = ClimbRules(exponent=None, min_days=min_days)
            for effect in IMPROVEMENTS:
                world = estimate.world(effect)
                if world is None:
                    continue
                rng = np.random.default_rng([seed, number, round(-100 * effect)])
                climbs = climb(world, days=MAX_DAYS, rollouts=rollouts, rng=rng, rules=rules)
                medians = np.sort(climbs.entered, axis=0)[(rollouts - 1) // 2]
                days = (None if day >= NEVER else math.ceil(day * days_a_window) for day in medians)
                of_line[_percent(effect)] = dict(zip(STAGES, days, strict=True))
                bar.advance(task)
            found[line] = of_line or None
    return found


def _estimate_as_json(estimate: WorldEstimate) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(estimate) | {"effective_lists": estimate.effective_lists, "evidence_needed": _odds_needed(estimate)}


def _odds_needed(estimate: WorldEstimate) -> float | None:
    """The odds that the gate asks for at this autocorrelation, None where it is not known."""
    from deployments.rollout.analysis.e_processes import BETTER, evidence_exponent

    if estimate.rho is None:
        return None
    return float(BETTER.threshold ** evidence_exponent(estimate.rho.estimate))


def _show_estimates(
    estimates: dict[str, WorldEstimate], days: dict[str, dict[str, dict[str, int | None]] | None], rollouts: int
) -> None:
    from rich.table import Table

    from deployments.rollout.simulation.window_worlds import MIN_WINDOWS_OF_WORLD

    if not any(estimate.windows for estimate in estimates.values()):
        print(
            "No window of the present challenger has closed yet: nothing is known. "
            f"An estimate needs {MIN_WINDOWS_OF_WORLD} days of a line with plans of both arms."
        )
        return
    table = Table("line")
    for header in (
        "windows",
        "groups",
        "sd",
        "ICC [95 %]",
        "rho [95 %]",
        *map(_percent, IMPROVEMENTS),
    ):
        table.add_column(header, justify="right")
    for line, estimate in estimates.items():
        of_line = days[line]
        told = [_stages_told(of_line[_percent(effect)]) if of_line else "-" for effect in IMPROVEMENTS]
        spread = "-" if estimate.deviation is None else f"{100 * estimate.deviation:.1f} %"
        counts = (line, str(estimate.windows), f"{estimate.groups:.1f}", spread)
        table.add_row(*counts, _interval(estimate.icc), _interval(estimate.rho), *told)
    plain_console(file_width=140).print(table)
    print("Groups: unlike lists of a window, in the mean. sd: of one list's log ratio.")
    print(f"Under -5, -10 and -20 %: median days to limited / expanded / full in {rollouts:,} simulated rollouts,")
    print(f"'never' where more than half do not get there within {MAX_DAYS} windows of a line. Now in words:")
    for line, estimate in estimates.items():
        print(f"\n{line}: {' '.join(_in_words(estimate, days[line]))}")


def _in_words(estimate: WorldEstimate, days: dict[str, dict[str, int | None]] | None) -> Iterator[str]:
    """What the figures of one line mean, for whoever has to wait."""
    from deployments.rollout.simulation.window_worlds import MIN_WINDOWS_OF_WORLD

    if days is None or estimate.rho is None:
        yield f"too few windows to tell: {estimate.windows} are closed, and an estimate needs {MIN_WINDOWS_OF_WORLD}"
        yield "and three for each line besides, which differ from each other."
        return
    if estimate.icc is None or estimate.effective_lists is None:
        yield "the lists of a day are one group, planned again and again, so a day is one observation."
    else:
        yield f"of what makes lists differ, {100 * estimate.icc.estimate:.0f} % is shared by all lists of a day:"
        yield f"{estimate.groups:.1f} of one day say as much as {estimate.effective_lists:.1f} of different days."
    if estimate.rho.lower > 0.0:
        yield f"A good day is followed by a good one (rho {estimate.rho.estimate:.2f}),"
    else:
        yield "That a day is like the one before it is not shown,"
    yield f"so the gate asks for about {_odds_needed(estimate):,.0f} to 1."
    if estimate.common > NOTABLE_COMMON and estimate.lines > 1:
        yield f"{100 * estimate.common:.0f} % of what a day shares is shared by all lines, so they tell less."
    for name, of_stages in days.items():
        limited, full = of_stages["limited"], of_stages["full"]
        if limited is None:
            yield f"A challenger of {name} leaves shadow in less than half of the rollouts."
            continue
        after = f"full after {full}" if full else "but rarely gets to full"
        yield f"One of {name} leaves shadow after {limited} days, {after}."


def _stages_told(of_stages: dict[str, int | None]) -> str:
    return " / ".join("never" if day is None else str(day) for day in of_stages.values())


def _percent(effect: float) -> str:
    return f"{100 * effect:+.0f} %"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.estimate:.2f} [{interval.lower:.2f}, {interval.upper:.2f}]"
