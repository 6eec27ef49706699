"""Plants that are planned again when something has happened: `python -m tests.deployments.scheduling.replanning`.

Each kind of event happens to many plants at a random hour. No answer may be a 5xx or a schedule that the judge does
not call valid, and no plan that is continued may move more jobs than one that is made anew. Exit 1 otherwise.
With `--breakdowns` each machine of the shipped plant breaks down in its turn instead, and the table of
`docs/OBJECTIVES.md` is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Any, NamedTuple

from deployments.commands.demo import EXAMPLE
from tests.deployments.scheduling.local_service import LocalService

Body = dict[str, Any]
MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
GROUPS = ("red", "green", "blue")
TYPES = (1, 2, 3)


def plant(rng: random.Random, budget_ms: int) -> Body:
    """A request for some families on machines of three types, with any of the things that plants have."""
    machines = [
        {"machine_id": 10 * kind + number, "machine_name": f"M{kind}{number}", "machine_type": kind}
        for kind in TYPES
        for number in range(rng.randint(1, 3))
    ]
    has_groups = rng.random() < 0.5
    jobs = [
        job(rng, f"F{family}-{step}", has_groups, family_id=f"F{family}", sequence=10 * step)
        for family in range(rng.randint(3, 8))
        for step in range(1, rng.randint(1, 5) + 1)
    ]
    body = {
        "jobs": jobs,
        "machines": machines,
        "schedule_start": MONDAY.isoformat(),
        "respect_break_times": rng.random() < 0.6,
        "optimization_objective": rng.choice(("makespan", "tardiness", "balanced")),
        "time_budget_ms": budget_ms,
    }
    return body | {"setup_matrix": matrix(rng, jobs)} if has_groups else body


def job(rng: random.Random, job_id: str, has_group: bool, **fields: Any) -> Body:
    """One step of up to five hours."""
    due = MONDAY + timedelta(hours=rng.randint(10, 120))
    return {
        "job_id": job_id,
        "processing_time": round(rng.uniform(0.2, 5), 2),
        "setup_time": rng.choice((0, 0.3, 0.5)),
        "machine_types": rng.sample(TYPES, rng.choice((1, 1, 2))),
        "interruptible": rng.random() < 0.9,
        "lcd_date": due.isoformat() if rng.random() < 0.5 else None,
        "setup_group": rng.choice((None, *GROUPS)) if has_group else None,
        **({"interruptible": True} if fields.pop("may_pause", False) else {}),
        **fields,
    }


def matrix(rng: random.Random, jobs: list[Body]) -> list[Body]:
    """Changeovers between the groups that the jobs have."""
    groups = sorted({each["setup_group"] for each in jobs} - {None})
    return [
        {"from": before, "to": after, "hours": rng.choice((0, 0.25, 1, 2))}
        for before in groups
        for after in groups
        if rng.random() < 0.7
    ]


def breakdown(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """A machine fails: for some hours, or nobody knows for how long."""
    broken = rng.choice(body["machines"])
    others = [
        each for each in body["machines"] if each["machine_type"] == broken["machine_type"] and each is not broken
    ]
    if others and rng.random() < 0.5:
        return body | {
            "machines": [each | ({"status": "offline"} if each is broken else {}) for each in body["machines"]]
        }
    begin = at + timedelta(hours=rng.choice((0, 0, 1, 3)))
    span = {"from": begin.isoformat(), "to": (begin + timedelta(hours=rng.randint(1, 12))).isoformat()}
    return body | {"calendar": {"machines": [{"machine_id": broken["machine_id"], "unavailable": [span]}]}}


def holiday(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """Today or tomorrow is a day off after all."""
    return body | {"calendar": {"holidays": [(at + timedelta(days=rng.choice((0, 0, 1)))).date().isoformat()]}}


def longer_work(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """Some jobs take another time than was thought, most of them longer."""
    changed = set(rng.sample([each["job_id"] for each in body["jobs"]], min(3, len(body["jobs"]))))
    jobs = [
        each | {"processing_time": round(each["processing_time"] * rng.uniform(0.5, 3), 2), "interruptible": True}
        if each["job_id"] in changed
        else each
        for each in body["jobs"]
    ]
    return body | {"jobs": jobs}


def changeover(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """Changing over takes another time from now on, or is told for the first time."""
    jobs = [each | {"setup_group": each["setup_group"] or rng.choice((None, *GROUPS))} for each in body["jobs"]]
    return body | {"jobs": jobs, "setup_matrix": matrix(rng, jobs)}


def new_job(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """A rush job, and one more step of a family."""
    rush = job(rng, "RUSH", False, priority=1, is_important=True, may_pause=True)
    last = max(body["jobs"], key=lambda each: (each["family_id"], each["sequence"]))
    step = job(rng, "STEP", False, family_id=last["family_id"], sequence=last["sequence"] + 1, may_pause=True)
    return body | {"jobs": [*body["jobs"], rush, step]}


def pin(rng: random.Random, body: Body, at: datetime, rows: list[Body]) -> Body:
    """The planner pins some of what is still to come where the plan has it."""
    later = [row for row in rows if datetime.fromisoformat(row["start_datetime"]) >= at]
    pinned = {row["job_id"]: row for row in rng.sample(later, min(3, len(later)))}
    jobs = [
        each
        | {
            "setup_time": row["setup_time_included"],
            "pinned": {"machine_id": row["machine_id"], "start_datetime": row["start_datetime"]},
        }
        if (row := pinned.get(each["job_id"])) is not None
        else each
        for each in body["jobs"]
    ]
    return body | {"jobs": jobs}


WEIGHTS: dict[str, Body] = {
    "repaired": {"stability_weight": 1_000},
    "default": {},
    "full": {"stability_weight": 0},
}
"""How plans of the shipped plant are continued, by what they say of it."""


class Continued(NamedTuple):
    """What became of one breakdown: jobs moved, hours from the first plan's start to the end, families on time in %."""

    moved: int
    end: float
    on_time: float
    warnings: list[str]


