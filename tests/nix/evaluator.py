"""Evaluation of the flake, with its inputs replaced by trees on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
CACHE = Path("/var/cache/pgha")
# What the flake is made of; the rest of the work tree is no part of its evaluation.
SOURCES = (
    "flake.nix", "flake.lock", "nix", "images", "orchestrator/pyproject.toml", "orchestrator/src",
    "orchestrator/tests", "tests/nixos",
)  # fmt: skip
IMAGES = tuple(sorted(path.stem for path in (REPO / "images").glob("*.nix")))
SCENARIOS = tuple(sorted(path.stem for path in (REPO / "tests/nixos").glob("*.nix") if path.stem != "default"))
# A cold evaluation of a scenario's nine machines, on a busy machine.
TIMEOUT_S = 600


@dataclass(frozen=True)
class Nix:
    """Evaluates expressions over the flake; `root` is what its paths are relative to."""

    command: tuple[str, ...]
    root: Path
    source: str
    nixpkgs: str
    generators: str

    def eval(self, expression: str) -> Any:  # noqa: ANN401  # whatever JSON the expression gives
        """The value of an expression in which `flake` is the flake."""
        return json.loads(
            self._run("nix-instantiate", "--eval", "--strict", "--json", "--expr", self._with(expression))
        )

    def instantiate(self, expression: str) -> Path:
        """The derivation that an expression gives, written to the store; the path as this process sees it."""
        output = self._run("nix-instantiate", "--expr", self._with(expression))
        return self.root / output.strip().splitlines()[-1].lstrip("/")

    def closure(self, derivation: Path) -> list[Path]:
        """Every derivation and source that it is built from."""
        output = self._run("nix-store", "--query", "--requisites", f"/{derivation.relative_to(self.root)}")
        return [self.root / line.lstrip("/") for line in output.splitlines()]

    def flake_check(self, system: str, memory_bytes: int) -> None:
        """`nix flake check --no-build` for one system, as nix/README.md has it; fails when it wants more memory."""
        inputs = {"nixpkgs": self.nixpkgs, "nixos-generators": self.generators}
        overrides = [word for name, path in inputs.items() for word in ("--override-input", name, f"path:{path}")]
        self._run(
            *("env", "GC_MAXIMUM_HEAP_SIZE=12G", "nix", "--extra-experimental-features", "nix-command flakes"),
            *("flake", "check", "--no-build", "--no-write-lock-file", "--system", system),
            *(f"path:{self.source}", *overrides),
            limits=("prlimit", f"--as={memory_bytes}"),
            timeout_s=1500,
        )

    def parse(self, text: str) -> None:
        self._run("nix-instantiate", "--parse", "-", stdin=text)

    def _with(self, expression: str) -> str:
        return (
            f"let flake = import {self.source}/tests/nix/outputs.nix "
            f'{{ source = "{self.source}"; nixpkgs = "{self.nixpkgs}"; generators = "{self.generators}"; }};'
            f" in {expression}"
        )

    def _run(
        self, *arguments: str, stdin: str | None = None, limits: tuple[str, ...] = (), timeout_s: int = TIMEOUT_S
    ) -> str:
        done = subprocess.run(
            [*limits, *self.command, *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(done.stderr[-3000:], pytrace=False)
        return done.stdout


def tree(variable: str, default: Path, witness: str) -> Path:
    found = Path(os.environ.get(variable, default))
    if not (found / witness).exists():
        pytest.skip(f"no tree at {found}: set {variable}")
    return found


def tool() -> Path:
    """Where tools/nixos-on-debian is set up: its chroot has a Nix, and its machines boot in systemd-nspawn."""
    return Path(os.environ.get("PGHA_NIXOS_ON_DEBIAN", CACHE / "nod"))


def copy_flake(target: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache", "debian")
    for name in (*SOURCES, "tests/nix"):
        origin = REPO / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target / name, ignore=ignore, symlinks=True)
        else:
            shutil.copy(origin, target / name)
