"""The units of a Nix image are those of a Debian image: the same files, the same graph, other paths."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from evaluator import IMAGES, REPO, Nix

pytestmark = pytest.mark.timeout(900)
# Overridden on NixOS, each with a reason beside it in nix/modules.
ALLOWED_SERVICES = {"pgha-data"}  # wantedBy: NixOS reads no [Install]
ALLOWED_DROP_INS = {"pgha-data.service"}  # the journal's link, which is in the Debian image's root


@pytest.fixture(scope="module", params=IMAGES)
def facts(nix: Nix, request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = nix.eval(
        f'import {nix.source}/tests/nix/facts.nix {{ inherit flake; image = "{request.param}"; }}'
    )
    return found


def _install(role: str, target: Path, values: dict[str, str]) -> dict[str, list[str]]:
    """The payload of a role, installed: file below lib to its lines, with what was filled in taken out again."""
    subprocess.run(
        [
            "bash",
            REPO / "images/node/install",
            role,
            target,
            *(f"{name}={value}" for name, value in values.items()),
        ],
        check=True,
        timeout=60,
    )
    lines = {}
    for path in sorted((target / "lib").rglob("*")):
        if path.is_file():
            text = path.read_text()
            for name, value in sorted(values.items(), key=lambda pair: -len(pair[1])):
                text = re.sub(rf"{re.escape(value)}(?![\w.-])", f"@{name}@", text)
            lines[str(path.relative_to(target))] = text.splitlines()
    return lines


def _graph(files: dict[str, list[str]]) -> dict[str, list[str]]:
    keys = (
        "After=",
        "Before=",
        "Requires=",
        "Wants=",
        "Conflicts=",
        "BindsTo=",
        "OnFailure=",
        "Type=",
        "User=",
    )
    return {
        name: [line for line in lines if line.startswith(keys)]
        for name, lines in files.items()
        if name.startswith("lib/systemd/system/")
    }


def test_both_builders_install_the_same_units(facts: dict[str, Any], tmp_path: Path) -> None:
    role = facts["role"]
    text = (REPO / "images/debian/values").read_text()
    debian = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    # `out` is known in the build only.
    nix = {name: re.sub(r"^/[0-9a-z]{52}/", "/nix/store/out/", value) for name, value in facts["placeholders"].items()}
    theirs, ours = _install(role, tmp_path / "debian", debian), _install(role, tmp_path / "nix", nix)
    assert theirs.keys() == ours.keys()
    assert _graph(theirs) == _graph(ours)
    assert len(_graph(ours)) >= 7


def test_nixos_overrides_no_unit_of_the_payload_but_for_a_reason(facts: dict[str, Any]) -> None:
    units = {path.stem for tree in ("all", facts["role"]) for path in (REPO / "images/node" / tree).rglob("*.service")}
    assert units & set(facts["services"]) <= ALLOWED_SERVICES
    assert set(facts["dropIns"]) <= ALLOWED_DROP_INS


def test_every_program_a_unit_names_is_in_the_store(facts: dict[str, Any]) -> None:
    for name, value in facts["placeholders"].items():
        for part in value.split(":"):
            assert part.startswith(("/nix/store/", "/")) and " " not in part, (name, value)
