"""A connection that is made when it is first needed, kept, shared by threads, and made anew after it broke."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import paramiko

from pgha_orch.errors import ProcessError
from pgha_orch.process import Result
from pgha_orch.ssh.endpoint import (
    CONNECT_TIMEOUT_S,
    DroppedEarly,
    Endpoint,
    HostKeyRefused,
    LoginRefused,
    SshError,
    Unreachable,
    fingerprint,
    is_pinned,
    open_transport,
    presented,
    reason,
)

LOGIN_TIMEOUT_S = 15.0
# sshd drops connections early when many log in at once (MaxStartups): try again, a little later each time.
RETRY_AFTER_S = (0.3, 1.0, 2.0)
MAX_CHANNELS = 8  # sshd's MaxSessions is 10; one is for an operator
POLL_S = 0.005
DRAIN_S = 1.0


class Connection:
    """Runs programs on one machine. `name` stands before every error; `pins` and `keys` as in `is_pinned`."""

    def __init__(
        self, name: str, endpoint: Endpoint, *, pins: Sequence[str], keys: Sequence[Path], patience: float = 1.0
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self._pins = tuple(pins)
        self._keys = tuple(keys)
        self._patience = patience
        self._lock = threading.Lock()
        self._channels = threading.BoundedSemaphore(MAX_CHANNELS)
        self._transport: paramiko.Transport | None = None

    def open(self) -> paramiko.Transport:
        """Connect and log in, or take the connection there is.

        Raises Unreachable, HostKeyRefused (nothing was sent to it), LoginRefused.
        """
        with self._lock:
            if self._transport is None or not self._transport.is_active():
                self._transport = self._connect()
            return self._transport

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has not been found broken."""
        return self._transport is not None and self._transport.is_active()

    def close(self) -> None:
        """End the connection; the next command makes a new one."""
        with self._lock:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def run(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        """Run a program to its end, on the other side too when it takes longer than `timeout_s` seconds.

        Raises SshError when it could not be asked, ProcessError as `process.run` does.
        """
        shown = f"{self.name}: {' '.join(shlex.join(argv).split())[:200]}"
        command = shlex.join(["timeout", "--kill-after=2", f"{timeout_s * self._patience + 1:.0f}", *argv])
        if self.endpoint.user != "root":
            command = f"sudo -n -- {command}"
        data = input.encode() if isinstance(input, str) else input or b""
        with self._channels:
            channel = self._session()
            try:
                channel.exec_command(command)
                result = self._collect(channel, tuple(argv), data, timeout_s * self._patience, shown)
            except (paramiko.SSHException, EOFError, OSError) as exc:
                raise Unreachable(f"{shown}: the connection broke: {reason(exc)}") from exc
            finally:
                channel.close()
        if check and result.returncode != 0:
            tail = " | ".join(line.strip() for line in (result.stderr or result.stdout).strip().splitlines()[-4:])
            raise ProcessError(
                f"{shown}: exit code {result.returncode}{': ' + tail[:600] if tail else ''}",
                argv=tuple(argv),
                returncode=result.returncode,
                stderr=result.stderr,
            )
        return result

    def _connect(self) -> paramiko.Transport:
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                transport = open_transport(self.endpoint, CONNECT_TIMEOUT_S * self._patience)
                host_key = presented(transport)
                break
            except DroppedEarly as exc:
                if wait_s is None:
                    raise Unreachable(f"{self.name}: {exc.message}", hint=exc.hint) from exc
                time.sleep(wait_s)
            except Unreachable as exc:
                raise Unreachable(f"{self.name}: {exc.message}", hint=exc.hint) from exc
        try:
            self._check_host_key(host_key)
            self._login(transport)
        except BaseException:
            transport.close()
            raise
        return transport

    def _check_host_key(self, presented: str) -> None:
        if is_pinned(presented, self._pins):
            return
        known = " or ".join(pin if pin.startswith("SHA256:") else fingerprint(pin) for pin in self._pins)
        raise HostKeyRefused(
            f"{self.name}: {self.endpoint} answers with host key {fingerprint(presented)}, known is {known or 'none'}",
            presented=presented,
            hint="compare it with the one on the machine's console; another key there means another machine",
        )

    def _login(self, transport: paramiko.Transport) -> None:
        transport.auth_timeout = LOGIN_TIMEOUT_S * self._patience
        tried = []
        for path in self._keys:
            key = _private_key(path)
            tried.append(f"{path} ({key.fingerprint})")
            try:
                transport.auth_publickey(self.endpoint.user, key)
                return
            except paramiko.AuthenticationException:
                continue
            except (paramiko.SSHException, EOFError, OSError) as exc:
                raise Unreachable(f"{self.name}: {self.endpoint}: login broke off: {reason(exc)}") from exc
        raise LoginRefused(
            f"{self.name}: {self.endpoint} lets {self.endpoint.user} in with none of our keys: "
            f"{', '.join(tried) or 'there is none'}",
            hint="the machine must have been booted with this cluster's bootstrap key (pgha-orch bootstrap)",
        )

    def _session(self) -> paramiko.Channel:
        """A channel on the connection; a connection that died since it was last used is made anew, once."""
        for last in (False, True):
            transport = self.open()
            try:
                return transport.open_session(timeout=LOGIN_TIMEOUT_S * self._patience)
            except (paramiko.SSHException, EOFError, OSError) as exc:
                self._forget(transport)
                if last:
                    raise Unreachable(f"{self.name}: {self.endpoint}: no session: {reason(exc)}") from exc
        raise AssertionError("unreachable")

    def _forget(self, transport: paramiko.Transport) -> None:
        """Others may still be reading from it, so it is not closed."""
        with self._lock:
            if self._transport is transport:
                self._transport = None

    def _collect(
        self, channel: paramiko.Channel, argv: tuple[str, ...], data: bytes, limit_s: float, shown: str
    ) -> Result:
        out, err = bytearray(), bytearray()
        left = memoryview(data)
        ended: float | None = None
        deadline = time.monotonic() + limit_s
        channel.settimeout(LOGIN_TIMEOUT_S * self._patience)
        if not data:
            channel.shutdown_write()
        while True:
            moved = False
            if left and channel.send_ready():
                left = left[channel.send(bytes(left[:32768])) :]
                moved = True
                if not left:
                    channel.shutdown_write()
            while channel.recv_ready():
                out += channel.recv(65536)
                moved = True
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
                moved = True
            now = time.monotonic()
            if channel.exit_status_ready() and not moved:
                ended = ended or now
                # What it started in the background may hold its output open: do not wait for that.
                if channel.eof_received or channel.closed or now - ended > DRAIN_S:
                    break
            if now > deadline:
                transport = channel.get_transport()
                if transport is not None:
                    self._forget(transport)
                raise ProcessError(f"{shown}: no end within {limit_s:g} s", argv=argv)
            if channel.closed and not channel.exit_status_ready():
                raise Unreachable(f"{shown}: the connection broke")
            if not moved:
                time.sleep(POLL_S)
        code = channel.recv_exit_status()
        if code < 0:
            raise Unreachable(f"{shown}: the connection broke before it ended")
        return Result(argv, code, out.decode(errors="replace"), err.decode(errors="replace"))


def _private_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as exc:
        raise SshError(f"{path}: no private key that can be used: {reason(exc)}") from exc
