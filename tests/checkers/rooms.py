"""Run an image's own programs with an identity at /run/pgha, without booting it and without a network."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# The root is the lower layer: nothing of the image changes, and all that is written is gone with the namespace.
# This shell stays, as process 1 of the namespace and as root: --kill-child does not survive a change of user.
_ENTER = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs var/lib/pgha
mkdir run/pgha
tar -xpf "$2" -C run/pgha --numeric-owner
install -d -o 962 -g 962 run/haproxy
own=960
[ ! -d run/pgha/postgresql ] && own=963
install -d -o "$own" -g "$own" run/postgresql run/pgbackrest var/lib/pgha/log var/lib/pgha/log/pgbackrest \
    var/lib/pgha/postgresql var/lib/pgha/pgbackrest var/lib/pgha/pgbackrest/spool var/lib/pgha/pgbackrest/repo
install -d -m 700 -o 961 -g 961 var/lib/pgha/etcd
install -d -m 750 -o 964 -g 964 run/chrony var/lib/pgha/chrony
shift 2
status=0
chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp LANG=C.UTF-8 "$@" || status=$?
exit $status
"""


@dataclass(frozen=True)
class Net:
    """A network namespace, held by a process that sleeps."""

    holder: int

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Net]:
        with subprocess.Popen(
            ["unshare", "--net", "sh", "-ec", "ip link set lo up; echo up; exec sleep 600"], stdout=subprocess.PIPE
        ) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"up\n"
                yield cls(holder.pid)
            finally:
                holder.kill()

    def inside(self, *argv: str) -> list[str]:
        """Arguments that run this host's program in the namespace."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *argv]

    def add(self, *addresses: object) -> None:
        """Give the loopback these addresses."""
        for address in addresses:
            options = ["nodad"] if ":" in str(address) else []
            argv = self.inside("ip", "address", "add", f"{address}", "dev", "lo", *options)
            subprocess.run(argv, check=True, timeout=10)


@dataclass(frozen=True)
class Room:
    """An image's root with an identity, in `net`."""

    net: Net
    root: Path
    archive: Path

    def argv(self, *command: str, user: str | None = None) -> list[str]:
        """Arguments that run the image's program `command`, as `user` of the image or root."""
        if user is not None:
            command = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command)
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", _ENTER, "sh"]
        return self.net.inside(*enter, str(self.root), str(self.archive), *command)

    def run(
        self, *command: str, user: str | None = None, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*command, user=user),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def accept(self, *command: str, user: str | None = None, stdin: str | None = None) -> str:
        """Run it; its output. It must end with exit code 0."""
        done = self.run(*command, user=user, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def running(self, *command: str, user: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """The program in the background, killed at the end. Its output is the test's.

        Not a pipe: one that nobody reads fills up, and the program stops at its next line.
        """
        argv: Sequence[str] = self.argv(*command, user=user)
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, text=True) as process:
            try:
                yield process
            finally:
                process.kill()
