"""The wheel holds the three floors whole, and works where no checkout is near.

`python -m tests.system.packaging` also compiles the core there, solves by the policy, and runs the demo.
"""

from __future__ import annotations

import tarfile
import zipfile

import pytest

from tests.system.packaging import PROBLEM, VERSION, Distributions, built, files_of_floors, installed

pytestmark = pytest.mark.system

ALWAYS = {
    "deployments/serve_config.yaml",
    "deployments/examples/plant-170.json",
    "deployments/static/swagger-ui-bundle.js",
    "deployments/templates/jobs.csv",
    "deployments/ops/nftables/gantry.nft",
    "deployments/rollout/report/report.css",
    "deployments/persistence/migrations/script.py.mako",
    "deployments/persistence/migrations/versions/r0001_decision.py",
    "models/full_production/manifest.json",
    "models/full_production/weights.npz",
}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Built once."""
    return built(tmp_path_factory.mktemp("distributions"))


def test_wheel_holds_every_file_of_the_floors(distributions: Distributions) -> None:
    """Code and data, byte for byte, links as what they lead to; and nothing else."""
    with zipfile.ZipFile(distributions.wheel) as wheel:
        shipped = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped.keys() == files_of_floors().keys()
    assert shipped == files_of_floors()
    assert shipped.keys() >= ALWAYS


def test_source_distribution_holds_every_file_of_the_floors(distributions: Distributions) -> None:
    """What the wheel can be built of, and no test."""
    with tarfile.open(distributions.source) as source:
        names = {member.name.partition("/")[2] for member in source if member.isfile()}
    assert names >= files_of_floors().keys() | {"pyproject.toml", "README.md"}
    assert not [name for name in names if name.startswith("tests")]


def test_wheel_works_where_no_checkout_is_near(distributions: Distributions) -> None:
    """Version, database, help and a schedule, from another folder, with nothing but the wheel and its dependencies."""
    with installed(distributions.wheel) as installation:
        here = installation.programs.parent
        assert all(path.is_relative_to(here) for path in installation.floors())
        assert installation.gantry("--version") == f"gantry {VERSION}\n"
        assert installation.gantry("db", "upgrade").splitlines()[-1].startswith("the schema is at ")
        assert (installation.folder / "data" / "gantry.sqlite3").is_file()
        assert "Example: gantry db import" in installation.gantry("db", "import", "--help")
        # Compiled, as `make verify` has it, the same takes a minute.
        solved = installation.gantry("solve", PROBLEM, "--algorithm", "manual", NUMBA_DISABLE_JIT="1")
        assert [line.split()[-2] for line in solved.splitlines() if " valid " in line] == ["yes"]
