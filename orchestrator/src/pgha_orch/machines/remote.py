"""Programs, files and identities inside a machine that runs with its identity, over SSH."""

from __future__ import annotations

import base64
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgha_orch.errors import OperationError
from pgha_orch.identity import Identity
from pgha_orch.process import Result, stream
from pgha_orch.ssh import Connection, Endpoint

INCOMING = "/run/pgha.incoming.tar"
COPY_TIMEOUT_S = 60.0
LOAD_TIMEOUT_S = 60.0
READ_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class RemoteShell:
    """What `Machine.exec`, `interactive`, `read` and `apply_identity` are for a machine behind sshd.

    The identity's `environment` comes from the machine's own pam_env. `known_hosts` and `key` are what
    OpenSSH's client takes, for sessions on this terminal.
    """

    connection: Connection
    known_hosts: Path
    key: Path

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        return self.connection.run(argv, timeout_s=timeout_s, input=input, check=check)

    def interactive(self, argv: Sequence[str]) -> int:
        at: Endpoint = self.connection.endpoint
        options = ["IdentitiesOnly=yes", f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes"]
        argv = ["sudo", "-n", "--", *argv] if at.user != "root" else list(argv)
        return stream(
            [
                "ssh",
                "-q",
                *(["-t"] if sys.stdin.isatty() else []),
                *("-p", str(at.port)),
                *("-i", self.key),
                *(part for option in options for part in ("-o", option)),
                f"{at.user}@{at.address}",
                "--",
                shlex.join(argv),
            ]
        )

    def read(self, path: str) -> bytes | None:
        """Content of a file; None when there is none or the machine cannot be asked."""
        try:
            found = self.connection.run(["base64", "--wrap=0", "--", path], timeout_s=READ_TIMEOUT_S, check=False)
        except OperationError:
            return None
        return base64.b64decode(found.stdout) if found.returncode == 0 else None

    def apply_identity(self, identity: Identity) -> None:
        """The loader checks the whole archive before it changes anything, so a broken transfer changes nothing."""
        self.copy(identity.archive(), INCOMING)
        try:
            self.exec(["/etc/pgha/identity-load", INCOMING], timeout_s=LOAD_TIMEOUT_S)
        finally:
            self.exec(["rm", "-f", INCOMING], timeout_s=READ_TIMEOUT_S, check=False)

    def copy(self, content: bytes, path: str) -> None:
        """Put a file there, whole or not at all, readable by root only; what was there before stays until then."""
        script = f'umask 077 && cat > {path}.part && test "$(stat -c %s {path}.part)" = {len(content)}'
        finish = f"sync {path}.part && mv {path}.part {path}"
        try:
            self.exec(["sh", "-c", f"{script} && {finish}"], input=content, timeout_s=COPY_TIMEOUT_S)
        except OperationError:
            self.exec(["rm", "-f", f"{path}.part"], timeout_s=READ_TIMEOUT_S, check=False)
            raise
