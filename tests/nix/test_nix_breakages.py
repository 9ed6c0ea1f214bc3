"""What test_nix_scenarios.py breaks is still there to be broken; boots and evaluates nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from breakages import BREAKAGES, IN_THE_TOOL, Breakage
from evaluator import copy_flake


def test_every_scenario_has_something_that_breaks_it() -> None:
    assert {breakage.scenario for breakage in BREAKAGES} == set(IN_THE_TOOL)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: f"{each.scenario}: {each.what}")
def test_a_breakage_still_fits_the_project(breakage: Breakage, tmp_path: Path) -> None:
    copy_flake(tmp_path)
    breakage.apply(tmp_path)
