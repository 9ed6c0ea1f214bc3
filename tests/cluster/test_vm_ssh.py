"""A QEMU machine that boots by UEFI with a bootstrap drive and no identity, deployed through SSH beside containers.

`make test-vm`: without KVM firmware and kernel alone take a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Lab, spec
from test_vm import VM, note
from waiting_hosts import WaitingHosts

from pgha_orch.image import build, build_disks, kernel
from pgha_orch.image.store import default_image_dir
from pgha_orch.machines import accelerator
from pgha_orch.process import run
from pgha_orch.progress import Silent

NETWORK = "10.89.2"
CODE, VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
WAITS_S = 600
DEPLOY_S = 600
CONTAINERS = {"etcd-1": "etcd", "haproxy": "haproxy"}

pytestmark = [
    pytest.mark.skipif(not os.environ.get(VM), reason=f"make test-vm (sets {VM})"),
    pytest.mark.timeout(WAITS_S + DEPLOY_S),
]


@dataclass
class UefiHost:
    """What stands for bare metal: firmware, the role's disk as it was built, a data disk and a PGHA-BOOT drive."""

    directory: Path
    disk: Path
    bootstrap: Path
    bridge: str
    tap: str = "pghauefi-pg"

    @property
    def console(self) -> str:
        return (self.directory / "console.log").read_text(errors="replace")

    def switch_on(self) -> None:
        self.directory.mkdir(exist_ok=True)
        data, variables = self.directory / "data.img", self.directory / "vars.fd"
        if not data.exists():
            data.touch(mode=0o600)
            os.truncate(data, 8 << 30)
            shutil.copy(VARS, variables)
        if not Path("/sys/class/net", self.tap).exists():
            run(["ip", "tuntap", "add", "dev", self.tap, "mode", "tap"], timeout_s=10)
        run(["ip", "link", "set", "dev", self.tap, "master", self.bridge, "up"], timeout_s=10)
        drives = (
            f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            f"if=pflash,unit=1,format=raw,file={variables}",
            f"if=virtio,format=qcow2,readonly=on,file={self.disk}",
            f"if=virtio,format=raw,file={data}",
            f"if=virtio,format=raw,readonly=on,file={self.bootstrap}",
        )
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"),
                *accelerator.find(kernel.find(default_image_dir())).arguments,
                *("-smp", "1", "-m", "1024M", "-serial", f"file:{self.directory / 'console.log'}"),
                *(part for drive in drives for part in ("-drive", drive)),
                *("-netdev", f"tap,id=net,ifname={self.tap},script=no,downscript=no"),
                *("-device", "virtio-net-pci,netdev=net,mac=52:54:00:89:02:21", "-device", "virtio-rng-pci"),
            ],
            stdin=subprocess.DEVNULL,
        )

    def cut_power(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def destroy(self) -> None:
        self.cut_power()
        run(["ip", "link", "delete", self.tap], timeout_s=10, check=False)


@dataclass
class Site:
    lab: Lab
    hosts: WaitingHosts
    metal: UefiHost


@pytest.fixture(scope="module")
def site(root: None, tmp_path_factory: pytest.TempPathFactory, reports: Path) -> Iterator[Site]:
    """All hosts up and waiting: two containers and the machine with firmware."""
    names = ("etcd", "postgres", "haproxy")
    images = dict(zip(names, build(names, image_dir=default_image_dir()), strict=True))
    build_disks([images["postgres"]], default_image_dir(), Silent())
    disk = next(images["postgres"].directory.glob("disk-*.qcow2"))
    roles = {"etcd": ["etcd-1"], "postgres": ["pg-1"], "haproxy": ["haproxy"]}
    inventory = spec("uefi", NETWORK, roles, machines="ssh", failover="safe", durability="async", backup=None)
    inventory["operators"] = [f"{NETWORK}.1/32"]
    del inventory["backup"]
    lab = Lab(tmp_path_factory.mktemp("uefi"), inventory)
    lab.run("bootstrap", "--out", str(lab.directory / "boot"))
    hosts = WaitingHosts(lab.directory / "hosts", "pghauefi", f"{NETWORK}.0/24")
    metal = UefiHost(lab.directory / "metal", disk, lab.directory / "boot/pg-1.img", hosts.bridge.name)
    try:
        begun = time.monotonic()
        metal.switch_on()
        for name, role in CONTAINERS.items():
            hosts.boot(name, images[role].root, bootstrap=lab.directory / "boot" / f"{name}.tar")
        for host in lab.hosts.values():
            hosts.wait_for_ssh(str(host["address"]), timeout_s=WAITS_S)
        note(reports, uefi_waits_s=time.monotonic() - begun)
        yield Site(lab, hosts, metal)
    finally:
        with suppress(OSError):
            shutil.copy(metal.directory / "console.log", reports / "uefi.console")
        metal.destroy()
        hosts.destroy()


def test_booted_without_an_identity_it_says_so_and_waits(site: Site) -> None:
    assert f"role postgres waits for an identity at {NETWORK}.21" in site.metal.console
    assert not site.hosts.answers(f"{NETWORK}.21", 5432)


def test_preflight_finds_its_watchdog_its_disk_and_the_time_that_it_will_ask_for(site: Site) -> None:
    report = json.loads(site.lab.run("preflight", "--json", code=None).out)
    row = next(row for row in report["hosts"] if row["host"] == "pg-1")
    assert row["watchdog"] is True and row["state"] == "absent" and row["write_p99_ms"] > 0
    fatal = [finding for finding in report["findings"] if finding["fatal"]]
    assert not fatal, fatal
    times = {(f["source"], f["target"]) for f in report["flows"] if (f["protocol"], f["port"]) == ("udp", 123)}
    assert times == {("pg-1", "etcd-1"), ("haproxy", "etcd-1")}


def test_it_is_deployed_through_ssh_and_keeps_its_identity_over_a_power_cut(site: Site, reports: Path) -> None:
    begun = time.monotonic()
    first = site.lab.run("deploy", "--json", timeout_s=DEPLOY_S)
    assert first.json["status"]["healthy"], first  # type: ignore[index]
    note(reports, uefi_deploy_s=time.monotonic() - begun)
    site.lab.exec("pg-1", "test", "-d", "/sys/firmware/efi")
    assert site.lab.exec("pg-1", "cat", "/sys/class/watchdog/watchdog0/state").out.strip() == "active"
    with site.lab.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    site.metal.cut_power()
    begun = time.monotonic()
    site.metal.switch_on()
    site.lab.until_healthy(timeout_s=WAITS_S)
    note(reports, uefi_back_s=time.monotonic() - begun)
    with site.lab.connect() as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]
