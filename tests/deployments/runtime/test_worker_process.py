"""A process that is replaced when it hangs or dies, and seldom when it does so each time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.local_cluster.processes import descendants, end, is_alive
from deployments.runtime.worker_process import (
    FIRST_PAUSE_SECONDS,
    LOWEST_PRIORITY,
    MAX_PAUSE_SECONDS,
    FailureKind,
    NoResult,
    WorkerProcess,
)
from tests.deployments.runtime.answering import DIE, DIE_ONCE, HANG, PRIORITY

pytestmark = pytest.mark.system

PROGRAM = "tests.deployments.runtime.answering"
PATIENCE_SECONDS = 60.0
RESTING = NoResult(kind=FailureKind.ABSENT, reason="the process was lost and is not replaced yet")
# Asks a question that hangs, from the program that the test kills.
ASKING = f"""
import sys
from deployments.runtime.worker_process import WorkerProcess
process = WorkerProcess({PROGRAM!r}, sys.argv[1])
print(process.ask(b"", {PATIENCE_SECONDS}).decode(), flush=True)
process.ask({HANG!r}, {PATIENCE_SECONDS})
"""


class Bench:
    """A process, a clock that stands still, and a list of all starts."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self._starts = folder / "starts"
        self.process = WorkerProcess(PROGRAM, str(self._starts), steady=lambda: self.now)

    def ask(self, question: bytes, limit_seconds: float = PATIENCE_SECONDS) -> bytes | NoResult:
        return self.process.ask(question, limit_seconds)

    @property
    def starts(self) -> list[str]:
        return self._starts.read_text(encoding="utf-8").split() if self._starts.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.process.close()


def test_process_answers_one_question_after_the_other(bench: Bench) -> None:
    """It starts with the first question, as a process of its own, and stays."""
    assert bench.starts == []
    first, second = bench.ask(b"who"), bench.ask(b"who")
    assert isinstance(first, bytes)
    assert (first, bench.starts) == (second, [first.decode()])
    assert int(first) != os.getpid()


def test_process_does_not_hear_what_is_said_to_its_parents_group(bench: Bench) -> None:
    """Ctrl-C in a terminal is; when this process may go is its parent's decision, also while it still imports."""
    answer = bench.ask(b"who")
    assert isinstance(answer, bytes)
    assert os.getpgid(int(answer)) == int(answer)


def test_process_has_the_lowest_priority(bench: Bench) -> None:
    """Whatever that of its parent is, and yields a core at once to whoever wakes."""
    assert bench.ask(PRIORITY) == f"{LOWEST_PRIORITY} {os.SCHED_IDLE}".encode()


def test_large_questions_arrive(bench: Bench) -> None:
    """Also those that no buffer holds."""
    assert isinstance(bench.ask(bytes(10**7)), bytes)


def test_one_death_may_be_an_accident(bench: Bench, tmp_path: Path) -> None:
    """The question is asked once more, and nobody is told of the first time."""
    assert isinstance(bench.ask(DIE_ONCE + str(tmp_path / "mark").encode()), bytes)
    assert len(bench.starts) == 2


def test_question_of_which_two_processes_die_has_killed_them(bench: Bench) -> None:
    """It says how the last one ended; the next process starts after a pause, and answers."""
    assert bench.ask(DIE) == NoResult(kind=FailureKind.DIED, reason="the process died: exit code 7")
    assert bench.ask(b"who") == RESTING
    bench.now += FIRST_PAUSE_SECONDS
    assert isinstance(bench.ask(b"who"), bytes)
    assert len(bench.starts) == 3


