"""What an evaluated image promises: the appliance, the watchdog, the users, no secret and no host of any cluster."""

from __future__ import annotations

import re
from typing import Any

import pytest
from evaluator import IMAGES, REPO, Nix

pytestmark = pytest.mark.timeout(900)
# Names, addresses and keys of the inventories that the tests and examples have.
HOSTS = re.compile(rb"\b(?:pg|etcd)-[0-9](?![.\d])|\b10\.7[0-9]\.[0-9]+\.[0-9]+|-----BEGIN|PGHA_HOST=\w")


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def facts(nix: Nix, image: str) -> dict[str, Any]:
    found: dict[str, Any] = nix.eval(f'import {nix.source}/tests/nix/facts.nix {{ inherit flake; image = "{image}"; }}')
    return found


def test_no_assertion_fails(facts: dict[str, Any]) -> None:
    assert facts["assertions"] == []


def test_the_contract_is_in_the_image(facts: dict[str, Any]) -> None:
    document = facts["image"]
    assert (document["contract"], document["builder"], document["role"]) == (1, "nix", facts["role"])
    assert re.fullmatch("[0-9a-f]{64}", document["build_id"])
    assert {"pgha/image.json", "pgha/role", "ssh/sshd_config", "hosts"} <= facts["etc"].keys()
    assert facts["etc"]["hosts"] == "/run/pgha/hosts"
    assert "hostname" not in facts["etc"]


def test_each_role_has_its_components_in_the_versions_asked_for(facts: dict[str, Any]) -> None:
    components = facts["image"]["components"]
    wanted = {
        "etcd": {"etcd": "3.5."},
        "postgres": {"patroni": "4.1.5", "pgbackrest": "2.", "postgresql": "17."},
        "haproxy": {"haproxy": "2.9.15"},
        "backup": {"pgbackrest": "2.", "postgresql": "17."},
    }[facts["role"]]
    assert set(components) == {*wanted, "chrony"}
    for name, prefix in wanted.items():
        assert components[name].startswith(prefix), (name, components[name])


def test_the_appliance_has_no_nix_no_switch_and_no_login_but_keys(facts: dict[str, Any]) -> None:
    assert not facts["nix"]
    assert not facts["switch"]
    assert not facts["mutableUsers"]
    assert facts["passwords"] == []
    assert facts["keys"] == []
    assert "perl" in facts["forbidden"]
    assert facts["mounts"]["/"] == "tmpfs"


def test_the_firewall_is_the_identitys_and_no_other(facts: dict[str, Any]) -> None:
    assert not facts["firewall"]
    assert facts["packaged"]


def test_the_watchdog_is_loaded_where_patroni_runs_and_left_to_it(facts: dict[str, Any]) -> None:
    here = facts["role"] == "postgres"
    assert ("softdog" in facts["kernelModules"]) == here
    assert facts["udev"] == here
    assert facts["watchdogManager"] == {}


def test_users_have_the_ids_of_the_payload(facts: dict[str, Any]) -> None:
    text = (REPO / "images/node/all/lib/sysusers.d/pgha.conf").read_text()
    wanted = {name: int(number) for name, number in re.findall(r"^u (\w+)\s+(\d+)", text, re.MULTILINE)}
    assert {name: user["uid"] for name, user in facts["users"].items()} == wanted
    assert all((user["group"], user["gid"]) == (name, user["uid"]) for name, user in facts["users"].items())


def test_every_option_has_a_type_and_a_description_that_says_something(facts: dict[str, Any]) -> None:
    options = facts["options"]
    assert len(options) > 15
    for option in options:
        # What the module system gives an option that names none.
        assert option["type"] != "unspecified", option
        assert len(option["description"].split()) >= 4, option


def test_no_host_and_no_secret_is_in_any_derivation(nix: Nix, image: str) -> None:
    derivation = nix.instantiate(f"flake.nixosConfigurations.{image}.config.system.build.toplevel")
    own = [path for path in nix.closure(derivation) if path.is_file() and path.suffix == ".drv"]
    assert len(own) > 500
    found = {
        path.name: match.group()
        for path in own
        # nixpkgs' own fetchers and test certificates are not this project's.
        if b"pgha" in (text := path.read_bytes()) and (match := HOSTS.search(text))
    }
    assert found == {}
