"""Hosts as somebody else would boot them: role images with no identity, on a network of their own.

Containers stand for bare metal here. Beside them runs what a power supply is to a server: it starts them again
when they reboot, and can be cut.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from pgha_orch.machines import cgroup
from pgha_orch.machines.bridge import Bridge
from pgha_orch.process import run, spawn_detached

REBOOTED = 133  # exit code of `systemd-nspawn --keep-unit` when the machine reboots
SUPPLY = f'while :; do "$@" && exit; code=$?; [ $code -eq {REBOOTED} ] || exit $code; done'


@dataclass
class WaitingHosts:
    """Containers without an identity. `prefix` keeps their names apart from other tests' on this host."""

    directory: Path
    prefix: str
    network: str
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        net = ip_network(self.network)
        self.bridge = Bridge(f"{self.prefix}-br", net, ip_address(next(net.hosts())))
        self.bridge.up()

    def boot(self, name: str, root: Path, *, bootstrap: Path | None) -> None:
        """Switch a host on with an image's root, and the bootstrap archive that its config drive carries."""
        home = self.directory / name
        (home / "data").mkdir(parents=True, exist_ok=True)
        unit = f"{self.prefix}-{name}"
        (home / "pid").unlink(missing_ok=True)
        spawn_detached(
            [
                *cgroup.launcher(unit, home / "pid"),
                *("sh", "-c", SUPPLY, "supply"),
                *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
                f"--directory={root}",
                "--volatile=overlay",
                f"--bind={home / 'data'}:/var/lib/pgha",
                f"--machine={unit}",
                f"--uuid={uuid.uuid5(uuid.NAMESPACE_DNS, unit)}",
                "--capability=CAP_NET_ADMIN,CAP_SYS_NICE,CAP_IPC_LOCK",
                f"--network-bridge={self.bridge.name}",
                *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"),
                *([f"--load-credential=pgha.bootstrap:{bootstrap}"] if bootstrap else []),
                "--boot",
            ],
            log=self.console(name),
        )
        if name not in self.names:
            self.names.append(name)

    def console(self, name: str) -> Path:
        return self.directory / name / "console.log"

    def wait_for_console(self, name: str, text: str, *, timeout_s: float = 60) -> str:
        """The first line of a host's console that has `text`; AssertionError with the console's end without one."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            lines = self.console(name).read_text(errors="replace").splitlines() if self.console(name).exists() else []
            for line in lines:
                if text in line:
                    return line
            time.sleep(0.1)
        raise AssertionError(f"{name}: no {text!r} on its console within {timeout_s} s: {lines[-5:]}")

    def cut_power(self, name: str) -> None:
        """Every process of it is gone when this returns."""
        supply = self._pid(name)
        if supply is None:
            return
        for nspawn in _children(supply):
            leaders = _children(nspawn)
            os.kill(supply, signal.SIGKILL)
            for pid in [*leaders, nspawn]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in (supply, *_children(supply))):
            with suppress(ChildProcessError):
                os.waitpid(supply, os.WNOHANG)
            assert time.monotonic() < deadline, f"{name}: does not end"
            time.sleep(0.05)
        time.sleep(0.3)  # nspawn's own mounts go with its last process
        cgroup.remove(f"{self.prefix}-{name}")

    def destroy(self) -> None:
        for name in self.names:
            self.cut_power(name)
        self.bridge.down(guard=False)
        run(["rm", "-rf", "--one-file-system", self.directory], timeout_s=60)

    def _pid(self, name: str) -> int | None:
        with suppress(OSError, ValueError):
            pid = int((self.directory / name / "pid").read_text())
            if b"supply" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        return None


def _children(pid: int) -> Sequence[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return ()
