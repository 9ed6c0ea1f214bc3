"""Machines that someone else boots, from the same images, without an identity: bare metal, Proxmox, a cloud.

Such a machine waits (pgha-await.service) and lets in the bootstrap key. `boot` pushes its identity; from then on
it answers with the cluster's own host key to the operator's key. Nobody here can switch it on or off: `stop`
ends what its role runs and leaves it reachable, `kill` is refused, `destroy` makes it a waiting machine again.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgha_orch.errors import GateTimeout, OperationError, OrchError, ProcessError, UsageError
from pgha_orch.identity import Identity
from pgha_orch.image import Image, manifest
from pgha_orch.image.manifest import IN_IMAGE, Manifest
from pgha_orch.machines.base import MachineState
from pgha_orch.machines.remote import READ_TIMEOUT_S, RemoteShell
from pgha_orch.process import Result
from pgha_orch.ssh import HostKeyRefused, LoginRefused, Unreachable, is_pinned

PUSH_TIMEOUT_S = 60.0
TAKE_OVER_TIMEOUT_S = 60.0
REBOOT_TIMEOUT_S = 600.0  # a server's firmware takes minutes
POLL_S = 0.3
KEPT = "/var/lib/pgha/identity.tar"
STOPPED = "/run/pgha.stopped"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Exit codes of LOOK.
WAITS, HALTED = 3, 4
LOOK = f"""
systemctl --quiet is-active pgha-await.service && exit {WAITS}
test ! -e {STOPPED} || exit {HALTED}
test -e /run/pgha/identity.env || exit {WAITS}
"""
# A refused identity leaves the one from before, and the machine waiting.
TAKE = f"""
cd /var/lib/pgha && rm -f identity.tar.before
test ! -e identity.tar || ln identity.tar identity.tar.before
mv {KEPT}.new {KEPT}
if systemctl start pgha-identity.service; then
  rm -f identity.tar.before {STOPPED}
  systemctl start --no-block pgha.target
else
  if test -e identity.tar.before; then mv identity.tar.before identity.tar; else rm -f identity.tar; fi
  journalctl --unit=pgha-identity.service --output=cat --no-pager --lines=20 | grep '^identity ' | tail -n 1 >&2
  exit 1
fi
"""
# Everything that the role and its identity started; the rest keeps the machine reachable.
HALT = f"""
touch {STOPPED}
units=$(systemctl show --property=Wants --value pgha.target | tr ' ' '\\n' |
  grep -vE '^(pgha-identity|pgha-firewall|systemd-networkd|chronyd|sshd)\\.service$')
