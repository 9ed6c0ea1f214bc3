"""Hosts that somebody else boots without an identity, deployed through SSH alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from waiting_hosts import WaitingHosts

from pgha_orch.cluster import Cluster
from pgha_orch.image import build
from pgha_orch.image.store import Image, default_image_dir
from pgha_orch.inventory.load import load
from pgha_orch.state import StateDir

NETWORK = "10.88.0"
INVENTORY = """\
version: 1
cluster: ssh-hosts
machines: ssh
network: 10.88.0.0/24
clients: [10.88.0.0/24]
operators: [10.88.0.1/32]
postgresql:
  watchdog: "off"  # containers have none
  users: [{name: app}]
  databases: [{name: app, owner: app}]
backup: {}
hosts:
  etcd-1:  {role: etcd,     address: 10.88.0.11}
  etcd-2:  {role: etcd,     address: 10.88.0.12}
  etcd-3:  {role: etcd,     address: 10.88.0.13}
  pg-1:    {role: postgres, address: 10.88.0.21}
  pg-2:    {role: postgres, address: 10.88.0.22, ssh: {address: 10.88.0.122}}
  haproxy: {role: haproxy,  address: 10.88.0.30}
  backup:  {role: backup,   address: 10.88.0.40}
"""
ROLES = {"etcd-1": "etcd", "etcd-2": "etcd", "etcd-3": "etcd", "pg-1": "postgres", "pg-2": "postgres"}
ROLES |= {"haproxy": "haproxy", "backup": "backup"}
ORCH = Path(sys.executable).with_name("pgha-orch")
GENERATES_ITS_KEY = "etcd-3"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="boots machines")


class Site:
    """A directory with hosts.yml, the hosts, and pgha-orch as a user runs it."""

    def __init__(self, directory: Path, images: dict[str, Image]) -> None:
        self.directory, self.images = directory, images
        self.hosts_yml = directory / "hosts.yml"
        self.hosts_yml.write_text(INVENTORY)
        self.hosts = WaitingHosts(directory / "hosts", "pghassh", f"{NETWORK}.0/24")

    def orch(self, *arguments: object, timeout_s: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ORCH, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **env},
            check=False,
        )

    def boot(self, name: str, *, bootstrap: Path | None) -> None:
        self.hosts.boot(name, self.images[ROLES[name]].root, bootstrap=bootstrap)

    def units(self, name: str) -> str:
        """Active units of a host, asked past SSH."""
        nspawn = next(iter(self.hosts.processes(name)))
        return subprocess.run(
            ["nsenter", "-t", str(nspawn), "-a", "systemctl", "--no-legend", "list-units", "--state=active"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    roles = ("etcd", "postgres", "haproxy", "backup")
    images = dict(zip(roles, build(roles, image_dir=default_image_dir()), strict=True))
    directory = tmp_path_factory.mktemp("ssh-hosts")
    made = Site(directory, images)
    try:
        assert made.orch("bootstrap", made.hosts_yml, "--out", directory / "boot").returncode == 0
        assert made.orch("bootstrap", made.hosts_yml, "--out", directory / "boot", "--dhcp").returncode == 0
        for name in ROLES:
            made.boot(name, bootstrap=directory / "boot" / f"{name}.tar")
        for name in ROLES:
            made.hosts.wait_for_ssh(f"{NETWORK}.122" if name == "pg-2" else _address(name))
        yield made
    finally:
        made.hosts.destroy()


def test_a_host_without_an_identity_runs_nothing_of_its_role_and_serves_only_ssh(site: Site) -> None:
    units = site.units("etcd-1")
    assert "pgha-await.service" in units
    for unit in ("etcd.service", "chronyd.service", "sshd.service ", "pgha-firewall.service"):
        assert unit not in units
    assert not site.hosts.answers(_address("etcd-1"), 2379)
    assert site.hosts.answers(_address("etcd-1"), 22)


def test_preflight_measures_and_writes_nothing(site: Site) -> None:
    done = site.orch("preflight", site.hosts_yml, "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == 0, (report["findings"], done.stderr)
    assert all(flow["connect_ms"] is not None for flow in report["flows"])
    assert {("pg-1", "etcd-2", 2379), ("etcd-1", "etcd-3", 2380), ("haproxy", "pg-2", 8008)} <= {
        (flow["source"], flow["target"], flow["port"]) for flow in report["flows"]
    }
    assert all(host["state"] == "absent" and 0 < host["write_median_ms"] < 1000 for host in report["hosts"])
    assert all(abs(host["clock_offset_ms"]) <= host["clock_error_ms"] + 1 for host in report["hosts"])  # one kernel
    assert not (site.hosts.directory / "pg-1/data/identity.tar").exists()
    assert not site.hosts.answers(_address("etcd-1"), 2379), "the hole for the measurement is open still"


def test_preflight_names_a_port_that_somebody_blocks(site: Site) -> None:
    with site.hosts.blocked(source=_address("pg-1"), target=_address("etcd-2"), port=2379):
        done = site.orch("preflight", site.hosts_yml)
    assert done.returncode == 1
    assert "pg-1 -> etcd-2:2379: etcd clients: no answer within 3 s" in done.stdout


def test_an_unknown_host_key_is_refused_until_it_is_confirmed(site: Site) -> None:
    """One host comes back as a machine that made its own key; nothing was sent to it before somebody says yes."""
    archive = site.hosts.archive_without_key(site.directory / "boot" / f"{GENERATES_ITS_KEY}.tar")
    site.hosts.cut_power(GENERATES_ITS_KEY)
    site.boot(GENERATES_ITS_KEY, bootstrap=archive)
    site.hosts.wait_for_ssh(_address(GENERATES_ITS_KEY))
    refused = site.orch("plan", site.hosts_yml)
    own = site.hosts.directory / GENERATES_ITS_KEY / "data/bootstrap/ssh_host_ed25519_key.pub"
    fingerprint = subprocess.run(["ssh-keygen", "-lf", own], capture_output=True, text=True, check=True).stdout.split()[
        1
    ]
    assert refused.returncode == 2 and fingerprint in refused.stderr and "pgha-orch trust" in refused.stderr
    command = [ORCH, "trust", site.hosts_yml]
    no = subprocess.run(command, input="n\n", capture_output=True, text=True, timeout=60, check=False)
    assert no.returncode == 1 and "not confirmed" in no.stderr
    yes = subprocess.run(command, input="y\n", capture_output=True, text=True, timeout=60, check=False)
    assert yes.returncode == 0 and fingerprint in yes.stderr
    assert site.orch("plan", site.hosts_yml).returncode == 0


def test_another_bootstrap_key_is_refused(site: Site) -> None:
    """A machine with the right host key that was booted for somebody else."""
    archive = site.hosts.archive_with_key(site.directory / "boot/haproxy.tar", "ssh-ed25519 " + "A" * 68)
    site.hosts.cut_power("haproxy")
    site.boot("haproxy", bootstrap=archive)
    site.hosts.wait_for_ssh(_address("haproxy"))
    refused = site.orch("plan", site.hosts_yml)
    assert refused.returncode == 1 and "lets root in with none of our keys" in refused.stderr
    site.hosts.cut_power("haproxy")
    down = site.orch("plan", site.hosts_yml)
    assert down.returncode == 1 and "haproxy: 10.88.0.30:22: " in down.stderr and "switched on" in down.stderr
    site.boot("haproxy", bootstrap=site.directory / "boot/haproxy.tar")
    site.hosts.wait_for_ssh(_address("haproxy"))


def test_the_image_of_another_role_is_refused_before_anything_is_written(site: Site) -> None:
    other = site.directory / "other.yml"
    other.write_text(
        INVENTORY.replace("role: haproxy,  address: 10.88.0.30", "role: backup,   address: 10.88.0.30").replace(
            "role: backup,   address: 10.88.0.40", "role: haproxy,  address: 10.88.0.40"
        )
    )
    state = site.directory / ".pgha/ssh-hosts"
    refused = site.orch("deploy", other, PGHA_STATE_DIR=str(state))
    assert refused.returncode == 2 and "runs the image of role" in refused.stderr
    assert not list(site.hosts.directory.glob("*/data/identity.tar"))


def test_deploy_pushes_identities_and_then_changes_nothing(site: Site) -> None:
    done = site.orch("deploy", site.hosts_yml, "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["status"]["healthy"] and seen["first_write_seconds"] > 0
    again = json.loads(site.orch("deploy", site.hosts_yml, "--json").stdout)
    assert (again["changes"], again["parameters"], again["sql"]) == ([], [], [])
    assert not site.hosts.answers(f"{NETWORK}.122", 22), "pg-2 still has its address from before the identity"


def test_programs_run_with_the_identity_and_their_exit_code(site: Site) -> None:
    done = site.orch("exec", site.hosts_yml, "pg-1", "sh", "-c", "patronictl list --format=json; exit 7")
    assert done.returncode == 7
    assert {member["Member"] for member in json.loads(done.stdout)} == {"pg-1", "pg-2"}
    logs = site.orch("logs", site.hosts_yml, "etcd-1", "-u", "etcd.service")
    assert logs.returncode == 0 and "etcd" in logs.stdout


def test_a_changed_firewall_is_reloaded_and_a_changed_network_reboots(site: Site) -> None:
    site.hosts_yml.write_text(INVENTORY.replace("clients: [10.88.0.0/24]", "clients: [10.88.0.0/24, 10.99.0.0/24]"))
    plan = json.loads(site.orch("plan", site.hosts_yml, "--json").stdout)
    assert {(c["host"], c["impact"]) for c in plan["changes"]} >= {("haproxy", "reload")}
    assert "reboot" not in {c["impact"] for c in plan["changes"]}
    assert site.orch("deploy", site.hosts_yml).returncode == 0
    rules = site.orch("exec", site.hosts_yml, "haproxy", "nft", "list", "ruleset").stdout
    assert "10.99.0.0/24" in rules

    site.hosts_yml.write_text(site.hosts_yml.read_text().replace("network:", "gateway: 10.88.0.1\nnetwork:"))
    plan = json.loads(site.orch("plan", site.hosts_yml, "--json").stdout)
    assert {c["host"] for c in plan["changes"] if c["impact"] == "reboot"} == set(ROLES)
    # Of one machine: a rolling reboot of all takes a minute.
    before = _boot_id(site, "backup")
    cluster = Cluster.open(load(site.hosts_yml), StateDir.open(site.directory / ".pgha/ssh-hosts"))
    cluster.machine("backup").reboot(site.images["backup"], cluster.identities["backup"], timeout_s=60)
    assert _boot_id(site, "backup") != before
    assert "via 10.88.0.1" in site.orch("exec", site.hosts_yml, "backup", "ip", "route").stdout
    site.hosts_yml.write_text(INVENTORY)


def test_an_identity_that_breaks_on_its_way_leaves_the_old_one(site: Site) -> None:
    """The host's disk is full: half of the new identity arrives, and the next boot still has the old one."""
    before = _kept(site, "etcd-2")
    fill = "mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 8))k /run"
    assert site.orch("exec", site.hosts_yml, "etcd-2", "sh", "-c", fill).returncode == 0
    refused = site.orch("deploy", _with_more_clients(site))
    assert refused.returncode == 1 and "etcd-2" in refused.stderr and "No space left" in refused.stderr, refused.stderr
    assert _kept(site, "etcd-2") == before
    site.orch("exec", site.hosts_yml, "etcd-2", "mount", "-o", "remount,size=200m", "/run")
    assert site.orch("deploy", site.hosts_yml).returncode == 0


