"""`gantry db import`: plant data from files into the database."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.database import named_url
from deployments.commands.db.schema import database
from deployments.commands.terminal import counted
from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from deployments.persistence.decisions.plant_repository import PlantRepository
    from deployments.plants.files import PlantFile
    from deployments.plants.sheets import Spelling
    from deployments.settings.service import Settings

_CHUNK = 500


class Kind(StrEnum):
    """What a file holds."""

    MACHINES = "machines"
    CALENDAR = "calendar"
    JOBS = "jobs"


Document = dict[str, Any]


def register(_app: typer.Typer) -> None:
    """Add the command to the group `db`."""
    database.command("import")(import_)


def import_(
    kind: Annotated[Kind, typer.Argument(help="What the file holds.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV, XLSX or JSON.")],
    plant: Annotated[str, typer.Option(help="Plant id; default: GANTRY_PLANT_ID.")] = "",
    replace: Annotated[bool, typer.Option(help="Forget what the plant had; else entries with the same id.")] = False,
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Numbers in cells are written 2,5.")] = False,
    day_first: Annotated[bool, typer.Option("--day-first", help="Dates in cells may be written 25.07.2026.")] = False,
) -> None:
    """Put machines, pending jobs or the calendar of a plant into the database: all of the file, or nothing.

    Every bad line is named, those with the same fault in one sentence. Of an XLSX file the sheet of that name counts,
    else the first. A calendar always takes the place of the one before. Templates to copy are
    in the folder `templates` of the package; requests without machines, or with an empty list of jobs,
    are scheduled with what was imported.

    Example: gantry db import jobs jobs.csv --plant penang --replace
    """
    from deployments.plants.sheets import InvalidPlantFile, Spelling, folded, is_table
    from deployments.settings.service import load_settings

    settings = load_settings()
    plant_id = plant or settings.plant_id
    try:
        if (decimal_comma or day_first) and not is_table(file):
            raise typer.BadParameter("--decimal-comma and --day-first are for cells: JSON has a spelling of its own")
        found = read_file(kind, file, settings, Spelling(decimal_comma=decimal_comma, day_first=day_first))
    except InvalidPlantFile as error:
        for sentence in folded(error.reasons):
            print(f"{file.name}, {sentence}", file=sys.stderr)
        raise
    for warning in found.warnings:
        print(f"{file.name}: {warning}", file=sys.stderr)
    documents = [model.model_dump(mode="json", by_alias=True) for model in found.models]
    store(kind, plant_id, documents, settings, replace=replace)
    amount = "calendar" if kind is Kind.CALENDAR else f"{len(documents):,} {kind.value}"
    print(f"plant {plant_id}: {amount} imported from {file.name}")


def read_file(kind: Kind, file: Path, settings: Settings, spelling: Spelling) -> PlantFile[Any]:
    """What the file holds; a calendar is one model. Raises `InvalidPlantFile`."""
    from deployments.plants.files import read_calendar, read_jobs, read_machines

    if kind is Kind.MACHINES:
        return read_machines(file, settings.max_machines, spelling)
    if kind is Kind.JOBS:
        return read_jobs(file, settings.max_jobs, spelling)
    return read_calendar(file, zone=settings.zone, now=utc_now(), spelling=spelling)


def store(kind: Kind, plant_id: str, documents: list[Document], settings: Settings, *, replace: bool) -> None:
    """Writes the documents in one transaction. Raises `DatabaseError`."""
    from deployments.local_cluster.service import prepare_database
    from deployments.persistence.database import create_engine
    from deployments.persistence.decisions.plant_repository import plant_work

    url = named_url(settings.database_url.get_secret_value())
    prepare_database(settings)
    engine = create_engine(url)
    try:
        with plant_work(engine) as plants:
            _write(plants, kind, plant_id, documents, replace=replace)
    finally:
        engine.dispose()


def _write(plants: PlantRepository, kind: Kind, plant_id: str, documents: list[Document], *, replace: bool) -> None:
    if kind is Kind.CALENDAR:
        plants.store_calendar(plant_id, documents[0])
        return
    machines = kind is Kind.MACHINES
    if replace:
        (plants.clear_machines if machines else plants.clear_jobs)(plant_id)
    with counted("importing", len(documents)) as on_progress:
        for first in range(0, len(documents), _CHUNK):
            some = documents[first : first + _CHUNK]
            (plants.store_machines if machines else plants.store_jobs)(plant_id, some)
            on_progress(len(some))
