"""Inventories, secrets and keys with fixed values, for rendering in tests."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import SecretStr

from pgha_orch.identity import Identity, render
from pgha_orch.inventory.model import Inventory
from pgha_orch.pki import SERVICES, KeyPair, Pki, SshKey
from pgha_orch.secrets import S3Keys, Secrets

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

LAB = (EXAMPLES / "lab.yml").read_text()

# What lab.yml leaves out: IPv6, S3, time servers, a VIP, a gateway, operators, tags, quorum, explicit timings.
WIDE = """\
version: 1
cluster: wide
network: fd00:77::/64
gateway: fd00:77::1
machines: qemu
failover: {ttl: 40, loop_wait: 5, retry_timeout: 10, primary_start_timeout: 20, safety_margin: 5}
durability: quorum
clients: [fd00:77::/64, "fd00:88::/64", "fd00:77::1234/128"]
operators: [fd00:99::/64, 192.0.2.0/24]
ntp: [fd00:99::123, time.example.org]
postgresql:
  parameters: {shared_buffers: 512MB, wal_level: logical}
  users: [{name: app}]
  databases: [{name: app, owner: app}]
  hba: ["hostssl app app fd00:88::/64 scram-sha-256"]
  max_connections: 400
haproxy: {vip: fd00:77::30}
backup:
  repository:
    s3: {bucket: backups, endpoint: s3.example.org, region: eu-1}
    cipher: aes-256-cbc
  schedule: {full: "Sun *-*-* 02:00:00", differential: null, incremental: "*-*-* 04:00:00"}
hosts:
  etcd-1: {role: etcd, address: "fd00:77::11"}
  etcd-2: {role: etcd, address: "fd00:77::12"}
  etcd-3: {role: etcd, address: "fd00:77::13"}
  pg-1: {role: postgres, address: "fd00:77::21", tags: {failover_priority: 2, clonefrom: true}}
  pg-2: {role: postgres, address: "fd00:77::22", tags: {nofailover: true, noloadbalance: true, nosync: true}}
  proxy-1: {role: haproxy, address: "fd00:77::31"}
  proxy-2: {role: haproxy, address: "fd00:77::32"}
  backup: {role: backup, address: "fd00:77::40"}
"""

# No backups at all.
BARE = "\n".join(line for line in LAB.splitlines() if not line.strip().startswith("backup"))


def inventory(text: str) -> Inventory:
    """The inventory in `text`, without the checks between fields."""
    return Inventory.model_validate(yaml.safe_load(text))


def secrets(inv: Inventory) -> Secrets:
    """Passwords that say what they are."""

    def word(name: str) -> SecretStr:
        return SecretStr(f"test-password-of-{name}")

    s3 = S3Keys(access_key=word("s3-access"), secret_key=word("s3-secret"))
    return Secrets(
        superuser=word("superuser"),
        replicator=word("replicator"),
        rewind=word("rewind"),
        pgha=word("pgha"),
        stats=word("stats"),
        cipher=word("cipher"),
        users={user.name: word(f"user-{user.name}") for user in inv.postgresql.users},
        s3=s3 if inv.backup is not None and inv.backup.repository.s3 is not None else None,
    )


def pki(inv: Inventory) -> Pki:
    """Certificates and keys that only name themselves: goldens hold no key."""
    return Pki(
        ca=b"certificate of the CA\n",
        ca_path=Path("/state/pki/ca.crt"),
        operator=KeyPair(b"certificate of the operator\n", b"key of the operator\n"),
        operator_certificate_path=Path("/state/pki/operator.crt"),
        operator_key_path=Path("/state/pki/operator.key"),
        ssh_operator=SshKey(b"private SSH key of the operator\n", "ssh-ed25519 AAAA-operator"),
        ssh_operator_path=Path("/state/ssh/operator"),
        leaves={
            (name, service): KeyPair(
                f"certificate of {name} {service}\n".encode(), f"key of {name} {service}\n".encode()
            )
            for name, host in inv.hosts.items()
            for service in SERVICES[host.role]
        },
        ssh_hosts={
            name: SshKey(f"private SSH key of {name}\n".encode(), f"ssh-ed25519 AAAA-{name}") for name in inv.hosts
        },
    )


def rendered(text: str) -> dict[str, Identity]:
    """Every host's identity for an inventory's text."""
    inv = inventory(text)
    return render(inv, secrets(inv), pki(inv))


def text_of(identity: Identity, path: str) -> str:
    return identity.member(path).content.decode()
