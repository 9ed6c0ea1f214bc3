"""Every output of the flake evaluates to a derivation, for both systems, and an image does so quickly."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from evaluator import IMAGES, REPO, SCENARIOS, Nix

SYSTEMS = ("x86_64-linux", "aarch64-linux")
# One of each kind for the other architecture: the scripts and modules are the same.
SCENARIOS_ELSEWHERE = ("bootstrap", "switchover")
IMAGE_BUDGET_S = 15.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_package_evaluates_to_a_derivation(nix: Nix, system: str) -> None:
    paths = nix.eval(f"builtins.mapAttrs (_: package: package.drvPath) flake.packages.{system}")
    wanted = {f"{image}{kind}" for image in IMAGES for kind in ("", "-raw", "-nspawn")}
    assert wanted | {"default", "haproxy_2_9", "patroni_4_1_5", "pgha-orch"} == set(paths)
    assert all(path.endswith(".drv") for path in paths.values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_evaluates_within_its_budget(nix: Nix, image: str, record_property: pytest.RecordProperty) -> None:
    # Processor time: a wall clock would measure what else this machine does.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    derivation = nix.instantiate(f"flake.packages.x86_64-linux.{image}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    derivations = [path for path in nix.closure(derivation) if path.suffix == ".drv"]
    record_property("seconds", round(took, 1))
    record_property("derivations", len(derivations))
    print(f"{image}: {took:.1f} s, {len(derivations)} derivations")
    assert took < IMAGE_BUDGET_S


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["", "-aarch64"])
@pytest.mark.parametrize("image", IMAGES)
def test_a_configuration_evaluates_to_a_system(nix: Nix, image: str, system: str) -> None:
    path = nix.eval(f'flake.nixosConfigurations."{image}{system}".config.system.build.toplevel.drvPath')
    assert path.endswith(".drv")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", ["appliance", "nspawn", "amazon", "proxmox", "qemu-efi", "vmware"])
def test_a_configuration_makes_an_image_of_any_format(nix: Nix, form: str) -> None:
    path = nix.eval(f"flake.nixosConfigurations.pg-node.config.system.build.images.{form}.drvPath")
    assert path.endswith(".drv")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("system", "scenario"),
    [("x86_64-linux", name) for name in SCENARIOS] + [("aarch64-linux", name) for name in SCENARIOS_ELSEWHERE],
)
def test_a_scenario_evaluates_to_a_test(nix: Nix, system: str, scenario: str) -> None:
    assert nix.eval(f"flake.checks.{system}.scenario-{scenario}.drvPath").endswith(".drv")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_rest_of_the_flake_evaluates(nix: Nix, system: str) -> None:
    paths = nix.eval(
        f"[ flake.devShells.{system}.default.drvPath flake.formatter.{system}.drvPath ]"
        f" ++ map (name: flake.checks.{system}.${{name}}.drvPath)"
        ' [ "haproxy_2_9" "lint-deadnix" "lint-nixfmt" "lint-statix" "patroni_4_1_5" "pgha-orch" ]'
    )
    assert all(path.endswith(".drv") for path in paths)
    assert nix.eval(f"flake.apps.{system}.default.program").endswith("/bin/pgha-orch")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("system", SYSTEMS)
def test_nix_flake_check_passes_within_14_gib(nix: Nix, system: str) -> None:
    nix.flake_check(system, memory_bytes=14 << 30)


def test_the_modules_are_for_every_role(nix: Nix) -> None:
    names = nix.eval("builtins.attrNames flake.nixosModules")
    assert set(names) == {"appliance", "backup", "default", "etcd", "haproxy", "postgres"}


def test_what_is_not_there_is_not_evaluated_by_accident() -> None:
    assert len(IMAGES) == 4, IMAGES
    assert Path(REPO / "flake.lock").read_text().count('"narHash"') == 2
