"""The scenarios' scripts pass what the NixOS test driver's build would run on them: ty, and ruff's F rules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from evaluator import REPO, SCENARIOS, Nix

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=SCENARIOS)
def script(
    nix: Nix, nixpkgs_tree: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A scenario's script with the driver's type hints before it."""
    found = nix.eval(
        f"let test = flake.legacyPackages.x86_64-linux.scenarios.{request.param}.config; in "
        "{ script = test.testScriptString; vms = builtins.attrNames test.nodes;"
        " containers = builtins.attrNames test.containers; }"
    )
    hints = [f"{re.sub('[^A-z0-9_]', '_', name)} = create_fake_qemu_machine()" for name in found["vms"]]
    hints += [f"{re.sub('[^A-z0-9_]', '_', name)} = create_fake_nspawn_machine()" for name in found["containers"]]
    path = tmp_path_factory.mktemp("scripts") / f"{request.param.replace('-', '_')}.py"
    prepend = (nixpkgs_tree / "nixos/lib/test-script-prepend.py").read_text()
    path.write_text("\n".join([prepend, *hints, found["script"]]))
    return path


def test_ruff_finds_no_name_that_is_not_there(script: Path) -> None:
    # The driver's own header imports names for its hints alone.
    _check(
        [
            _program("ruff"),
            "check",
            "--isolated",
            "--no-cache",
            "--select",
            "F",
            "--ignore",
            "F401,F811",
            script,
        ]
    )


def test_ty_accepts_its_types(script: Path, nixpkgs_tree: Path) -> None:
    driver = nixpkgs_tree / "nixos/lib/test-driver/src"
    _check([_program("ty"), "check", "--extra-search-path", driver, "--ignore", "import-not-found", script])


def _program(name: str) -> str:
    beside = REPO / ".venv/bin" / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or pytest.skip(f"no {name} here (it is on PyPI)")


def _check(arguments: list[str | Path]) -> None:
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
