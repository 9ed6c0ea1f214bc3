"""The one door to SSH: host keys that are known beforehand, a deadline for everything, one mapping to errors.

A `Connection` is made when it is first needed, kept, shared by threads, and made anew after it broke. A command
that was sent is never sent twice.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from pgha_orch.errors import OperationError, ProcessError
from pgha_orch.process import Result

CONNECT_TIMEOUT_S = 5.0
LOGIN_TIMEOUT_S = 15.0
# sshd drops connections early when many log in at once (MaxStartups): try again, a little later each time.
RETRY_AFTER_S = (0.3, 1.0, 2.0)
MAX_CHANNELS = 8  # sshd's MaxSessions is 10; one is for an operator
POLL_S = 0.005
DRAIN_S = 1.0


class SshError(OperationError):
    """The machine could not be asked."""


class Unreachable(SshError):
    """Nothing that speaks SSH answers there."""


class HostKeyRefused(SshError):
    """Something answers with a host key that is not the known one. `presented` is "ssh-ed25519 AAAA..."."""

    def __init__(self, message: str, *, presented: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.presented = presented


class LoginRefused(SshError):
    """The machine is the right one, and does not take our keys."""


@dataclass(frozen=True)
class Endpoint:
    """Where sshd answers and as whom to log in."""

    address: str
    port: int = 22
    user: str = "root"

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def fingerprint(public: str) -> str:
    """ "SHA256:..." of a public key line "ssh-ed25519 AAAA...", as ssh-keygen prints it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def is_pinned(public: str, pins: Sequence[str]) -> bool:
    """Whether a host key is one of `pins`: fingerprints or public key lines; comments do not count."""
    known = {pin if pin.startswith("SHA256:") else fingerprint(pin) for pin in pins}
    return fingerprint(public) in known


def ask_host_key(endpoint: Endpoint, *, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """The host key that answers there, as "ssh-ed25519 AAAA...". Logs in nowhere, trusts nothing."""
    transport = _open(endpoint, timeout_s)
    try:
        return _presented(transport)
    finally:
        transport.close()


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
                raise Unreachable(f"{shown}: the connection broke: {_reason(exc)}") from exc
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
                transport = _open(self.endpoint, CONNECT_TIMEOUT_S * self._patience)
                presented = _presented(transport)
                break
            except _DroppedEarly as exc:
                if wait_s is None:
                    raise Unreachable(f"{self.name}: {exc.message}", hint=exc.hint) from exc
                time.sleep(wait_s)
            except Unreachable as exc:
                raise Unreachable(f"{self.name}: {exc.message}", hint=exc.hint) from exc
        try:
            self._check_host_key(presented)
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
                raise Unreachable(f"{self.name}: {self.endpoint}: login broke off: {_reason(exc)}") from exc
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
                    raise Unreachable(f"{self.name}: {self.endpoint}: no session: {_reason(exc)}") from exc
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


class _DroppedEarly(Unreachable):
    """The connection stood, and ended before sshd said who it is."""


def _open(endpoint: Endpoint, timeout_s: float) -> paramiko.Transport:
    """A transport after key exchange, not logged in. That may take three times as long as a connection."""
    try:
        sock = socket.create_connection((endpoint.address, endpoint.port), timeout=timeout_s)
    except TimeoutError as exc:
        raise Unreachable(
            f"{endpoint}: no answer within {timeout_s:g} s", hint="is it switched on, and is it its address?"
        ) from exc
    except OSError as exc:
        raise Unreachable(
            f"{endpoint}: {exc.strerror or exc}", hint="is it switched on, and is it its address?"
        ) from exc
    try:
        transport = paramiko.Transport(sock)
        transport.daemon = True
        transport.banner_timeout = 3 * timeout_s
        transport.start_client(timeout=3 * timeout_s)
        transport.set_keepalive(15)
    except (paramiko.SSHException, EOFError, OSError) as exc:
        with suppress(OSError):
            sock.close()
        raise _DroppedEarly(f"{endpoint}: it does not speak SSH: {_reason(exc)}") from exc
    return transport


def _presented(transport: paramiko.Transport) -> str:
    try:
        key = transport.get_remote_server_key()
    except paramiko.SSHException as exc:  # it hung up between the key exchange and now
        raise _DroppedEarly(f"the connection ended before its host key could be read: {_reason(exc)}") from exc
    return f"{key.get_name()} {key.get_base64()}"


def _private_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as exc:
        raise SshError(f"{path}: no private key that can be used: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
