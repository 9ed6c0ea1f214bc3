"""The one door to SSH: host keys that are known beforehand, a deadline for everything, one mapping to errors.

A command that was sent is never sent twice.
"""

from pgha_orch.ssh.connection import Connection
from pgha_orch.ssh.endpoint import (
    Endpoint,
    HostKeyRefused,
    LoginRefused,
    SshError,
    Unreachable,
    ask_host_key,
    fingerprint,
    is_pinned,
)

__all__ = [
    "Connection",
    "Endpoint",
    "HostKeyRefused",
    "LoginRefused",
    "SshError",
    "Unreachable",
    "ask_host_key",
    "fingerprint",
    "is_pinned",
]
