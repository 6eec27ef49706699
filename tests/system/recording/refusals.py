"""Bodies of `POST /schedule` that are refused: each kind of fault, with the field that it is in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.system.recording.plants import (
    START,
    Body,
    job,
    machine,
    one_job,
    one_such_job,
    one_such_machine,
    painted,
    shop,
)
from tests.system.recording.request import Request, schedule, taken

_DAY = "2025-07-22T"
_STRICT = {"Prefer": "handling=strict"}


def refusals() -> tuple[Request, ...]:
    """All of them."""
    contents = (schedule(f"refused: {name}", None, content=content) for name, content in _CONTENTS.items())
    bodies = (schedule(f"refused: {name}", body) for name, body in _BODIES.items())
    strict = (schedule(f"refused: {name}", body, headers=_STRICT) for name, body in _NOT_BY_THE_LETTER.items())
    return (*contents, *_encoded(), *bodies, *strict)


def _encoded() -> Iterator[Request]:
    """Bodies that are not what their `Content-Encoding` says, or that nobody unpacks."""
    bodies = {
        "gzip that is none": ("gzip", b"{}"),
        "gzip that is cut off": ("gzip", gzip.compress(b"{}", mtime=0)[:-1]),
        "gzip that becomes too much": ("gzip", gzip.compress(b" " * (32 * 2**20 + 1), mtime=0)),
        "unknown encoding": ("br", b"{}"),
    }
    for name, (encoding, content) in bodies.items():
        yield schedule(f"refused: {name}", None, content=content, headers={"Content-Encoding": encoding})


def _pinned(machine_id: int, start: str, **fields: Any) -> Body:
    return {"pinned": {"machine_id": machine_id, "start_datetime": start}} | fields


def _calendar(**fields: Any) -> Body:
    return one_job(calendar=fields)


_CONTENTS: dict[str, bytes] = {
    "no body": b"",
    "half a body": b'{"jobs": [',
    "no JSON": b"jobs=1",
    "bytes that are no text": b'{"jobs": "\xff\xfe"}',
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(one_job()).encode(),
    "compressed": gzip.compress(json.dumps(one_job()).encode(), mtime=0),
    "nested too deeply": b"[" * 5000,
    "not a number": json.dumps(one_such_job(processing_time=float("nan"))).encode(),
    "endless number": b'{"jobs": [{"job_id": "J1", "processing_time": 1e400, "machine_types": [1]}]}',
    "list": b"[]",
    "text": b'"jobs"',
    "number": b"7",
    "null": b"null",
    "empty object": b"{}",
}

_NOT_BY_THE_LETTER: dict[str, Body] = {
    "text for numbers, by the letter": one_such_job(processing_time="2.5", sequence="1"),
    "numbers for truth, by the letter": one_such_job(is_important=1),
    "null for a default, by the letter": one_such_job(setup_time=None),
    "no machines, by the letter": one_job(machines=[]),
    "priority of four, by the letter": one_such_job(priority=4),
    "job id is a number, by the letter": one_such_job(job_id=1),
    "lower case, by the letter": one_job(schedule_start=f"{_DAY}08:00:00z"),
    "unknown fields, by the letter": one_job(colour="blue", jobs=[job("J1", jobId="J1")]),
}

_BODIES: dict[str, Body] = {
    # Jobs.
    "jobs are null": one_job(jobs=None),
    "jobs are text": one_job(jobs="all"),
    "jobs are numbers": one_job(jobs=[1, 2]),
    "no jobs in the database": one_job(jobs=[]),
    "too many jobs": one_job(jobs=[{}] * 20_001),
    "a hundred and five faults": one_job(jobs=[{}] * 53),
    "faults in several fields": one_job(jobs=[job("", -1.0, priority=9)], time_budget_ms="soon"),
    "empty job id": one_such_job(job_id=""),
    "job id of 129 characters": one_such_job(job_id="x" * 129),
    "job id with a line break": one_such_job(job_id="J\n1"),
    "job id is a number": one_such_job(job_id=1),
    "job id twice": one_job(jobs=[job("J1"), job("J1"), job("J2"), job("J1")]),
    "empty family id": one_such_job(family_id=""),
    "sequence twice": one_job(jobs=[job("J1", family_id="F"), job("J2", family_id="F")]),
    "negative sequence": one_such_job(sequence=-1),
    "fraction of a sequence": one_such_job(sequence=1.5),
    "sequence beyond 32 bits": one_such_job(sequence=2**31),
    "no processing time": one_job(jobs=[{"job_id": "J1", "machine_types": [1]}]),
    "processing time of zero": one_such_job(processing_time=0),
    "negative processing time": one_such_job(processing_time=-2.5),
    "processing time beyond the limit": one_such_job(processing_time=10_000.5),
    "processing time is text": one_such_job(processing_time="2.5"),
    "processing time is true": one_such_job(processing_time=True),
    "negative setup time": one_such_job(setup_time=-0.1),
    "setup time is null": one_such_job(setup_time=None),
    "no machine types": one_such_job(machine_types=[]),
    "machine types are null": one_such_job(machine_types=None),
    "machine types nobody has": one_such_job(machine_types=list(range(7, 20))),
    "machine types are text": one_such_job(machine_types=["1"]),
    "priority of zero": one_such_job(priority=0),
    "priority of four": one_such_job(priority=4),
    "importance is a number": one_such_job(is_important=1),
    "due date is a number": one_such_job(lcd_date=1_753_000_000),
    "due date that no calendar has": one_such_job(lcd_date="2025-02-30"),
    "due date in words": one_such_job(lcd_date="tomorrow"),
    "weight of zero": one_such_job(weight=0),
    "weight beyond the limit": one_such_job(weight=1e7),
    "interruptible is text": one_such_job(interruptible="yes"),
    "setup group is empty": one_such_job(setup_group=""),
    "material that arrives in sixty years": one_such_job(release_at="2085-07-22T00:00:00"),
    "deadline out of reach": shop({"A3": {"deadline_at": f"{_DAY}10:00:00"}, "D": {"deadline_at": START}}),
    "work longer than any opening": one_such_job(processing_time=9, interruptible=False),
    "work of a century": one_job(jobs=[job(f"J{number}", 10_000) for number in range(50)]),
    # Where a job may run.
    "empty options": one_such_job(machine_options=[]),
    "options of unknown machines": one_such_job(machine_options=[{"machine_id": 8}, {"machine_id": 9}]),
    "the same option twice": one_such_job(machine_options=[{"machine_id": 1}, {"machine_id": 1}]),
    "options without a time": one_job(jobs=[{"job_id": "J1", "machine_options": [{"machine_id": 1}]}]),
    "options out of service": shop({"A2": {"machine_options": [{"machine_id": 3}]}}, {3: {"status": "offline"}}),
    "option with a time of zero": one_such_job(machine_options=[{"machine_id": 1, "processing_time": 0}]),
    "held machines and options": one_such_job(requires_all_machines=[1], machine_options=[{"machine_id": 1}]),
    "held machine twice": shop({"C1": {"requires_all_machines": [1, 3, 1]}}),
    "held machine unknown": shop({"C1": {"requires_all_machines": [1, 99]}}),
    "held machine in maintenance": shop({"C1": {"requires_all_machines": [1, 3]}}, {3: {"status": "maintenance"}}),
    "held machines without a time": one_job(jobs=[{"job_id": "J1", "requires_all_machines": [1]}]),
    # Machines.
    "no machines in the database": {name: each for name, each in one_job().items() if name != "machines"},
    "empty list of machines": one_job(machines=[]),
    "too many machines": one_job(machines=[{}] * 5001),
    "machine id twice": one_job(machines=[machine(1, "a", 1), machine(1, "b", 1)]),
    "negative machine id": one_such_machine(machine_id=-1),
    "machine id beyond 63 bits": one_such_machine(machine_id=2**63),
    "machine id is text": one_such_machine(machine_id="1"),
    "machine name is a number": one_such_machine(machine_name=3),
    "machine name of 201 characters": one_such_machine(machine_name="x" * 201),
    "unknown status": one_such_machine(status="broken"),
    "negative load": one_such_machine(current_load=-1),
    "all machines out of service": shop(machines={number: {"status": "offline"} for number in range(1, 6)}),
    "a type out of service": shop(machines={5: {"status": "maintenance"}}),
    # Pins.
    "pin on an unknown machine": one_such_job(**_pinned(9, START)),
    "pin on a machine of another type": shop({"D": _pinned(1, START)}),
    "pin on a machine out of service": shop({"D": _pinned(3, START)}, {3: {"status": "offline"}}),
    "pin beside the machines that are held": shop({"C1": _pinned(3, START, requires_all_machines=[1, 3])}),
    "pin without a start": one_such_job(pinned={"machine_id": 1}),
    "pin of two years ago": one_such_job(**_pinned(1, "2023-07-22T08:00:00")),
    "pin in sixty years": one_such_job(**_pinned(1, "2085-07-22T08:00:00")),
    "pin in a break": one_such_job(**_pinned(1, f"{_DAY}13:00:00")),
    "pin on a Sunday": one_such_job(**_pinned(1, "2025-07-27T10:00:00")),
    "pin before its material": one_such_job(**_pinned(1, f"{_DAY}10:00:00"), release_at=f"{_DAY}11:30:00"),
    "pin within the load of its machine": shop({"D": _pinned(3, f"{_DAY}08:30:00")}, {3: {"current_load": 2}}),
    "pin without room for its work": one_such_job(**_pinned(1, f"{_DAY}09:00:00"), interruptible=False),
    "pins that overlap": one_job(jobs=[job("J1") | _pinned(1, START), job("J2") | _pinned(1, f"{_DAY}09:00:00")]),
    "pin before its predecessor": shop({"A2": _pinned(3, f"{_DAY}08:30:00")}),
    # The request itself.
    "start in 1969": one_job(schedule_start="1969-12-31T00:00:00"),
    "start in 2201": one_job(schedule_start="2201-01-01T00:00:00"),
    "start is a number": one_job(schedule_start=0),
    "breaks are respected by text": one_job(respect_break_times="true"),
    "unknown objective": one_job(optimization_objective="beauty"),
    "objective is null": one_job(optimization_objective=None),
    "negative time budget": one_job(time_budget_ms=-1),
    "fraction of a time budget": one_job(time_budget_ms=0.5),
    "empty request id": one_job(request_id=""),
    "request id of 129 characters": one_job(request_id="x" * 129),
    "empty plant": one_job(plant_id=""),
    "line is a number": one_job(line_id=7),
    "empty experiment unit": one_job(experiment_unit=""),
    "unknown arm": one_job(arm="oracle@1"),
    "empty arm": one_job(arm=""),
    "negative stability": one_job(stability_weight=-0.1),
    "unknown parent": one_job(parent_schedule_id="nobody"),
    # Plans.
    "freeze without an earlier schedule": one_job(freeze_until=START),
    "earlier schedule without a freeze": one_job(previous_schedule_id=taken("shop")),
    "unknown earlier schedule": one_job(previous_schedule_id="nobody", freeze_until=START),
    "earlier schedule without payload": one_job(
        previous_schedule_id=taken("decision without its payload"), freeze_until=START
    ),
    "earlier schedule of another client": one_job(
        previous_schedule_id=taken("another client's shop"), freeze_until=START
    ),
    "pin against the earlier schedule": shop(
        {"A1": _pinned(2, f"{_DAY}19:00:00")}, previous_schedule_id=taken("shop"), freeze_until="2025-07-30"
    ),
    "row of a plan without a start": one_job(manual_schedule=[{"job_id": "J1", "machine_id": 1}]),
    "plan is an object": one_job(manual_schedule={}),
    # Setups.
    "setup groups nobody has": painted(setup_matrix=[{"from": "green", "to": "white", "hours": 1}]),
    "the same setup twice": painted(setup_matrix=[{"from": "white", "to": "black", "hours": 1}] * 2),
    "negative setup": painted(setup_matrix=[{"from": "white", "to": "black", "hours": -1}]),
    "setup without an origin": painted(setup_matrix=[{"to": "black", "hours": 1}]),
    # Calendars.
    "breaks without an end": _calendar(breaks=[{"start": "08:00", "end": "08:00"}]),
    "breaks that leave nothing": _calendar(breaks=[{"start": "00:00", "end": "24:00"}]),
    "break at 25 o'clock": _calendar(breaks=[{"start": "25:00", "end": "26:00"}]),
    "break without a start": _calendar(breaks=[{"end": "08:00"}]),
    "break without days": _calendar(breaks=[{"start": "08:00", "end": "09:00", "days": []}]),
    "break on an unknown day": _calendar(breaks=[{"start": "08:00", "end": "09:00", "days": ["Monday"]}]),
    "holiday that no calendar has": _calendar(holidays=["2025-02-30"]),
    "holiday is a number": _calendar(holidays=[20250722]),
    "unknown country": _calendar(country="ZZ"),
    "country in words": _calendar(country="Malaysia"),
    "closure of an unknown machine": _calendar(machines=[{"machine_id": 9}]),
    "closure that ends before it begins": _calendar(
        machines=[{"machine_id": 1, "unavailable": [{"from": f"{_DAY}12:00:00", "to": f"{_DAY}11:00:00"}]}]
    ),
    "closure without an end": _calendar(machines=[{"machine_id": 1, "unavailable": [{"from": START}]}]),
    "machine that never opens": _calendar(
        machines=[{"machine_id": 1, "unavailable": [{"from": "2020-01-01", "to": "2199-01-01"}]}]
    ),
    "calendar is a list": one_job(calendar=[]),
    # What is promised and not built yet.
    "predecessors": one_job(jobs=[job("J1"), job("J2", predecessors=["J1"])]),
    "crews": one_job(crews=[{"crew_id": "welders", "size": 2}]),
    "hours of a machine": one_such_machine(hours=[{"days": ["mon"], "start": "08:00", "end": "16:00"}]),
    "openings": _calendar(openings=[{"from": START, "to": f"{_DAY}20:00:00"}]),
}
