"""`gantry db spool`: what waits on local disk, what holds it up, and its way to the database without the service."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.database import opened
from deployments.commands.db.schema import database
from deployments.commands.terminal import counted, number_of
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.delivery.batch_writer import DecisionWriter
    from deployments.persistence.delivery.inspection import SpooledRecord, SpoolReport
    from deployments.persistence.spool.segment import SegmentSurvey
    from deployments.settings.service import Settings

spool = typer.Typer(no_args_is_help=True, help="Decisions on local disk that the database does not have yet.")
Folder = Annotated[Path | None, typer.Option(help="Spool folder; default: GANTRY_SPOOL_FOLDER.")]


def register(_app: typer.Typer) -> None:
    """Add the group of commands to the group `db`."""
    database.add_typer(spool, name="spool")


@spool.callback()
def group() -> None:
    """Decisions on local disk that the database does not have yet."""


@spool.command()
def status(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Show what lies in the spool, also while the service runs; exit 1 when a person must look at it.

    Example: gantry db spool status
    """
    from deployments.persistence.delivery.inspection import inspect
    from deployments.settings.service import load_settings

    report = inspect(folder or load_settings().spool_folder)
    if as_json:
        print(json.dumps(_document(report)))
    else:
        _show(report)
    if report.needs_a_person:
        raise typer.Exit(1)


