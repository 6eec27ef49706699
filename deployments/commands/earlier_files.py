"""The earlier schedule that a request in a file continues: an answer in the same folder, named by its id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from env.errors import InvalidProblem

if TYPE_CHECKING:
    from deployments.contracts.freezing import EarlierRow
    from deployments.contracts.request import ScheduleRequest


def earlier_rows_beside(file: Path, request: ScheduleRequest) -> tuple[EarlierRow, ...] | None:
    """The rows in `<previous_schedule_id>.json` beside `file`, None when there is no such file.

    Raises `InvalidProblem` when it is no answer of `POST /schedule`.
    """
    from deployments.contracts.freezing import earlier_rows

    name = f"{request.previous_schedule_id}.json"
    path = file.parent / name
    if request.previous_schedule_id is None or Path(name).name != name or not path.is_file():
        return None
    try:
        return earlier_rows(path.read_bytes())
    except ValueError as error:
        raise InvalidProblem([("previous_schedule_id", f"{name}: {error}")]) from None