def test_death_counts_where_nobody_is_left_to_ask_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement that is not ready in time must not hide that the question was deadly."""
    bench.ask(b"who")
    first = bench.process._child
    monkeypatch.setattr(type(first), "is_ready", lambda child, _: child is first)
    assert bench.ask(DIE) == NoResult(kind=FailureKind.DIED, reason="the process died: exit code 7")
    assert bench.ask(b"who") == RESTING


def test_process_for_which_there_is_no_room_is_nobodys_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory or descriptors is no crash of what was asked."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert bench.ask(b"who") == NoResult(
        kind=FailureKind.ABSENT, reason="the process did not start: cannot allocate memory"
    )


def test_process_that_hangs_is_killed_and_replaced(bench: Bench) -> None:
    """In time, and told apart from one that died."""
    bench.ask(b"who")
    (hanging,) = (process for process in descendants(os.getpid()) if str(process.pid) in bench.starts)
    assert bench.ask(HANG, 0.2) == NoResult(kind=FailureKind.HUNG, reason="took longer than 0.2 s")
    assert not is_alive(hanging)
    assert bench.ask(b"who") == RESTING
    bench.now += FIRST_PAUSE_SECONDS
    assert isinstance(bench.ask(b"who"), bytes)


def test_deadly_questions_do_not_start_a_process_each(bench: Bench) -> None:
    """The pause after a death doubles up to its bound, whatever is asked meanwhile."""
    outcomes = []
    for _ in range(200):
        outcomes.append(bench.ask(DIE))
        bench.now += 1.0
    pauses = [5, 10, 20, 40, 80]
    assert pauses[-1] == MAX_PAUSE_SECONDS
    deaths = [number for number, outcome in enumerate(outcomes) if outcome != RESTING]
    assert deaths == [0, *(sum(pauses[: count + 1]) for count in range(len(pauses)))]
    assert len(bench.starts) == 2 * len(deaths)


def test_answer_forgets_earlier_losses(bench: Bench) -> None:
    """After a question that was answered the next pause is the shortest again."""
    bench.ask(DIE)
    bench.now += FIRST_PAUSE_SECONDS
    bench.ask(b"who")
    bench.ask(DIE)
    bench.now += FIRST_PAUSE_SECONDS
    assert isinstance(bench.ask(b"who"), bytes)


def test_process_that_does_not_start_is_nobodys_fault() -> None:
    """What was asked has not been looked at, and the pauses are those after any other loss."""
    process = WorkerProcess(PROGRAM, "failing", steady=lambda: 0.0)
    assert process.ask(b"", PATIENCE_SECONDS) == NoResult(
        kind=FailureKind.ABSENT, reason="the process did not start: exit code 3"
    )
    assert process.ask(b"", PATIENCE_SECONDS) == RESTING


def test_slow_start_goes_on_while_questions_pass(bench: Bench) -> None:
    """A question waits no longer than its limit, and the process that it began to start serves a later one."""
    assert bench.ask(b"who", 0.0) == NoResult(kind=FailureKind.ABSENT, reason="the process is still starting")
    assert isinstance(bench.ask(b"who"), bytes)
    assert len(bench.starts) == 1


def test_closed_process_is_gone_for_good(bench: Bench) -> None:
    """Also for questions that come later."""
    bench.ask(b"who")
    (child,) = (process for process in descendants(os.getpid()) if str(process.pid) in bench.starts)
    bench.process.close()
    assert end((child,), PATIENCE_SECONDS) == 0
    assert bench.ask(b"who") == RESTING


@pytest.mark.parametrize("question", [b"who", HANG])
def test_process_that_is_closed_while_it_starts_or_answers_alarms_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture, question: bytes
) -> None:
    """Its end was ordered, so no line of the log tells of a signal."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(bench.ask, question)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not descendants(os.getpid()) or (question == HANG and not bench.starts):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        bench.process.close()
        found = answer.result(PATIENCE_SECONDS)
    assert isinstance(found, NoResult)
    assert caplog.records == []


@pytest.mark.skipif(sys.platform != "linux", reason="not run: only Linux ends a child with its parent")
def test_process_dies_with_its_parent(tmp_path: Path) -> None:
    """However the parent ends, and although the child is in the middle of an answer."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKING, str(tmp_path / "starts")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        (child,) = (process for process in descendants(os.getpid()) if process.pid == pid)
        parent.kill()
        assert end((child,), PATIENCE_SECONDS) == 0


def test_process_of_a_niced_service_stays_niced() -> None:
    """A usual priority is asked for; the service was started with less, which nobody but root could take back."""
    program = (
        "import os, sys\n"
        "from deployments.runtime.worker_process import answer_parent\n"
        "def prepare():\n"
        "    print(os.getpriority(os.PRIO_PROCESS, 0), flush=True)\n"
        "    os._exit(0)\n"
        "answer_parent(prepare, 0)\n"
    )
    command = ["nice", "-n", "1", sys.executable, "-c", program, "0"]
    done = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 1)
