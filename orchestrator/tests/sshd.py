"""An SSH server on loopback that speaks the real protocol and runs the commands it is given, for tests."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import paramiko


@dataclass
class Sshd(paramiko.ServerInterface):
    """Takes one user's one key. `drop_first` connections are closed before a banner, as MaxStartups does."""

    host_key: paramiko.PKey
    user: str
    allowed: str  # base64 of the public key
    drop_first: int = 0
    commands: list[str] = field(default_factory=list)
    logins: int = 0

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.transports: list[paramiko.Transport] = []

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == self.user and key.get_base64() == self.allowed
        self.logins += good
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        command = command.removeprefix("sudo -n -- ")
        sent = b""
        while chunk := channel.recv(65536):
            sent += chunk
        done = subprocess.run(["sh", "-c", command], input=sent, capture_output=True, check=False)
        with contextlib.suppress(OSError):
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)
            channel.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                if self.drop_first:
                    self.drop_first -= 1
                    connection.close()
                    continue
                transport = paramiko.Transport(connection)
                transport.add_server_key(self.host_key)
                # A client that refuses our key hangs up during the key exchange; the next one is served all the same.
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(server=self)
                    self.transports.append(transport)

    def hang_up(self) -> None:
        """End every connection, as a reboot does."""
        for transport in self.transports:
            transport.close()


@contextlib.contextmanager
def serving(sshd: Sshd) -> Iterator[Sshd]:
    thread = threading.Thread(target=sshd.serve, daemon=True)
    thread.start()
    try:
        yield sshd
    finally:
        sshd.hang_up()
        sshd.socket.close()
