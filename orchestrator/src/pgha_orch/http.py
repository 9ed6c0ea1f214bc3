"""The one door to HTTP: REST with the cluster's CA and a client certificate, one mapping to errors."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx

from pgha_orch.errors import OperationError


class HttpError(OperationError):
    """The server could not be asked: no connection, no TLS, no answer in time."""


@dataclass(frozen=True)
class ClientTls:
    """CA to verify servers with, and optionally a client certificate and its key (PEM files)."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@lru_cache(maxsize=16)
def _context(tls: ClientTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None and tls.key is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def request(
    method: str,
    url: str,
    *,
    tls: ClientTls,
    timeout_s: float,
    json: Mapping[str, object] | None = None,
    auth: tuple[str, str] | None = None,
) -> Reply:
    """Send one request on a connection of its own; never through a proxy, never following a redirect.

    Raises HttpError when no answer came within `timeout_s` seconds; any status is a Reply.
    """
    try:
        with httpx.Client(verify=_context(tls), timeout=timeout_s, trust_env=False) as client:
            reply = client.request(method, url, json=json, auth=auth)
    except (httpx.HTTPError, OSError) as exc:
        raise HttpError(f"{method} {url}: {_reason(exc, timeout_s)}") from exc
    return Reply(reply.status_code, reply.content)


def _reason(exc: Exception, timeout_s: float) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return f"no answer within {timeout_s:g} s"
    return str(exc) or type(exc).__name__
