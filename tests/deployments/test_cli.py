"""The `gantry` command: complete, documented, and quiet about what it does not need."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from deployments import cli


def _commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command or group with what is typed for it, and all below it."""
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, *words, name)


COMMANDS = tuple(_commands(get_command(cli.app)))


@pytest.mark.parametrize("name", ["demo", "serve", "validate", "db"])
def test_cli_has_the_commands_of_the_service(name: str) -> None:
    """What the documentation of the command line names is there."""
    assert name in CliRunner().invoke(cli.app, ["--help"]).output.split()


@pytest.mark.parametrize(
    "words",
    [
        ("demo",),
        ("serve",),
        ("validate",),
        ("db", "upgrade"),
        ("db", "import"),
        ("db", "spool", "status"),
        ("db", "spool", "replay"),
        ("db", "size"),
        ("db", "prune"),
        ("db", "partitions"),
        ("rollout", "simulate"),
    ],
)
def test_every_command_shows_an_example(words: tuple[str, ...]) -> None:
    """`--help` of each command says how it is called."""
    result = CliRunner().invoke(cli.app, [*words, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output


def test_cli_tells_its_version() -> None:
    """`gantry --version` says what is installed, the version of the package."""
    result = CliRunner().invoke(cli.app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"gantry {version('gantry')}\n"


def test_failure_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An expected failure is told in one line on stderr, with a non-zero exit code."""
    monkeypatch.setenv("GANTRY_LOG_LEVEL", "loud")
    monkeypatch.setattr(sys, "argv", ["gantry", "db", "upgrade"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.err.startswith("gantry: GANTRY_LOG_LEVEL: ")
    assert printed.err.count("\n") == 1


def test_file_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder was named where a file stands: the line says which."""
    problems, output = tmp_path / "problems", tmp_path / "report"
    problems.mkdir()
    (problems / "tiny.fjs").write_text("2 2\n2 1 0 3 1 1 2\n2 1 1 3 1 0 2\n", encoding="utf-8")
    output.touch()
    monkeypatch.setattr(sys, "argv", ["gantry", "evaluate", str(problems), "--output", str(output)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"gantry: {output} cannot be used: File exists"


@pytest.mark.system
def test_help_needs_neither_ray_nor_torch() -> None:
    """The command line is assembled without what only some commands need."""
    program = "import sys, deployments.cli; print(sorted({'ray', 'torch', 'sqlalchemy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _as_shown(text: str) -> str:
    """Text without frames, line breaks and what marks a word as code."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text.replace("`", "")).split())


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_help_shows_every_word(words: tuple[str, ...], command: Any) -> None:
    """Docstrings, and the texts of options and arguments: nothing in them is taken for markup and left out."""
    shown = _as_shown(CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "1000"}).output)
    texts = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
    for paragraph in (part for text in texts if text for part in inspect.cleandoc(text).split("\n\n")):
        assert _as_shown(paragraph) in shown


def test_help_shows_what_stands_in_brackets() -> None:
    """The form of the file is the whole point of that sentence."""
    shown = CliRunner().invoke(cli.app, ["evaluate", "--help"], env={"COLUMNS": "1000"}).output
    assert "JSON: problem -> [lower bound, best]" in shown
