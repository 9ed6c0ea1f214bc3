"""The drill command before it touches anything: the list, refusals, bad usage."""

from __future__ import annotations

from pathlib import Path

import pytest
from inventories import GOOD
from test_cli import orch

from pgha_orch.drills.scenario import discover


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    path.write_text(GOOD)
    return path


def test_the_list_names_every_scenario(hosts: Path) -> None:
    done = orch("drill", hosts, "--list")
    assert done.returncode == 0
    for scenario in discover():
        assert f"{scenario.number:>4}  {scenario.name}" in done.stdout


def test_a_cluster_that_is_not_marked_is_refused_and_nothing_is_made_for_it(hosts: Path) -> None:
    done = orch("drill", hosts, "1")
    assert done.returncode == 2
    assert 'drills: "forbidden"' in done.stderr and "add `drills: allowed`" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_scenario_is_refused_with_the_known_ones(hosts: Path) -> None:
    done = orch("drill", hosts, "earthquake")
    assert done.returncode == 2
    assert "earthquake: no such drill" in done.stderr and "10 power-off" in done.stderr


def test_a_report_that_cannot_be_written_is_found_out_before_the_drill(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(GOOD + "\ndrills: allowed\n")
    done = orch("drill", hosts, "1", "--report", tmp_path / "hosts.yml" / "drill.html")
    assert done.returncode == 2
    assert "drill.html" in done.stderr and "--report" in done.stderr


def test_a_cluster_that_does_not_run_is_refused(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(GOOD + "\ndrills: allowed\n")
    done = orch("drill", hosts, "1")
    assert done.returncode == 1
    assert "deploy" in done.stderr


@pytest.mark.parametrize("option", [("--repeat", "0"), ("--rate", "0"), ("--clients", "1000")])
def test_numbers_out_of_range_are_bad_usage(hosts: Path, option: tuple[str, str]) -> None:
    assert orch("drill", hosts, *option).returncode == 2
