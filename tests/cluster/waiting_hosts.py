"""Hosts as somebody else would boot them: role images with no identity, on a network of their own.

Containers stand for bare metal here. Beside them runs what a power supply is to a server: it starts them again
when they reboot, and can be cut.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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

    def processes(self, name: str) -> Sequence[int]:
        """The host's PID 1, as a process id of ours."""
        supply = self._pid(name)
        return [leader for nspawn in _children(supply or 0) for leader in _children(nspawn)]

    def run(self, name: str, *argv: str) -> str:
        """Standard output of a program inside, asked past SSH; "" while its PID 1 does not run."""
        for leader in self.processes(name):
            return run(["nsenter", "--target", str(leader), "--all", *argv], timeout_s=20, check=False).stdout
        return ""

    def until_failed(self, name: str, unit: str, *, timeout_s: float) -> str:
        """Wait until a unit has failed, and a second more for what starts nevertheless; what the unit said."""
        deadline = time.monotonic() + timeout_s
        while self.run(name, "systemctl", "is-failed", unit) != "failed\n":
            assert time.monotonic() < deadline, f"{name}: {unit} did not fail within {timeout_s} s"
            time.sleep(0.2)
        time.sleep(1.0)
        return self.run(name, "journalctl", "--unit", unit, "--output=cat", "--no-pager")

    def answers(self, address: str, port: int) -> bool:
        """Whether a TCP connection from here stands within a second."""
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    def wait_for_ssh(self, address: str, *, timeout_s: float = 60) -> None:
        """Until sshd says who it is; AssertionError when it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((address, 22), timeout=1) as connection:
                connection.settimeout(5)
                if connection.recv(4) == b"SSH-":
                    return
            time.sleep(0.1)
        raise AssertionError(f"{address}: no sshd within {timeout_s} s")

    @contextmanager
    def blocked(self, *, source: str, target: str, port: int) -> Iterator[None]:
        """Somebody's firewall between two hosts, on the bridge."""
        table = f"{self.prefix}_blocked"
        rule = f"ip saddr {source} ip daddr {target} tcp dport {port} drop"
        chain = f"chain forward {{\n type filter hook forward priority 0\n {rule}\n}}"
        run(["nft", "-f", "-"], input=f"table bridge {table} {{\n{chain}\n}}\n", timeout_s=10)
        try:
            yield
        finally:
            run(["nft", "delete", "table", "bridge", table], timeout_s=10)

    def archive_without_key(self, archive: Path) -> Path:
        """The bootstrap of a host that is to make its own host key."""
        return self._changed(archive, {"ssh_host_ed25519_key": None})

    def archive_with_key(self, archive: Path, authorized: str) -> Path:
        """The bootstrap that lets in somebody else."""
        return self._changed(archive, {"authorized_keys": authorized.encode() + b"\n"})

    def _changed(self, archive: Path, changes: Mapping[str, bytes | None]) -> Path:
        target = self.directory / f"changed-{archive.name}"
        with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
            for member in old.getmembers():
                content = changes.get(member.name, old.extractfile(member).read())  # type: ignore[union-attr]
                if content is not None:
                    member.size = len(content)
                    new.addfile(member, io.BytesIO(content))
        return target

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
