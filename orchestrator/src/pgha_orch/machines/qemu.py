"""Machines as QEMU virtual machines on this host, each with a kernel, a data disk and a watchdog of its own.

A machine's directory, `<state>/machines/<host>/`, holds `data.img` (its data disk), `identity.tar` (handed over by
fw_cfg as a systemd credential) or `identity.img` (the same as a drive), `machine.json`, `pid` and `console.log`.
QEMU runs in a session of its own, so machines survive the end of pgha-orch. Programs inside are run over SSH.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgha_orch.errors import OperationError
from pgha_orch.identity import Identity
from pgha_orch.image import Image, disk
from pgha_orch.inventory.model import Host
from pgha_orch.machines import cgroup, drive, qmp
from pgha_orch.machines.accelerator import Accelerator
from pgha_orch.machines.base import MachineState
from pgha_orch.machines.bridge import Bridge
from pgha_orch.machines.remote import RemoteShell
from pgha_orch.process import Result, run, spawn_detached

DATA_BYTES = 16 << 30  # sparse: what is not written takes no room
SOCKETS = Path("/run/pgha-orch")  # a socket's path has at most 107 bytes, so not below the state directory
START_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 10.0
POLL_S = 0.1
CONSOLE_LIMIT_BYTES = 4 << 20
IDENTITY_LABEL = "PGHA-IDENT"
IP_TIMEOUT_S = 10


class _Booted(BaseModel):
    """machine.json: written before the machine starts."""

    model_config = ConfigDict(extra="forbid")

    role: str
    build_id: str
    disk: Path


@dataclass(frozen=True)
class QemuMachine:
    """One VM. `unit` is its name on this host, unique among all clusters of this host."""

    name: str
    unit: str
    directory: Path
    bridge: Bridge
    host: Host | None  # None: it left the inventory, and can only be stopped and removed
    accelerator: Accelerator
    shell: RemoteShell
    identity_drive: bool = False

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def data(self) -> Path:
        return self.directory / "data.img"

    @property
    def tap(self) -> str:
        """Its end of the network on this host; at most 15 characters."""
        return "pq" + sha256(self.unit.encode()).hexdigest()[:11]

    def state(self) -> MachineState:
        if self._pid() is not None:
            return MachineState.RUNNING
        return MachineState.STOPPED if self.data.exists() else MachineState.ABSENT

    def boot(self, image: Image, identity: Identity) -> None:
        if self._pid() is not None:
            return
        if self.host is None:
            raise OperationError(f"{self.name}: it is no longer in the inventory")
        found = disk.find(image, image.directory.parent.parent)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.data.exists():
            self.data.touch(mode=0o600)
            os.truncate(self.data, DATA_BYTES)
        self._keep_identity(identity)
        booted = _Booted(role=image.role, build_id=image.build_id, disk=found.path)
        (self.directory / "machine.json").write_text(booted.model_dump_json())
        if self.console.exists() and self.console.stat().st_size > CONSOLE_LIMIT_BYTES:
            self.console.replace(self.console.with_suffix(".log.1"))
        SOCKETS.mkdir(mode=0o700, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        (self.directory / "pid").unlink(missing_ok=True)
        self._plug()
        spawn_detached(
            [*cgroup.launcher(self.unit, self.directory / "pid"), *self._argv(found, self.host)],
            log=self.directory / "qemu.log",
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._socket.exists():
            if time.monotonic() > deadline or ((self.directory / "pid").exists() and self._pid() is None):
                said = (self.directory / "qemu.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise OperationError(
                    f"{self.name}: QEMU did not start: {''.join(said) or 'no word why'}",
                    hint=f"read {self.directory / 'qemu.log'}",
                )
            time.sleep(POLL_S)

    def reboot(self, image: Image, identity: Identity, *, timeout_s: float) -> None:
        self.stop(timeout_s=timeout_s)
        self.boot(image, identity)

    def stop(self, *, timeout_s: float) -> None:
        pid = self._pid()
        if pid is None:
            return
        with suppress(OperationError):
            qmp.command(self._socket, "cont")  # a frozen machine cannot shut down
            qmp.command(self._socket, "system_powerdown")
        if not _gone(pid, timeout_s * self.accelerator.factor):
            self.kill()
        self._clean()

    def kill(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not _gone(pid, KILL_TIMEOUT_S):
            raise OperationError(f"{self.name}: process {pid} (QEMU) does not end")
        self._clean()

    def freeze(self) -> None:
        qmp.command(self._socket, "stop")

    def thaw(self) -> None:
        if self._pid() is not None:
            qmp.command(self._socket, "cont")

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        self._assert_runs()
        return self.shell.exec(argv, timeout_s=timeout_s, input=input, check=check)

    def interactive(self, argv: Sequence[str]) -> int:
        self._assert_runs()
        return self.shell.interactive(argv)

    def read(self, path: str) -> bytes | None:
        return self.shell.read(path) if self._pid() is not None else None

    def apply_identity(self, identity: Identity) -> None:
        self.shell.apply_identity(identity)
        self._keep_identity(identity)

    def booted_image(self) -> str | None:
        if self._pid() is None:
            return None
        try:
            return _Booted.model_validate_json((self.directory / "machine.json").read_bytes()).build_id
        except (OSError, ValueError):
            return None

    def destroy(self) -> None:
        if self._pid() is not None:
            raise OperationError(f"{self.name}: it runs; stop it first")
        self._clean()
        if self.directory.exists():
            shutil.rmtree(self.directory)

    @property
    def _socket(self) -> Path:
        return SOCKETS / f"{self.unit}.qmp"

    def _argv(self, found: disk.Disk, host: Host) -> list[str]:
        digest = sha256(self.unit.encode()).hexdigest()
        machine_id = uuid.uuid5(uuid.NAMESPACE_DNS, self.unit)
        identity = (
            ["-drive", f"file={self.directory / 'identity.img'},format=raw,if=virtio,readonly=on"]
            if self.identity_drive
            else ["-fw_cfg", f"name=opt/io.systemd.credentials/pgha.identity,file={self.directory / 'identity.tar'}"]
        )
        kernel = self.accelerator.kernel_arguments
        return [
            *("qemu-system-x86_64", "-name", self.unit, "-uuid", str(machine_id)),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "pc", *self.accelerator.arguments),
            *("-smp", str(host.cpus), "-m", f"{host.memory_mib}M", "-rtc", "base=utc,clock=host"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-qmp", f"unix:{self._socket},server=on,wait=off"),
            *("-kernel", str(found.kernel.vmlinuz), "-initrd", str(found.kernel.initrd)),
            *("-append", " ".join([disk.COMMAND_LINE, f"systemd.machine_id={machine_id.hex}", *kernel])),
            *("-drive", f"file={found.path},format=qcow2,if=virtio,readonly=on"),
            *("-drive", f"file={self.data},format=raw,if=virtio,discard=unmap"),
            *identity,
            *("-netdev", f"tap,id=net,ifname={self.tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net,romfile=,mac=52:54:00:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"),
            *("-device", "virtio-rng-pci"),
        ]

    def _plug(self) -> None:
        if not Path("/sys/class/net", self.tap).exists():
            run(["ip", "tuntap", "add", "dev", self.tap, "mode", "tap"], timeout_s=IP_TIMEOUT_S)
        run(["ip", "link", "set", "dev", self.tap, "master", self.bridge.name, "up"], timeout_s=IP_TIMEOUT_S)

    def _clean(self) -> None:
        """Take away what a QEMU that has ended leaves on this host."""
        self.shell.connection.close()
        self._socket.unlink(missing_ok=True)
        run(["ip", "link", "delete", self.tap], timeout_s=IP_TIMEOUT_S, check=False)
        cgroup.remove(self.unit)

    def _keep_identity(self, identity: Identity) -> None:
        archive = self.directory / "identity.tar"
        temp = archive.with_suffix(".new")
        temp.touch(mode=0o600)
        temp.write_bytes(identity.archive())
        temp.replace(archive)
        if self.identity_drive:
            drive.write(self.directory / "identity.img", IDENTITY_LABEL, "identity.tar", identity.archive())

    def _assert_runs(self) -> None:
        if self._pid() is None:
            raise OperationError(f"{self.name}: it does not run", hint="pgha-orch deploy starts it")

    def _pid(self) -> int | None:
        """Process id of this machine's QEMU. The pid file alone proves nothing: the process must be this one."""
        try:
            pid = int((self.directory / "pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.unit.encode() in argv and b"-qmp" in argv and _alive(pid) else None


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _gone(pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return True
