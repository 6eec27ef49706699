from __future__ import annotations

import numpy as np

from env.insight.gantt import gantt_pixels, gantt_text
from env.instances.generator import random_problem, toy_problem
from env.simulator.rules import Rule, dispatch


def test_text_shows_who_works_where() -> None:
    """In the toy schedule each machine works on both jobs without a pause."""
    lines = gantt_text(toy_problem(), dispatch(toy_problem(), Rule.FIFO), width=16).splitlines()
    assert lines[:2] == [" left AAAAAABBBB", "right BBBBBBAAAA"]


def test_text_counts_machines_that_it_does_not_draw() -> None:
    """Machines beyond the limit are mentioned, never silently dropped."""
    text = gantt_text(toy_problem(), dispatch(toy_problem(), Rule.FIFO), max_machines=1)
    assert "and 1 machines more" in text


def test_pixels_have_a_band_for_each_machine() -> None:
    """Busy pixels are coloured, idle ones white."""
    problem = random_problem(np.random.default_rng(0))
    picture = gantt_pixels(problem, dispatch(problem, Rule.SPT), width=300, row_height=10)
    assert picture.shape == (10 * len(problem.machines), 300, 3)
    assert (picture == 255).all(axis=2).any()
    assert not (picture == 255).all()
