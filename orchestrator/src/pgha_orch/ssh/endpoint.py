"""Where sshd answers, who it says it is, and what can go wrong with that."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import paramiko

from pgha_orch.errors import OperationError

CONNECT_TIMEOUT_S = 5.0


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
    transport = open_transport(endpoint, timeout_s)
    try:
        return presented(transport)
    finally:
        transport.close()


class DroppedEarly(Unreachable):
    """The connection stood, and ended before sshd said who it is."""


def open_transport(endpoint: Endpoint, timeout_s: float) -> paramiko.Transport:
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
        raise DroppedEarly(f"{endpoint}: it does not speak SSH: {reason(exc)}") from exc
    return transport


def presented(transport: paramiko.Transport) -> str:
    try:
        key = transport.get_remote_server_key()
    except paramiko.SSHException as exc:  # it hung up between the key exchange and now
        raise DroppedEarly(f"the connection ended before its host key could be read: {reason(exc)}") from exc
    return f"{key.get_name()} {key.get_base64()}"


def reason(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