def test_destroy_leaves_machines_up_and_their_data_makes_them_wait_again(site: Site) -> None:
    assert site.orch("destroy", "--yes", site.hosts_yml).returncode == 0
    assert "etcd.service" not in site.units("etcd-1") and "sshd.service" in site.units("etcd-1")
    back = site.orch("deploy", site.hosts_yml)
    assert back.returncode == 0, back.stderr
    gone = site.orch("destroy", "--yes", "--data", site.hosts_yml)
    assert gone.returncode == 0, gone.stderr
    # sshd may still answer from before the reboot: what counts is the unit that waits, in the end.
    assert _becomes_active(site, "etcd-1", "pgha-await.service", timeout_s=90)
    assert not (site.hosts.directory / "pg-1/data/postgresql/data").exists()


def _becomes_active(site: Site, host: str, unit: str, *, timeout_s: float) -> bool:
    """Whether the unit is active within the time; a machine between two boots cannot be asked, and is asked again."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(subprocess.SubprocessError, StopIteration):
            if unit in site.units(host):
                return True
        time.sleep(0.5)
    return False


def _address(name: str) -> str:
    last = {"etcd-1": 11, "etcd-2": 12, "etcd-3": 13, "pg-1": 21, "pg-2": 22, "haproxy": 30, "backup": 40}[name]
    return f"{NETWORK}.{last}"


def _boot_id(site: Site, name: str) -> str:
    return site.orch("exec", site.hosts_yml, name, "cat", "/proc/sys/kernel/random/boot_id").stdout.strip()


def _kept(site: Site, name: str) -> bytes:
    return (site.hosts.directory / name / "data/identity.tar").read_bytes()


def _with_more_clients(site: Site) -> Path:
    """An inventory that changes something on every host: who may log in by SSH."""
    changed = site.hosts_yml.read_text().replace("operators: [10.88.0.1/32]", "operators: [10.88.0.1/32, 10.98.0.0/24]")
    site.hosts_yml.write_text(changed)
    return site.hosts_yml
