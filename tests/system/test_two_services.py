"""Two services on one MariaDB come to one truth: the drill on running services, and random walks of controllers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from tests.deployments.rollout_control.test_agreement_laws import SHIPPED, walk
from tests.requirements import not_run
from tests.system.mariadb import is_installed
from tests.system.two_services import (
    drill,
    follow,
    outlast,
    roll_back_at_the_follower,
    roll_back_without_the_database,
    take_over,
)

pytestmark = pytest.mark.system

# What is asserted leaves room for a machine that does many other things.
ALLOWED_SECONDS = 5.0


def test_two_services_come_to_one_truth_on_mariadb(engine: Engine) -> None:
    """The law of `test_agreement_laws`, where two transactions really meet; fifteen walks of thirty steps."""
    walk(engine, settings(SHIPPED, max_examples=15))


def test_two_services_on_one_mariadb(tmp_path: Path) -> None:
    """The second follows, rolls back for both, also without the database, and takes over when the first is killed."""
    if not is_installed():
        not_run("mariadb", "mariadbd is not installed")
    with drill(tmp_path) as found:
        follow(found)
        outlast(found)
        assert roll_back_at_the_follower(found) < ALLOWED_SECONDS
        assert roll_back_without_the_database(found) < ALLOWED_SECONDS
        take_over(found)
