"""The `gantry` command: complete, documented, and quiet about what it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deployments import cli


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


def test_help_needs_neither_ray_nor_torch() -> None:
    """The command line is assembled without what only some commands need."""
    program = "import sys, deployments.cli; print(sorted({'ray', 'torch', 'sqlalchemy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