def broken_down(
    service: LocalService, body: Body, first: Body, machine_id: int, hour: float, hours: float
) -> dict[str, Continued]:
    """The plan `first` of `body` continued in each way after `hour`, with a machine closed for `hours` from then on."""
    at = datetime.fromisoformat(body["schedule_start"]) + timedelta(hours=hour)
    span = {"from": at.isoformat(), "to": (at + timedelta(hours=hours)).isoformat()}
    closed = {"calendar": {"machines": [{"machine_id": machine_id, "unavailable": [span]}]}}
    again = body | closed | {"schedule_start": at.isoformat(), "previous_schedule_id": first["schedule_id"]}
    found = {}
    for name, weight in WEIGHTS.items():
        status, answer = service.post(again | weight)
        assert status == 200, answer
        found[name] = Continued(
            moved(first["scheduled_jobs"], answer["scheduled_jobs"]),
            answer["metrics"]["makespan"] + hour,
            answer["metrics"]["jobs_on_time"],
            answer["warnings"],
        )
    return found


def breakdown_table(hours: tuple[int, ...] = (4, 10, 20), lengths: tuple[int, ...] = (2, 6, 24)) -> str:
    """Markdown: a row for each hour and length, over all machines of the shipped plant; mean and worst."""
    service, body = LocalService(), json.loads(EXAMPLE.read_text())
    _, first = service.post(body)
    lines = [
        "| from hour | for | plan | moved jobs, mean (most) | end in h, mean (latest) | families on time in % |",
        "|---|---|---|---|---|---|",
    ]
    for hour in hours:
        for length in lengths:
            plans = [broken_down(service, body, first, each["machine_id"], hour, length) for each in body["machines"]]
            for name in WEIGHTS:
                moves, ends, on_time = ([plan[name][field] for plan in plans] for field in range(3))
                lines.append(
                    f"| {hour} | {length} h | {name} | {mean(moves):.0f} ({max(moves)}) "
                    f"| {mean(ends):.1f} ({max(ends):.1f}) | {mean(on_time):.1f} |"
                )
    head = f"Before: end {first['metrics']['makespan']:.1f} h, {first['metrics']['jobs_on_time']:.1f} % on time."
    return "\n".join((head, "", *lines))


EVENTS: dict[str, Callable[[random.Random, Body, datetime, list[Body]], Body]] = {
    "breakdown": breakdown,
    "holiday": holiday,
    "longer work": longer_work,
    "changeover": changeover,
    "new job": new_job,
    "pin": pin,
}
"""What may happen between two plans."""


def moved(before: list[Body], after: list[Body]) -> int:
    """Jobs of both plans that are on another machine or start at another time."""
    places = {row["job_id"]: (row["machine_id"], row["start_datetime"]) for row in before}
    return sum(places.get(row["job_id"]) not in (None, (row["machine_id"], row["start_datetime"])) for row in after)


def replanned(kind: str, seed: int, budget_ms: int) -> tuple[int, str | None]:
    """The status of the second plan, and what is wrong with it."""
    rng = random.Random(f"{kind} {seed}")
    service, body = LocalService(), plant(rng, budget_ms)
    status, first = service.post(body)
    if status != 200:
        return (200, None) if status == 422 else (status, f"first plan: {first}")
    hours = rng.randint(0, int(first["metrics"]["makespan"]) + 1)
    at = MONDAY + timedelta(hours=hours, minutes=rng.choice((0, 0, 17)))
    rows = first["scheduled_jobs"]
    again = EVENTS[kind](rng, body, at, rows) | {
        "schedule_start": at.isoformat(),
        "previous_schedule_id": first["schedule_id"],
    }
    if rng.random() < 0.5:
        again["freeze_until"] = (at + timedelta(hours=rng.choice((0, 2, 8)))).isoformat()
    status, second = service.post(again)
    if status >= 500:
        return status, str(second)
    if status != 200:
        return status, None
    if not second["safety"]["valid"] or not 0 <= second["metrics"]["average_utilization"] <= 100:
        return status, str(second["safety"] | second["metrics"])
    full = {name: value for name, value in again.items() if name not in {"previous_schedule_id", "freeze_until"}}
    other_status, anew = service.post(full)
    if other_status != 200:
        return status, str(anew) if other_status >= 500 else None
    kept, free = moved(rows, second["scheduled_jobs"]), moved(rows, anew["scheduled_jobs"])
    return status, f"moves {kept} jobs, a full replan {free}" if kept > free else None


def main(arguments: list[str]) -> int:
    """Prints a table of the kinds and every failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--budget", type=int, default=50, help="milliseconds of each plan")
    parser.add_argument("--breakdowns", action="store_true", help="of the shipped plant, at the default budget")
    options, faults = parser.parse_args(arguments), 0
    if options.breakdowns:
        print(breakdown_table())
        return 0
    print(f"{'event':<12} {'plans':>6} {'refused':>8} {'faults':>7}")
    for kind in EVENTS:
        statuses: Counter[int] = Counter()
        found = []
        for seed in range(options.seeds):
            status, fault = replanned(kind, seed, options.budget)
            statuses[status] += 1
            if fault is not None:
                found.append(f"{kind} {seed}: {status} {fault}")
        print(f"{kind:<12} {options.seeds:>6} {statuses[422]:>8} {len(found):>7}")
        print("".join(f"  {line[:600]}\n" for line in found), end="", flush=True)
        faults += len(found)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
