"""A test that cannot run where it must run fails; anywhere else it does not run, and says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmark_data import data_folder
from tests.deployments.ops.proxying import nginx_command
from tests.deployments.ops.test_nftables import nft_command
from tests.deployments.ops.test_prometheus import promtool_command
from tests.deployments.ops.units import analyze_command, logrotate_command, sandbox_command
from tests.requirements import NAMES, VARIABLE, require_extra, required
from tests.system.browsing import chromium_command
from tests.system.mariadb import private_mariadb

ASKING: dict[str, Callable[[], object]] = {
    "benchmarks": data_folder,
    "bubblewrap": sandbox_command,
    "chromium": chromium_command,
    "logrotate": logrotate_command,
    "mariadb": lambda: private_mariadb().__enter__(),
    "nftables": nft_command,
    "nginx": nginx_command,
    "prometheus": promtool_command,
    "systemd": analyze_command,
}


@pytest.fixture(autouse=True)
def _nothing_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTRY_BENCHMARKS", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_every_name_is_tried() -> None:
    """What `GANTRY_REQUIRE` may name is what the tests below ask for."""
    assert {*ASKING, "train"} == set(NAMES)


@pytest.mark.parametrize("name", ASKING)
def test_what_is_missing_does_not_run(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also where everything else is required."""
    monkeypatch.setenv(VARIABLE, " ".join(set(NAMES) - {name}))
    with pytest.raises(pytest.skip.Exception, match=r"^not run: "):
        ASKING[name]()


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("others", ["", "mariadb,", "train "])
def test_what_is_missing_and_required_fails(monkeypatch: pytest.MonkeyPatch, name: str, others: str) -> None:
    """Alone, or in a list with commas or blanks."""
    monkeypatch.setenv(VARIABLE, others + name)
    with pytest.raises(pytest.fail.Exception, match=r"^required, but cannot run: "):
        ASKING[name]()


def test_extra_that_is_missing_and_required_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any test: whole modules need it."""
    require_extra(["no_such_module"])
    monkeypatch.setenv(VARIABLE, "train")
    require_extra(["json"])
    with pytest.raises(pytest.UsageError, match="the extra 'train' must be installed, had no no_such_module"):
        require_extra(["no_such_module"])


def test_what_nobody_has_cannot_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name would require nothing."""
    monkeypatch.setenv(VARIABLE, "mariadb mariaddb")
    with pytest.raises(pytest.UsageError, match=r"must name some of benchmarks, .*, had mariaddb"):
        required()
