"""Machines on this host: their life through the driver, a refused identity, clusters side by side, the network."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from lab import ORCH, Lab, spec
from waiting_hosts import WaitingHosts

from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.identity import Identity
from pgha_orch.image import build
from pgha_orch.image.store import Image, default_image_dir
from pgha_orch.inventory.load import load
from pgha_orch.inventory.model import Role
from pgha_orch.machines import MachineState
from pgha_orch.state import StateDir

pytestmark = pytest.mark.timeout(400)


class Cut(Identity):
    """An identity whose archive lost its end on the way."""

    def archive(self) -> bytes:
        whole = super().archive()
        return whole[: len(whole) // 2]


class Changed(Identity):
    """An identity of which one file changed after the checksums were made."""

    def archive(self) -> bytes:
        return super().archive().replace(b"drift", b"drafT")


@pytest.fixture
def alone(workspace: Path) -> Lab:
    """A cluster that is never deployed as a whole: single machines of it are booted through the driver."""
    roles = {"etcd": ["etcd-1"], "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"]}
    lab = Lab(workspace / "alone", spec("alone", "10.84.1", roles, backup=None))
    lab.spec = {k: v for k, v in lab.spec.items() if v is not None}
    lab.write()
    return lab


@pytest.fixture
def cluster(alone: Lab) -> Cluster:
    return Cluster.open(load(alone.inventory), StateDir.open(alone.state))


def image_of(role: Role) -> Image:
    """This checkout's: another one's may be newer in the store."""
    return build([role], image_dir=default_image_dir())[0]


def test_a_machine_boots_runs_programs_stops_and_is_killed(alone: Lab, cluster: Cluster) -> None:
    machine, image = cluster.machine("etcd-1"), image_of(Role.ETCD)
    cluster.fleet.network_up()
    try:
        assert machine.state() is MachineState.ABSENT
        with pytest.raises(OperationError, match=r"^etcd-1: it does not run$"):
            machine.exec(["true"], timeout_s=5)
        assert machine.read("/etc/hostname") is None

        machine.boot(image, cluster.identities["etcd-1"])

        assert machine.state() is MachineState.RUNNING
        assert machine.booted_image() == image.build_id
        first = alone.pids()["etcd-1"]
        machine.boot(image, cluster.identities["etcd-1"])
        assert alone.pids()["etcd-1"] == first, "a machine that runs is not booted again"

        assert machine.exec(["cat"], input="through\n", timeout_s=10).stdout == "through\n"
        assert machine.exec(["pwd"], timeout_s=10).stdout == "/\n"
        assert machine.exec(["sh", "-c", "exit 3"], timeout_s=10, check=False).returncode == 3
        with pytest.raises(OperationError, match=r"^etcd-1: .*exit code 3"):
            machine.exec(["sh", "-c", "exit 3"], timeout_s=10)
        assert alone.exec("etcd-1", "sh", "-c", "exit 7", code=None).code == 7
        while alone.exec("etcd-1", "systemctl", "is-active", "pgha-identity.service", code=None).code != 0:
            time.sleep(0.1)
        assert alone.exec("etcd-1", "hostname").out == "etcd-1\n"
        assert "identity etcd-1 of cluster alone" in alone.run("logs", "etcd-1", "-u", "pgha-identity.service").out
        machine.exec(["sh", "-c", "echo kept > /var/lib/pgha/kept; echo lost > /etc/lost"], timeout_s=10)

        machine.stop(timeout_s=30)
        assert machine.state() is MachineState.STOPPED
        assert not Path(f"/proc/{first}").exists()
        machine.stop(timeout_s=30)

        machine.boot(image, cluster.identities["etcd-1"])
        assert machine.exec(["cat", "/var/lib/pgha/kept"], timeout_s=10).stdout == "kept\n"
        assert machine.exec(["test", "-e", "/etc/lost"], timeout_s=10, check=False).returncode == 1
        second = alone.pids()["etcd-1"]
        processes = Path(f"/proc/{second}/task/{second}/children").read_text().split()
        machine.kill()
        assert machine.state() is MachineState.STOPPED
        assert not [pid for pid in [*processes, str(second)] if Path("/proc", pid).exists()]
        machine.destroy()
        assert machine.state() is MachineState.ABSENT
    finally:
        alone.destroy()


def test_a_forgotten_exec_does_not_keep_a_machine_from_stopping(alone: Lab, cluster: Cluster) -> None:
    machine = cluster.machine("etcd-1")
    cluster.fleet.network_up()
    machine.boot(image_of(Role.ETCD), cluster.identities["etcd-1"])
    forgotten = [alone.start("exec", "etcd-1", "sh", "-c", "echo in; sleep 1000") for _ in range(2)]
    try:
        for process in forgotten:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
        forgotten[1].kill()  # and one whose pgha-orch is gone

        begun, timeout_s = time.monotonic(), 100
        machine.stop(timeout_s=timeout_s)

        console = (alone.state / "machines/etcd-1/console.log").read_text(errors="replace")
        assert time.monotonic() - begun < timeout_s, f"it was killed:\n{console[-3000:]}"
        assert machine.state() is MachineState.STOPPED
        assert forgotten[0].wait(10) != 0
    finally:
        for process in forgotten:
            process.kill()
        alone.destroy()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Cut, "identity broken: not a whole tar archive"),
        (Changed, "identity broken: wrong checksum: chrony/chrony.conf"),
    ],
)
def test_with_a_broken_identity_no_role_service_starts(
    alone: Lab, cluster: Cluster, kind: type[Identity], line: str
) -> None:
    good = cluster.identities["etcd-1"]
    bad = kind(**{f.name: getattr(good, f.name) for f in dataclasses.fields(good)})
    assert bad.archive() != good.archive()
    cluster.fleet.network_up()
    try:
        cluster.machine("etcd-1").boot(image_of(Role.ETCD), bad)

        deadline = time.monotonic() + 20
        while alone.exec("etcd-1", "systemctl", "is-failed", "pgha-identity.service", code=None).out != "failed\n":
            assert time.monotonic() < deadline, "the machine did not refuse its identity"
            time.sleep(0.2)
        time.sleep(1.0)  # what would start nevertheless has had its time
        assert alone.exec("etcd-1", "systemctl", "is-active", "etcd.service", code=None).out == "inactive\n"
        said = alone.exec("etcd-1", "journalctl", "-u", "pgha-identity.service", "-o", "cat").out.splitlines()
        assert [text for text in said if text.startswith("identity ")] == [
            next(text for text in said if text.startswith(line))
        ]
        listening = alone.exec("etcd-1", "ss", "-tlnH").out
        assert listening == "", "a machine without an identity listens"
    finally:
        alone.destroy()


def test_without_an_identity_no_role_service_starts_and_one_line_says_why(root: None, tmp_path: Path) -> None:
    services = {
        Role.ETCD: "etcd.service",
        Role.POSTGRES: "patroni.service",
        Role.HAPROXY: "haproxy.service",
        Role.BACKUP: "pgbackrest.service",
    }
    bare = WaitingHosts(tmp_path / "bare", "pghabare", "10.84.3.0/24")
    try:
        for role in Role:
            bare.boot(role, image_of(role).root, bootstrap=None)
        for role, service in services.items():
            said = bare.until_failed(role, "pgha-identity.service", timeout_s=60)
            units = [service, "sshd.service", "chronyd.service", "pgha-firewall.service"]

            assert [line for line in said.splitlines() if line.startswith("identity ")] == [
                "identity missing: no credential pgha.identity, no drive PGHA-IDENT, no file /var/lib/pgha/identity.tar"
            ]
            assert bare.run(role, "systemctl", "is-active", *units).splitlines() == ["inactive"] * len(units)
            assert bare.run(role, "ss", "-tlnH") == "", f"{role}: listens without an identity"
    finally:
        bare.destroy()


def test_a_deploy_with_an_image_of_another_role_ends_with_the_machine_s_one_line(alone: Lab, tmp_path: Path) -> None:
    # A store as another builder fills it, whose etcd image is HAProxy's tree.
    for role in Role:
        home = tmp_path / role / f"nix-{'0' * 16}-{role:0<12}"
        home.mkdir(parents=True)
        image = image_of(role)
        described = json.loads((image.directory / "image.json").read_text()) | {"builder": "nix"}
        (home / "image.json").write_text(json.dumps(described))
        (home / "root").symlink_to(image_of(Role.HAPROXY if role is Role.ETCD else role).root)
    with alone.changed(image={"builder": "nix"}):
        try:
            done = alone.run("deploy", "--image-dir", str(tmp_path), code=1, timeout_s=60)
        finally:
            alone.destroy()

    errors = [text for text in done.err.splitlines() if text.startswith("error:")]
    assert errors == ["error: etcd quorum: etcd-1: identity is foreign: role etcd, this image is haproxy"]
    assert "  next: pgha-orch logs etcd-1" in done.err


def test_two_clusters_side_by_side_do_not_touch_each_other(shared: Lab, other: Lab) -> None:
    here, there = shared.pids(), other.pids()
    assert len(here) == len(shared.hosts) and len(there) == len(other.hosts)
    bridge = other.bridge
    assert shared.bridge != bridge
    assert shared.ca.read_bytes() != other.ca.read_bytes()
    # From the other cluster's machine nothing of this one is reached, whatever the route.
    with pytest.raises(AssertionError, match="exit code"):
        other.exec("etcd-1", "bash", "-c", "timeout 3 bash -c '</dev/tcp/10.83.0.30/5000'")

    other.run("destroy", "--yes", "--data", timeout_s=120)

    assert shared.pids() == here
    assert not [pid for pid in there.values() if Path(f"/proc/{pid}").exists()]
    assert not other.state.exists()
    assert not Path("/sys/class/net", bridge).exists()
    shared.run("status", code=0)


def test_after_destroy_no_packet_leaves_towards_the_cluster_and_status_refuses(other: Lab) -> None:
    address, bridge = other.of_role("haproxy")["haproxy"], other.bridge
    assert subprocess.run(["ip", "route", "get", address], capture_output=True).returncode == 0

    other.run("destroy", "--yes", timeout_s=120)

    route = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True)
    assert route.returncode != 0
    assert "unreachable" in route.stderr.lower() or "No route to host" in route.stderr
    with pytest.raises(OSError, match=r"No route to host|Network is unreachable"):
        socket.create_connection((address, 5000), timeout=3)
    assert not Path("/sys/class/net", bridge).exists()
    refused = other.run("status", code=1)
    assert f"error: the cluster's bridge {bridge} is not up" in refused.err
    assert "next: pgha-orch deploy" in refused.err
    assert (other.state / "secrets.json").exists(), "without --data, the data stays"

    other.run("destroy", "--yes", "--data", timeout_s=120)
    found = subprocess.run(["ip", "route", "show", "type", "unreachable"], capture_output=True, text=True).stdout
    assert str(other.spec["network"]) not in found


def test_destroy_wants_the_cluster_s_name(shared: Lab) -> None:
    before = shared.pids()

    refused = shared.run("destroy", code=2, input="lab\n")

    assert "error: that is not the cluster's name: nothing was done" in refused.err
    assert shared.pids() == before


@pytest.mark.parametrize("network", ["10.83.0.0/24", "10.83.0.0/25", "10.83.0.0/16"])
def test_a_network_that_this_host_routes_elsewhere_is_refused(shared: Lab, workspace: Path, network: str) -> None:
    roles = {"etcd": ["etcd-1"], "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"]}
    lab = Lab(workspace / "overlap", spec("overlap", "10.83.0", roles) | {"network": network, "clients": [network]})
    del lab.spec["backup"]
    lab.write()
    try:
        refused = lab.run("deploy", code=2)
    finally:
        shutil.rmtree(lab.directory)

    assert f"error: network {network}: this host already has a route to 10.83.0.0/24 through {shared.bridge}" in (
        refused.err
    )
    assert "next: choose another network" in refused.err


@pytest.mark.parametrize("command", ["deploy", "plan", "destroy"])
def test_without_root_there_is_one_clear_line(workspace: Path, command: str) -> None:
    roles = {"etcd": ["etcd-1"], "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"], "backup": ["backup"]}
    lab = Lab(workspace / "nobody", spec("nobody", "10.84.2", roles))
    os.chown(lab.directory, 65534, 65534)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ORCH, command, str(lab.inventory)]
    try:
        done = subprocess.run([*argv, *(["--yes"] if command == "destroy" else [])], capture_output=True, text=True)
    finally:
        shutil.rmtree(lab.directory)

    assert done.returncode == 2
    lines = [text for text in done.stderr.splitlines() if not text.startswith("warning:")]
    assert lines == [
        "error: machines: nspawn: only root can start systemd-nspawn machines",
        "  next: run it as root (sudo), or use machines: ssh",
    ]
    assert "Traceback" not in done.stderr
