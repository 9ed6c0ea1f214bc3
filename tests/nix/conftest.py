"""A Nix to evaluate with: the machine's own, or that in the chroot of tools/nixos-on-debian; skipped without.

PGHA_NIXPKGS and PGHA_NIXOS_GENERATORS name the trees that take the flake inputs' places, PGHA_NIXOS_ON_DEBIAN the tool.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluator import CACHE, Nix, copy_flake, tool, tree


@pytest.fixture(scope="session")
def nixpkgs_tree() -> Path:
    return tree("PGHA_NIXPKGS", CACHE / "nixpkgs", "nixos/modules/module-list.nix")


@pytest.fixture(scope="session")
def nix(nixpkgs_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    generators = tree("PGHA_NIXOS_GENERATORS", CACHE / "nixos-generators", "format-module.nix")
    if shutil.which("nix-instantiate"):
        source = tmp_path_factory.mktemp("flake")
        copy_flake(source)
        yield Nix((), Path("/"), str(source), str(nixpkgs_tree), str(generators))
        return
    chroot = tool()
    if os.geteuid() != 0 or not (chroot / "base/usr/bin/nix-instantiate").exists():
        pytest.skip(f"no Nix: neither nix-instantiate nor its chroot {chroot} (tools/nixos-on-debian) as root")
    # The chroot has its nixpkgs mounted on /nixpkgs; the rest is copied in.
    source, inside = chroot / "base/w/src/pgha-tests", "/w/src/pgha-tests"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    copy_flake(source)
    shutil.copytree(generators, source / ".nixos-generators")
    yield Nix((str(chroot / "n.sh"),), chroot / "base", inside, "/nixpkgs", f"{inside}/.nixos-generators")
    shutil.rmtree(source)
