"""Every NixOS scenario, in tools/nixos-on-debian: it passes, and it fails when what it tests is broken.

PGHA_NIXOS_ON_DEBIAN is where that tool's setup.sh put it, with a nixpkgs tree in its chroot.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from breakages import BREAKAGES, IN_THE_TOOL, Breakage
from evaluator import CACHE, copy_flake, tool, tree

# The scenarios end by their own global timeout (900 s); evaluation and building come before it.
TIMEOUT_S = 1500

pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)

# The tool reads no lock file: what its evaluation takes for nixos-generators.
INPUTS = """
{{ callFlake, nixpkgsFlake }}:
{{
  nixos-generators = callFlake /{inside} {{
    nixlib = nixpkgsFlake;
    nixpkgs = nixpkgsFlake;
  }};
}}
"""


@dataclass(frozen=True)
class Tool:
    """Runs a scenario of a copy of the project."""

    home: Path
    inputs: Path

    def run(self, scenario: str, project: Path) -> tuple[bool, float, str]:
        """Whether it passed, seconds, and what was said."""
        began = time.monotonic()
        child = subprocess.Popen(
            [self.home / "nodtest.sh", "flake", project, f"legacyPackages.x86_64-linux.scenarios.{scenario}"],
            env={**os.environ, "NOD": str(self.home), "NOD_INPUTS": str(self.inputs)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=TIMEOUT_S)
        except BaseException:
            # The driver ends its machines when it is interrupted.
            os.killpg(child.pid, signal.SIGINT)
            child.wait(timeout=120)
            raise
        _discard(said)
        return child.returncode == 0, time.monotonic() - began, said


@pytest.fixture(scope="module")
def nixos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    home = tool()
    if not (home / "nodtest.sh").exists() or not (home / "pyenv/bin/python").exists():
        pytest.skip(f"no tools/nixos-on-debian in {home}: run its setup.sh, or set PGHA_NIXOS_ON_DEBIAN")
    if "cgroup.procs" not in (home / "boot.sh").read_text():
        pytest.skip(f"{home}/boot.sh gives machines no cgroup of their own (nix/README.md, Tests)")
    generators = tree("PGHA_NIXOS_GENERATORS", CACHE / "nixos-generators", "format-module.nix")
    inside = "w/src/pgha-generators"
    shutil.rmtree(home / "base" / inside, ignore_errors=True)
    shutil.copytree(generators, home / "base" / inside)
    inputs = tmp_path_factory.mktemp("tool") / "inputs.nix"
    inputs.write_text(INPUTS.format(inside=inside))
    yield Tool(home, inputs)
    shutil.rmtree(home / "base" / inside)


@pytest.mark.parametrize("scenario", IN_THE_TOOL)
def test_a_scenario_passes(nixos: Tool, scenario: str, tmp_path: Path, reports: Path) -> None:
    project = _project(tmp_path, None)
    passed, seconds, said = nixos.run(scenario, project)
    (reports / f"nixos-{scenario}.log").write_text(said)
    print(f"{scenario}: {seconds:.0f} s, its script {_script_seconds(said)}")
    assert passed, said[-3000:]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: f"{each.scenario}: {each.what}")
def test_a_scenario_fails_when_what_it_tests_is_broken(
    nixos: Tool, breakage: Breakage, tmp_path: Path, reports: Path
) -> None:
    project = _project(tmp_path, breakage)
    passed, seconds, said = nixos.run(breakage.scenario, project)
    (reports / f"nixos-{breakage.scenario}-broken-{BREAKAGES.index(breakage)}.log").write_text(said)
    print(f"{breakage.scenario}: {seconds:.0f} s, {breakage.what}")
    assert not passed, f"passed, although {breakage.what}"
    # It ran: an evaluation that fails, or a machine that does not boot, shows nothing.
    assert "nodtest: rc=1" in said, said[-3000:]
    assert re.search(breakage.says, said, re.DOTALL), said[-3000:]


def _project(directory: Path, breakage: Breakage | None) -> Path:
    """A copy of the project, broken or whole, with identities by its own `pgha-orch render`."""
    project = directory / "pgha"
    copy_flake(project)
    if breakage is not None:
        breakage.apply(project)
    subprocess.run(
        [project / "tests/nixos/render", Path(sys.executable).with_name("pgha-orch")],
        env={**os.environ, "PYTHONPATH": str(project / "orchestrator/src"), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    return project


def _script_seconds(said: str) -> str:
    found = re.search(r"nodtest: OK .* in ([\d.]+)s", said)
    return f"{float(found[1]):.0f} s" if found else "failed"


def _discard(said: str) -> None:
    """Remove the machines' roots (hard links into the tool's store, but for what was written)."""
    for state in re.findall(r"state in (/tmp/nodt-\w+)", said):
        subprocess.run(["chattr", "-R", "-i", state], stderr=subprocess.DEVNULL, timeout=60, check=False)
        shutil.rmtree(state, ignore_errors=True)