systemctl stop $units $(cat /run/pgha/units)
"""
# etcd is ready once its peers are, so nothing is waited for here.
RESUME = f"rm -f {STOPPED} && systemctl --no-block start pgha.target $(cat /run/pgha/units)"
# A second later, so that the command is known to have ended well.
REBOOT = ("systemd-run", "--quiet", "--collect", "--on-active=1", "systemctl", "reboot")
# The host key from before the identity stays: its fingerprint may be in the inventory.
WIPE = f"""
rm -f /run/pgha {STOPPED}
find /var/lib/pgha -mindepth 1 -maxdepth 1 ! -name bootstrap -exec rm -rf {{}} +
sync
{shlex.join(REBOOT)}
"""


class Record(BaseModel):
    """machine.json: how to find the machine again when the inventory no longer names it."""

    model_config = ConfigDict(extra="forbid")

    address: str
    host_key: str


@dataclass(frozen=True)
class SshMachine:
    """One host. `own` is how it answers with its identity, `waiting` before that; `pins` are its keys before that."""

    name: str
    directory: Path
    own: RemoteShell
    waiting: RemoteShell
    pins: tuple[str, ...]
    record: Record

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    def state(self) -> MachineState:
        try:
            shell = self.shell()
        except Unreachable:
            return MachineState.STOPPED
        code = shell.exec(["sh", "-c", LOOK], timeout_s=READ_TIMEOUT_S, check=False).returncode
        return {0: MachineState.RUNNING, HALTED: MachineState.STOPPED}.get(code, MachineState.ABSENT)

    def boot(self, image: Image, identity: Identity) -> None:
        shell = self.shell()
        match self.state():
            case MachineState.RUNNING:
                return
            case MachineState.STOPPED:
                shell.apply_identity(identity)
                shell.exec(["sh", "-c", RESUME], timeout_s=PUSH_TIMEOUT_S)
            case MachineState.ABSENT:
                self._push(shell, identity)
                self._wait_until_running(TAKE_OVER_TIMEOUT_S, "it took its identity and does not answer with it")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "machine.json").write_text(self.record.model_dump_json())

    def reboot(self, image: Image, identity: Identity, *, timeout_s: float) -> None:
        self.own.apply_identity(identity)
        before = self.own.read(BOOT_ID)
        self.own.exec(REBOOT, timeout_s=READ_TIMEOUT_S)
        self.own.connection.close()
        deadline = time.monotonic() + timeout_s + REBOOT_TIMEOUT_S
        while (now := self.own.read(BOOT_ID)) is None or now == before:
            if time.monotonic() > deadline:
                raise GateTimeout(f"{self.name}: not back {timeout_s + REBOOT_TIMEOUT_S:.0f} s after its reboot")
            time.sleep(POLL_S)

    def stop(self, *, timeout_s: float) -> None:
        if self.state() is MachineState.RUNNING:
            self.own.exec(["sh", "-c", HALT], timeout_s=timeout_s)

    def kill(self) -> None:
        raise OperationError(
            f"{self.name}: nobody can cut its power over SSH", hint="cut it at the machine; its identity stays on it"
        )

    def freeze(self) -> None:
        raise OperationError(f"{self.name}: nobody can freeze it over SSH", hint="its hypervisor can")

    def thaw(self) -> None:
        return

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        return self.shell().exec(argv, timeout_s=timeout_s, input=input, check=check)

    def interactive(self, argv: Sequence[str]) -> int:
        return self.shell().interactive(argv)

    def read(self, path: str) -> bytes | None:
        try:
            return self.shell().read(path)
        except OperationError:
            return None

    def apply_identity(self, identity: Identity) -> None:
        self.own.apply_identity(identity)

    def booted_image(self) -> str | None:
        found = self.manifest()
        return found.build_id if found else None

    def destroy(self) -> None:
        state, shell = self.state(), self.shell()
        if state is MachineState.RUNNING:
            raise OperationError(f"{self.name}: it runs; stop it first")
        if state is MachineState.STOPPED:
            shell.exec(["sh", "-c", WIPE], timeout_s=PUSH_TIMEOUT_S)
            shell.connection.close()
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def manifest(self) -> Manifest | None:
        """What its image says about itself; None when the machine cannot be asked. OperationError when it is none."""
        content = self.read(f"/{IN_IMAGE}")
        return None if content is None else manifest.parse(content, f"{self.name}: /{IN_IMAGE}")

    def shell(self) -> RemoteShell:
        """The way in that works now. Raises Unreachable, HostKeyRefused or LoginRefused when none does."""
        if self.waiting.connection.is_open:
            return self.waiting
        same_place = self.own.connection.endpoint.address == self.waiting.connection.endpoint.address
        try:
            self.own.connection.open()
            return self.own
        except HostKeyRefused as exc:
            if not is_pinned(exc.presented, self.pins):
                raise _unknown_key(exc, pinned=bool(self.pins)) from exc
        except Unreachable:
            if same_place:
                raise
        except LoginRefused:
            pass  # it may have been booted with its own host key and another bootstrap key
        try:
            self.waiting.connection.open()
        except HostKeyRefused as exc:
            raise _unknown_key(exc, pinned=bool(self.pins)) from exc
        return self.waiting

    def _push(self, shell: RemoteShell, identity: Identity) -> None:
        shell.copy(identity.archive(), f"{KEPT}.new")
        try:
            shell.exec(["sh", "-c", TAKE], timeout_s=PUSH_TIMEOUT_S)
        except ProcessError as exc:
            why = [line for line in exc.stderr.splitlines() if line.startswith("identity ")]
            raise OperationError(
                f"{self.name}: {why[-1] if why else exc.message}",
                hint="it still waits, as before; the image and the inventory must fit together",
            ) from exc
        shell.connection.close()

    def _wait_until_running(self, limit_s: float, what: str) -> None:
        deadline = time.monotonic() + limit_s
        seen = ""
        while time.monotonic() < deadline:
            try:
                if (state := self.state()) is MachineState.RUNNING:
                    return
                seen = state
            except OperationError as exc:
                seen = exc.message
            time.sleep(POLL_S)
        raise GateTimeout(f"{self.name}: {what} within {limit_s:.0f} s; last seen: {seen}")


def _unknown_key(exc: HostKeyRefused, *, pinned: bool) -> OrchError:
    if pinned:
        return exc
    return UsageError(
        exc.message,
        hint="compare it with the machine's console, then put it in the inventory (ssh: {host_key: SHA256:...}) "
        "or confirm it once: pgha-orch trust",
    )
