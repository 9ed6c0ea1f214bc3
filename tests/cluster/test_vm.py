"""A whole cluster of QEMU machines: a watchdog that fences, and a power cut of everything. `make test-vm`.

Without KVM this takes a quarter of an hour and more, so it is no part of `make test`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from lab import Lab, spec

from pgha_orch.cluster import Cluster
from pgha_orch.image import list_images
from pgha_orch.image.store import default_image_dir
from pgha_orch.inventory.load import load
from pgha_orch.inventory.model import Role
from pgha_orch.machines import MachineState
from pgha_orch.progress import Silent
from pgha_orch.state import StateDir

VM = "PGHA_TEST_VM"
DEPLOY_S = 2400
DRILL_S = 1500
BACK_S = 1500
TTL_S, MARGIN_S = 60, 10  # preset safe
MEMORY_MIB = {"etcd": 384, "postgres": 768, "haproxy": 384, "backup": 512}
INVARIANTS = {"I1", "I2", "I3", "I4"}

pytestmark = [
    pytest.mark.skipif(not os.environ.get(VM), reason=f"make test-vm (sets {VM})"),
    pytest.mark.timeout(DEPLOY_S + BACK_S),
]


@pytest.fixture(scope="module")
def vms(root: None, tmp_path_factory: pytest.TempPathFactory, reports: Path) -> Iterator[Lab]:
    """Eight machines, deployed; figures of what it took go to reports/vm.json."""
    roles = {"etcd": ["etcd-1", "etcd-2", "etcd-3"], "postgres": ["pg-1", "pg-2", "pg-3"]}
    roles |= {"haproxy": ["haproxy"], "backup": ["backup"]}
    inventory = spec("vm", "10.89.0", roles, machines="qemu", failover="safe", drills="allowed")
    hosts = inventory["hosts"]
    assert isinstance(hosts, dict)
    for host in hosts.values():
        host["memory_mib"] = MEMORY_MIB[host["role"]]
    lab = Lab(tmp_path_factory.mktemp("vm"), inventory)
    try:
        begun = time.monotonic()
        first = lab.run("deploy", "--json", timeout_s=DEPLOY_S)
        assert first.json["status"]["healthy"], first  # type: ignore[index]
        note(reports, deploy_s=time.monotonic() - begun, first_write_s=first.json["first_write_seconds"])
        note(reports, boot={name: boot_seconds(lab, name) for name in lab.hosts})
        yield lab
    finally:
        lab.save_logs(reports)
        lab.destroy()


def test_a_second_deploy_changes_nothing_and_plan_says_so(vms: Lab) -> None:
    assert vms.run("plan", "--json", timeout_s=120).json == {"changes": [], "parameters": []}


def test_each_machine_has_a_kernel_and_a_read_only_root_of_its_own(vms: Lab) -> None:
    kernels = {boot_id(vms, name) for name in vms.hosts}
    assert len(kernels) == len(vms.hosts)
    assert vms.exec("pg-1", "findmnt", "-no", "FSTYPE", "/").out.strip() == "overlay"
    assert vms.exec("pg-1", "findmnt", "-no", "SOURCE", "/var/lib/pgha").out.startswith("/dev/vd")
    vms.exec("pg-1", "touch", "/usr/written")  # goes to memory: no disk of the image can be written to
    images = [image for image in list_images(default_image_dir()) if image.role == "postgres"]
    assert not any((image.root / "usr/written").exists() for image in images)


def test_the_leader_s_watchdog_is_armed_for_ttl_less_the_safety_margin(vms: Lab) -> None:
    leader = vms.leader()
    watchdog = "/sys/class/watchdog/watchdog0"
    assert vms.exec(leader, "stat", "-c", "%U", "/dev/watchdog").out.strip() == "postgres"
    assert vms.exec(leader, "cat", f"{watchdog}/identity").out.strip() == "Software Watchdog"
    assert vms.exec(leader, "cat", f"{watchdog}/state").out.strip() == "active"
    assert int(vms.exec(leader, "cat", f"{watchdog}/timeout").out) == TTL_S - MARGIN_S
    replica = next(name for name in vms.of_role("postgres") if name != leader)
    assert vms.exec(replica, "cat", f"{watchdog}/state").out.strip() == "inactive"


@pytest.mark.parametrize("number", ["8", "10"])
def test_drill(vms: Lab, reports: Path, number: str) -> None:
    leader = vms.leader()
    before = boot_id(vms, leader)
    run = drilled(vms, reports, number)
    assert run["leader_before"] == leader
    assert boot_id(vms, leader) != before, "it was not reset"


def test_after_a_power_cut_of_everything_it_comes_back_by_itself_with_every_row(vms: Lab, reports: Path) -> None:
    cluster = Cluster.open(load(vms.inventory), StateDir.open(vms.state))
    images = cluster.fleet.images(default_image_dir(), Silent())
    with vms.connect() as connection:
        connection.execute("CREATE TABLE cut (id int PRIMARY KEY)")
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        with suppress(psycopg.Error), vms.connect() as connection:
            for number in range(1_000_000):
                connection.execute("INSERT INTO cut VALUES (%s)", [number])
                acknowledged.append(number)
                if stop.wait(0.02):
                    return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(15)
    for name in vms.hosts:
        cluster.machine(name).kill()
    stop.set()
    writer.join(timeout=60)
    assert len(acknowledged) > 50, "there was hardly anything to lose"
    assert all(cluster.machine(name).state() is MachineState.STOPPED for name in vms.hosts)

    begun = time.monotonic()
    for name, host in cluster.inventory.hosts.items():  # the power is back; nobody runs pgha-orch
        cluster.machine(name).boot(images[host.role], cluster.identities[name])
    found: set[object] = set()
    while time.monotonic() - begun < BACK_S:
        with suppress(psycopg.Error), vms.connect() as connection:
            connection.execute("INSERT INTO cut VALUES (-1)")
            found = {row[0] for row in connection.execute("SELECT id FROM cut").fetchall()}
            break
        time.sleep(1)
    note(reports, power_cut={"acknowledged": len(acknowledged), "first_write_s": time.monotonic() - begun})
    assert found, f"no write within {BACK_S} s"
    assert not set(acknowledged) - found
    vms.until_healthy(timeout_s=BACK_S)


def test_it_takes_its_identity_from_a_drive_too(vms: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster.open(load(vms.inventory), StateDir.open(vms.state))
    image = cluster.fleet.images(default_image_dir(), Silent())[Role.HAPROXY]
    vms.exec("haproxy", "rm", "-f", "/var/lib/pgha/identity.tar")  # nor from there
    monkeypatch.setenv("PGHA_IDENTITY_DRIVE", "1")
    machine = vms.machine("haproxy")
    machine.reboot(image, cluster.identities["haproxy"], timeout_s=60)
    vms.until_healthy(timeout_s=BACK_S)
    assert vms.exec("haproxy", "findfs", "LABEL=PGHA-IDENT").out.startswith("/dev/vd")
    vms.exec("haproxy", "test", "-e", "/run/credentials/@system/pgha.identity", code=1)


def test_a_leader_without_patroni_is_reset_before_another_is_promoted(vms: Lab, reports: Path) -> None:
    leader = vms.leader()
    before = boot_id(vms, leader)
    drilled(vms, reports, "7")
    assert boot_id(vms, leader) != before, "it was not reset"


def test_a_leader_that_was_paused_acknowledges_nothing_once_it_goes_on(vms: Lab, reports: Path) -> None:
    """I3 is the drill's verdict on its direct writers, which never left that node."""
    drilled(vms, reports, "11")