@spool.command()
def show(
    record: Annotated[str | None, typer.Argument(help="Id of one record, which is printed whole.")] = None,
    folder: Folder = None,
    limit: Annotated[int, typer.Option(min=1, help="Lines at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List what the database does not have: what waits, oldest first, and the dead letters, each with its cause.

    With the id of a record: the record itself as JSON, dead or waiting, to keep or to send elsewhere.

    Example: gantry db spool show; gantry db spool show 0197f3a2-... > decision.json
    """
    from deployments.persistence.delivery.inspection import found_in, listed
    from deployments.settings.service import load_settings

    folder = folder or load_settings().spool_folder
    if record is not None:
        for found in found_in(folder, record):
            print(json.dumps(_whole(found)))
        return
    records = listed(folder)
    for found in islice(records, limit):
        print(json.dumps(_entry(found)) if as_json else _line(found))
    if left := sum(1 for _ in records):
        print(f"and {left:,} more (--limit)", file=sys.stderr)


@spool.command()
def skip(
    record: Annotated[str, typer.Argument(help="Id of a record that waits, as `gantry db spool show` prints it.")],
    folder: Folder = None,
) -> None:
    """Put one record that waits aside among the dead letters, so that those behind it go on. It is not lost.

    Whoever delivers it next does so: the running service within seconds, else the next `gantry db spool replay`.

    Example: gantry db spool skip 0197f3a2-5c1e-7b3a-9f60-2d1c0a8e4b77
    """
    from deployments.persistence.delivery.inspection import ask_to_skip, found_in
    from deployments.settings.service import load_settings

    folder = folder or load_settings().spool_folder
    waiting = [found for found in found_in(folder, record) if not found.is_dead]
    for found in waiting:
        ask_to_skip(folder, found)
        print(f"{found.label} goes to the dead letters when it is next tried")
    if not waiting:
        print(f"{record} is among the dead letters already")


@spool.command()
def replay(
    folder: Folder = None,
    dead_letters: Annotated[bool, typer.Option(help="Try the dead letters once more, too.")] = False,
) -> None:
    """Write what dead routers left into the database; segments of a running service are left to it.

    Harmless to repeat: a decision that is stored already stays as it is.

    Example: gantry db spool replay --dead-letters
    """
    from deployments.persistence.delivery.inspection import replay_dead_letters
    from deployments.settings.service import load_settings

    settings = load_settings()
    folder = folder or settings.spool_folder
    with _writer(settings) as writer:
        adopted, written, dead = _replay(folder, writer, settings.max_spool_bytes)
        revived = replay_dead_letters(folder, writer.write) if dead_letters else 0
    print(
        f"{number_of(written, 'decision')} written from {number_of(adopted, 'segment')}, {dead:,} to the dead letters"
    )
    if dead_letters:
        print(f"{number_of(revived, 'dead letter')} came into the database")


def _replay(folder: Path, writer: DecisionWriter, bound_bytes: int) -> tuple[int, int, int]:
    from deployments.persistence.delivery.inspection import inspect, replay_segments
    from deployments.persistence.spool.disk import LocalDisk
    from deployments.persistence.spool.segment_folder import SegmentFolder

    total = sum(segment.waiting_records for segment in inspect(folder).segments if not segment.is_owned)
    segments = SegmentFolder(folder, segment_bytes=1, disk=LocalDisk(), clock_us=lambda: time.time_ns() // 1000)
    segments.open()
    with counted("replaying", total) as on_progress:
        done = replay_segments(segments, writer.write, on_progress, bound_bytes=bound_bytes)
    segments.close()
    segments.forget(segments.owner_id)
    return done.segments, done.written, done.dead


@contextmanager
def _writer(settings: Settings) -> Iterator[DecisionWriter]:
    from deployments.persistence.delivery.batch_writer import DecisionWriter

    with opened(settings.database_url.get_secret_value()) as engine:
        yield DecisionWriter(engine)


def _line(found: SpooledRecord) -> str:
    state = "dead" if found.is_dead else "waits"
    cause = "" if found.cause is None else f": {found.cause}"
    return f"{state:5} {_seconds_since(found):>12,.1f} s {len(found.payload):>13,} bytes  {found.label}{cause}"


def _entry(found: SpooledRecord) -> dict[str, object]:
    return {
        "is_dead": found.is_dead,
        "age_seconds": round(_seconds_since(found), 1),
        "bytes": len(found.payload),
        **asdict(found.label),
        "cause": found.cause,
        "place": found.place,
    }


def _whole(found: SpooledRecord) -> dict[str, object]:
    """The record with its payload; what is none, as base64."""
    from deployments.persistence.decisions.records import opened_fields

    try:
        payload = opened_fields(found.payload)
    except ValueError:
        payload = {"payload_base64": base64.b64encode(found.payload).decode()}
    return _entry(found) | {"record": payload}


def _seconds_since(found: SpooledRecord) -> float:
    return max(0.0, (utc_now() - found.since).total_seconds())


def _show(report: SpoolReport) -> None:
    orphans = [segment for segment in report.segments if not segment.is_owned]
    print(f"spool folder   {report.folder}")
    print(f"waiting        {_waiting(report.segments)}")
    print(f"of dead owners {_waiting(orphans)}")
    print(f"oldest         {_age(report)}")
    print(f"damaged        {_damaged(report)}")
    letters = ", ".join(f"{count:,} {kind.value}" for kind, count in report.dead_letters.items())
    print(f"dead letters   {letters or 'none'}")


def _waiting(segments: Sequence[SegmentSurvey]) -> str:
    records = sum(segment.waiting_records for segment in segments)
    return f"{number_of(records, 'decision')} in {number_of(len(segments), 'segment')}"


def _age(report: SpoolReport) -> str:
    oldest = min((segment.oldest_at_us for segment in report.segments if segment.oldest_at_us), default=None)
    return "nothing waits" if oldest is None else f"{max(0.0, time.time() - oldest / 1e6):,.1f} s ago"


def _damaged(report: SpoolReport) -> str:
    regions = sum(segment.damaged_regions for segment in report.segments)
    names = ", ".join(report.damaged_files)
    aside = f"{number_of(len(report.damaged_files), 'file')} set aside{f': {names}' if names else ''}"
    return f"{number_of(regions, 'region')} waiting, {aside}"


def _document(report: SpoolReport) -> dict[str, object]:
    return {
        "folder": str(report.folder),
        "waiting_records": report.waiting_records,
        "segments": [
            {
                "name": segment.name,
                "is_owned": segment.is_owned,
                "waiting_records": segment.waiting_records,
                "waiting_bytes": segment.waiting_bytes,
                "damaged_regions": segment.damaged_regions,
                "torn_bytes": segment.torn_bytes,
            }
            for segment in report.segments
        ],
        "damaged_files": list(report.damaged_files),
        "dead_letters": {kind.value: count for kind, count in report.dead_letters.items()},
    }
