"""Machines as systemd-nspawn containers on this host: the embedded default.

A machine's directory, `<state>/machines/<host>/`, holds `data/` (its /var/lib/pgha), `identity.tar` (handed
over as a systemd credential), `machine.json` (what it was booted from), `pid` and `console.log`. nspawn runs
in a session and cgroup of its own, so machines survive the end of pgha-orch. What works and what does not on
hosts without systemd as PID 1 is in lab-notes.md, systemd-nspawn.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgha_orch.errors import OperationError, ProcessError
from pgha_orch.identity import Identity
from pgha_orch.image import Image
from pgha_orch.machines import cgroup
from pgha_orch.machines.base import MachineState
from pgha_orch.machines.nspawn_processes import alive, gone
from pgha_orch.process import Result, run, spawn_detached, stream

log = logging.getLogger(__name__)

BOOT_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 10.0
CONSOLE_LIMIT_BYTES = 4 * 1024 * 1024
POLL_S = 0.05
# systemd's own signals to PID 1 of a container (systemd(1), SIGNALS): start poweroff.target.
SIG_POWEROFF = signal.SIGRTMIN + 4
# Both builders' places, so that the driver need not know which image it booted.
PATH = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The firewall; etcd's priority; nothing of the host's clock.
CAPABILITIES = "CAP_NET_ADMIN,CAP_SYS_NICE,CAP_IPC_LOCK"


class _Booted(BaseModel):
    """machine.json: written before the machine starts."""

    model_config = ConfigDict(extra="forbid")

    role: str
    build_id: str
    image: Path


@dataclass(frozen=True)
class NspawnMachine:
    """One container. `unit` is its name on this host, unique among all clusters of this host."""

    name: str
    unit: str
    directory: Path
    bridge: str

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    def state(self) -> MachineState:
        if self._leader() is not None:
            return MachineState.RUNNING
        return MachineState.STOPPED if self.data.exists() else MachineState.ABSENT

    def boot(self, image: Image, identity: Identity) -> None:
        if self._supervisor() is not None:
            return
        self.data.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._keep_identity(identity)
        booted = _Booted(role=image.role, build_id=image.build_id, image=image.root)
        (self.directory / "machine.json").write_text(booted.model_dump_json())
        if self.console.exists() and self.console.stat().st_size > CONSOLE_LIMIT_BYTES:
            self.console.replace(self.console.with_suffix(".log.1"))
        pid_file = self.directory / "pid"
        pid_file.unlink(missing_ok=True)
        spawn_detached(
            [
                *cgroup.launcher(self.unit, pid_file),
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                f"--directory={image.root}",
                "--volatile=overlay",
                f"--bind={self.data}:/var/lib/pgha",
                f"--machine={self.unit}",
                f"--hostname={self.name}",
                f"--uuid={uuid.uuid5(uuid.NAMESPACE_DNS, self.unit)}",  # the journal's directory is named after it
                f"--capability={CAPABILITIES}",
                f"--network-bridge={self.bridge}",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--console=pipe",
                f"--load-credential=pgha.identity:{self._identity_file}",
                "--boot",
            ],
            log=self.console,
            env={"PATH": os.environ.get("PATH", PATH), "SYSTEMD_LOG_LEVEL": "warning"},
        )
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self._leader() is None:
            if time.monotonic() > deadline or self._has_ended():
                raise OperationError(
                    f"{self.name}: systemd-nspawn did not start it: {self._console_tail()}",
                    hint=f"read {self.console}",
                )
            time.sleep(POLL_S)

    def reboot(self, image: Image, identity: Identity, *, timeout_s: float) -> None:
        self.stop(timeout_s=timeout_s)
        self.boot(image, identity)

    def stop(self, *, timeout_s: float) -> None:
        leader, supervisor = self._leader(), self._supervisor()
        if supervisor is None:
            return
        if leader is not None:
            with suppress(ProcessLookupError):
                os.kill(leader, SIG_POWEROFF)
        if not gone(supervisor, timeout_s, leader, poll_s=POLL_S):
            self.kill()
        cgroup.remove(self.unit)

    def kill(self) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            return
        leader = self._leader()
        with suppress(ProcessLookupError):
            os.kill(leader if leader is not None else supervisor, signal.SIGKILL)
        if not gone(supervisor, KILL_TIMEOUT_S, leader, poll_s=POLL_S):
            raise OperationError(f"{self.name}: process {supervisor} (systemd-nspawn) does not end")
        cgroup.remove(self.unit)

    def freeze(self) -> None:
        if self._supervisor() is None or not cgroup.set_frozen(self.unit, True):
            raise OperationError(f"{self.name}: cannot be frozen: it does not run, or its cgroup has no freezer")

    def thaw(self) -> None:
        if self._supervisor() is not None and not cgroup.set_frozen(self.unit, False):
            raise OperationError(f"{self.name}: cannot be thawed: its cgroup has no freezer")

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        try:
            return run(
                [*self._enter(), *argv],
                timeout_s=timeout_s,
                input=input,
                env=self._environment(),
                check=check,
            )
        except ProcessError as exc:
            shown = exc.message.partition(" -- ")[2] or exc.message
            raise ProcessError(
                f"{self.name}: {shown}", argv=tuple(argv), returncode=exc.returncode, stderr=exc.stderr
            ) from exc

    def interactive(self, argv: Sequence[str]) -> int:
        return stream([*self._enter(), *argv], env=self._environment() | {"TERM": os.environ.get("TERM", "dumb")})

    def read(self, path: str) -> bytes | None:
        leader = self._leader()
        if leader is None:
            return None
        # Links in the machine (such as /run/pgha) are absolute: resolve them against its root, not ours.
        root, seen = Path(f"/proc/{leader}/root"), 0
        parts, at = list(Path(path).parts[1:]), root
        while parts:
            at = at / parts.pop(0)
            if at.is_symlink() and (seen := seen + 1) < 40:
                target = at.readlink()
                at = root if target.is_absolute() else at.parent
                parts = [p for p in target.parts if p != "/"] + parts
        try:
            return at.read_bytes()
        except OSError:
            return None

    def apply_identity(self, identity: Identity) -> None:
        incoming = "/run/pgha.incoming.tar"
        self.exec(["sh", "-c", f"umask 077 && cat > {incoming}"], input=identity.archive(), timeout_s=20)
        self.exec(["/etc/pgha/identity-load", incoming], timeout_s=30)
        self.exec(["rm", "-f", incoming], timeout_s=10)
        self._keep_identity(identity)

    def booted_image(self) -> str | None:
        if self._leader() is None:
            return None
        try:
            return _Booted.model_validate_json((self.directory / "machine.json").read_bytes()).build_id
        except (OSError, ValueError):
            return None

    def destroy(self) -> None:
        if self._supervisor() is not None:
            raise OperationError(f"{self.name}: it runs; stop it first")
        if self.directory.exists():
            shutil.rmtree(self.directory)
        cgroup.remove(self.unit)

    @property
    def interface(self) -> str:
        """Name of its end of the network on this host, a port of the bridge."""
        wanted = (self.read("/sys/class/net/host0/iflink") or b"").decode().strip()
        for port in Path("/sys/class/net").iterdir():
            if wanted and (port / "ifindex").read_text().strip() == wanted:
                return port.name
        raise OperationError(f"{self.name}: no network interface of it on this host; does it run?")

    @property
    def _identity_file(self) -> Path:
        return self.directory / "identity.tar"

    def _keep_identity(self, identity: Identity) -> None:
        temp = self._identity_file.with_suffix(".new")
        temp.touch(mode=0o600)
        temp.write_bytes(identity.archive())
        temp.replace(self._identity_file)

    def _supervisor(self) -> int | None:
        """Process id of this machine's systemd-nspawn; None when it does not run.

        The pid file alone proves nothing (reboot, reuse of ids): the process must be the nspawn of this directory.
        """
        try:
            pid = int((self.directory / "pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        mine = f"--load-credential=pgha.identity:{self._identity_file}".encode()
        return pid if mine in argv and alive(pid) else None

    def _has_ended(self) -> bool:
        """Whether the process that the pid file names is gone.

        `_supervisor` cannot tell while it starts: in the middle of an exec a process has no command line.
        """
        try:
            return not alive(int((self.directory / "pid").read_text()))
        except (OSError, ValueError):
            return False

    def _leader(self) -> int | None:
        """Process id, on this host, of the machine's PID 1."""
        supervisor = self._supervisor()
        if supervisor is None:
            return None
        with suppress(OSError):
            for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
                # Before it execs, the child is a copy of nspawn that has not entered its namespaces yet.
                if b"systemd-nspawn" not in Path(f"/proc/{child}/cmdline").read_bytes() and alive(int(child)):
                    return int(child)
        return None

    def _enter(self) -> list[str]:
        leader = self._leader()
        if leader is None:
            raise OperationError(f"{self.name}: it does not run", hint="pgha-orch deploy starts it")
        nsenter = shutil.which("nsenter") or "nsenter"
        return [nsenter, "--target", str(leader), "--all", "--wdns=/", "--"]

    def _environment(self) -> dict[str, str]:
        env = {"PATH": PATH, "HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "PAGER": "cat"}
        for line in (self.read("/run/pgha/environment") or b"").decode().splitlines():
            key, found, value = line.partition("=")
            if found and not key.startswith("#"):
                env[key] = value.strip('"')
        return env

    def _console_tail(self) -> str:
        with suppress(OSError):
            lines = self.console.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
            return " | ".join(lines[-3:])
        return "no console output"