def drilled(lab: Lab, reports: Path, number: str) -> dict[str, object]:
    """Run a drill; assert I1 to I4, a failover and, by the drill's own measure, that the reset came first.

    How long it takes is TCG's, so it is only noted, and so is I5, whose minute is about what a boot takes.
    """
    done = lab.run("drill", number, "--json", "--rate=10", "--clients=2", code=None, timeout_s=DRILL_S)
    [scenario] = json.loads(done.out)["scenarios"]
    assert not scenario["skipped"] and not scenario["failed"], scenario
    [run] = scenario["runs"]
    kept = ("rto_s", "outage_s", "streaming_s", "acknowledged", "lost", "notes", "broken")
    note(reports, **{f"drill_{number}": {key: run[key] for key in kept}})
    verdicts = {verdict["invariant"]: verdict for verdict in run["invariants"]}
    assert verdicts.keys() >= INVARIANTS
    assert all(verdicts[name]["ok"] for name in INVARIANTS), verdicts
    assert run["lost"] == 0 and run["acknowledged"] > 0 and run["timeline_after"] > run["timeline_before"]
    assert run["leader_before"] != run["leader_after"]
    wrong = [line for line in run["broken"] if not line.startswith(("outage ", "I5: all nodes streaming"))]
    assert not wrong, wrong
    return run  # type: ignore[no-any-return]


def boot_id(lab: Lab, name: str) -> str:
    return lab.exec(name, "cat", "/proc/sys/kernel/random/boot_id").out


def boot_seconds(lab: Lab, name: str) -> float:
    """From the kernel's start to multi-user, as the machine itself counts."""
    show = ("systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", "multi-user.target")
    return int(lab.exec(name, *show).out) / 1e6


def note(reports: Path, **figures: object) -> None:
    """Add figures to reports/vm.json."""
    path = reports / "vm.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=2))
