"""Records the answers of a service, or compares them with a recording; without a URL it starts a service of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.system.recording.catalogue import REQUESTS
from tests.system.recording.normal_form import Answer
from tests.system.recording.player import play
from tests.system.recording.recorded_answers import differences, read_answers, write_answers
from tests.system.recording.recorded_service import recorded_service
from tests.system.recording.request import Holder
from tests.system.serving import HEADERS


def main() -> int:
    """1 when anything is answered otherwise than recorded."""
    options = _options()
    begun = time.monotonic()
    answers = _answers(options)
    _say(f"{len(answers)} answers in {time.monotonic() - begun:.0f} s")
    if options.out is not None:
        write_answers(options.out, answers)
    if options.compare is None:
        return 0
    recorded = read_answers(options.compare)
    if options.base_url is not None:
        # Of a service that is not our own only what could be asked is compared.
        recorded = {name: answer for name, answer in recorded.items() if name in answers}
    found = differences(recorded, answers)
    print(found or "every answer is as it was recorded")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.recording", description=__doc__)
    parser.add_argument("--out", type=Path, help="file to write the answers to")
    parser.add_argument("--compare", type=Path, help="recording to compare the answers with; 1 when they differ")
    parser.add_argument("--whole", action="store_true", help="keep long bodies instead of their digests")
    parser.add_argument("--base-url", help="a fresh service that runs already; absent: one is started")
    parser.add_argument("--key", default=HEADERS["X-API-Key"], help="the operator's key of that service")
    return parser.parse_args()


def _answers(options: argparse.Namespace) -> Mapping[str, Answer]:
    if options.base_url is not None:
        keys = {Holder.OPERATOR: options.key}
        return play(options.base_url, keys, REQUESTS, is_whole=options.whole, say=_say)
    with tempfile.TemporaryDirectory(prefix="gantry-recording-") as folder, recorded_service(Path(folder)) as service:
        return play(service.url, service.keys, REQUESTS, is_whole=options.whole, say=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
