"""The cluster's own CA, a key and certificate per host and service, and the SSH keys.

Made once, kept under `pki/` and `ssh/` of the state directory; everything rendered later is read from there.
A leaf is made anew when its names no longer match the inventory or it ends soon. The CA is never touched.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from pgha_orch.certificates import Authority, load_ec_key, make_authority, pem_key
from pgha_orch.errors import UsageError
from pgha_orch.inventory.model import Host, Inventory, Role
from pgha_orch.state import StateDir

T = TypeVar("T")

# Certificate and key in one file: a run killed at any moment leaves both or none.
_CA = "pki/ca.pem"

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, PEM. `repr` does not show the key."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"KeyPair({len(self.certificate)} bytes, key hidden)"


@dataclass(frozen=True)
class SshKey:
    """An ed25519 key: private in OpenSSH format, public as one line without a comment."""

    private: bytes
    public: str

    def __repr__(self) -> str:
        return f"SshKey({self.public})"


@dataclass(frozen=True)
class Pki:
    """Certificates and keys of one cluster."""

    ca: bytes  # PEM
    ca_path: Path
    operator: KeyPair
    operator_certificate_path: Path  # with ca_path, what httpx and etcd clients need on this machine
    operator_key_path: Path
    ssh_operator: SshKey
    ssh_operator_path: Path  # private key, as `ssh -i` takes it
    leaves: dict[tuple[str, str], KeyPair]  # by host and service
    ssh_hosts: dict[str, SshKey]  # by host

    def leaf(self, host: str, service: str) -> KeyPair:
        """Key and certificate of one service on one host; services as in SERVICES."""
        return self.leaves[host, service]


@dataclass(frozen=True)
class _Service:
    """What a leaf certificate is for."""

    usages: tuple[x509.ObjectIdentifier, ...]
    local: bool = False  # also serves localhost
    proxied: bool = False  # clients reach it through HAProxy, and verify it under HAProxy's names


# The gRPC gateway of etcd, which Patroni talks to, connects to its own server with the server's certificate:
# that one is a client certificate too.
SERVICES: dict[Role, dict[str, _Service]] = {
    Role.ETCD: {
        "server": _Service((_SERVER, _CLIENT), local=True),
        "peer": _Service((_SERVER, _CLIENT)),
        "client": _Service((_CLIENT,)),
    },
    Role.POSTGRES: {
        "rest": _Service((_SERVER, _CLIENT), local=True),
        "etcd-client": _Service((_CLIENT,)),
        "server": _Service((_SERVER,), local=True, proxied=True),
        "pgbackrest": _Service((_SERVER, _CLIENT)),
    },
    Role.HAPROXY: {"stats": _Service((_SERVER,), local=True)},
    Role.BACKUP: {"pgbackrest": _Service((_SERVER, _CLIENT))},
}


def ensure(state: StateDir, inventory: Inventory, *, now: dt.datetime | None = None) -> Pki:
    """The cluster's PKI: what is missing, misnamed or about to end is made, the rest is as it was.

    `now` is an aware time, for tests. Raises UsageError when a stored file is damaged.
    """
    moment = now or dt.datetime.now(dt.UTC)
    with state.lock("pki", wait_s=60):
        store = _Store(state, inventory.cluster, moment)
        leaves: dict[tuple[str, str], KeyPair] = {}
        for name, host in inventory.hosts.items():
            for service, purpose in SERVICES[host.role].items():
                names = _names(inventory, name, host, purpose)
                leaves[name, service] = store.leaf(f"pki/{name}/{service}", name, names, purpose.usages)
        operator = store.leaf("pki/operator", "operator", [x509.DNSName("operator")], (_CLIENT,))
        return Pki(
            ca=store.ca_pem,
            ca_path=state.path("pki/ca.crt"),
            operator=operator,
            operator_certificate_path=state.path("pki/operator.crt"),
            operator_key_path=state.path("pki/operator.key"),
            ssh_operator=store.ssh("ssh/operator"),
            ssh_operator_path=state.path("ssh/operator"),
            leaves=leaves,
            ssh_hosts={name: store.ssh(f"ssh/hosts/{name}") for name in inventory.hosts},
        )


def _names(inventory: Inventory, name: str, host: Host, service: _Service) -> list[x509.GeneralName]:
    """Everything a client may call this service, without repetition, in a fixed order."""
    dns, addresses = [name], [host.address]
    if service.proxied:
        for proxy, proxy_host in inventory.of_role(Role.HAPROXY).items():
            dns.append(proxy)
            addresses.append(proxy_host.address)
    if inventory.haproxy.vip is not None and (service.proxied or host.role is Role.HAPROXY):
        addresses.append(inventory.haproxy.vip)
    if service.local:
        dns.append("localhost")
        addresses += [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    return [*map(x509.DNSName, dict.fromkeys(dns)), *map(x509.IPAddress, dict.fromkeys(addresses))]


class _Store:
    """The key files of one cluster, read or made."""

    def __init__(self, state: StateDir, cluster: str, now: dt.datetime) -> None:
        self._state = state
        both = state.read(_CA) or self._make_ca(cluster, now)
        certificate = self._parse(_CA, both, x509.load_pem_x509_certificate)
        self._authority = Authority(certificate, self._parse(_CA, both, load_ec_key), now)
        self.ca_pem = certificate.public_bytes(serialization.Encoding.PEM)
        if state.read("pki/ca.crt") != self.ca_pem:
            state.write("pki/ca.crt", self.ca_pem)
        if self._authority.key.public_key() != certificate.public_key():
            raise UsageError(
                f"{state.path(_CA)}: key and certificate do not belong together",
                hint="restore it from a copy",
            )
        if certificate.not_valid_after_utc <= now:
            raise UsageError(
                f"{state.path(_CA)}: ended on {certificate.not_valid_after_utc:%Y-%m-%d}",
                hint="a CA is not replaced in place: deploy a new cluster and move the data",
            )

    def leaf(
        self, name: str, cn: str, names: list[x509.GeneralName], usages: tuple[x509.ObjectIdentifier, ...]
    ) -> KeyPair:
        """The pair at `<name>.crt` and `.key`, made when it is missing or no longer right."""
        certificate, key = self._state.read(f"{name}.crt"), self._state.read(f"{name}.key")
        if certificate is not None and key is not None:
            parsed = self._parse(f"{name}.crt", certificate, x509.load_pem_x509_certificate)
            private = self._parse(f"{name}.key", key, load_ec_key)
            if self._authority.still_right(parsed, private, names, usages):
                return KeyPair(certificate, key)
        private = ec.generate_private_key(ec.SECP256R1())
        made = KeyPair(self._authority.sign(cn, private.public_key(), names, usages), pem_key(private))
        # Key first: a run killed in between leaves two halves that do not match, which the next one replaces.
        self._state.write(f"{name}.key", made.key)
        self._state.write(f"{name}.crt", made.certificate)
        return made

    def ssh(self, name: str) -> SshKey:
        """The SSH key at `<name>` and `<name>.pub`."""
        private = self._state.read(name)
        if private is None:
            private = ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            self._state.write(name, private)
        key = self._parse(name, private, lambda data: serialization.load_ssh_private_key(data, None))
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        if self._state.read(f"{name}.pub") != public + b"\n":
            self._state.write(f"{name}.pub", public + b"\n")
        return SshKey(private, public.decode())

    def _make_ca(self, cluster: str, now: dt.datetime) -> bytes:
        both = make_authority(cluster, now)
        self._state.write(_CA, both)
        return both

    def _parse(self, name: str, data: bytes, load: Callable[[bytes], T]) -> T:
        try:
            return load(data)
        except (ValueError, TypeError) as exc:
            raise UsageError(
                f"{self._state.path(name)}: damaged ({type(exc).__name__})",
                hint="restore it from a copy; unless it is the CA's, deleting it and its pair makes new ones",
            ) from None
