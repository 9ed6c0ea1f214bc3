"""What a machine that someone else boots carries before it has an identity (images/node/README.md)."""

from __future__ import annotations

import io
import tarfile

from pgha_orch.identity.template import render
from pgha_orch.inventory.model import Inventory
from pgha_orch.pki import SshKey


def archive(authorized: str, *, network: bytes | None = None, host_key: SshKey | None = None) -> bytes:
    """The bootstrap archive: who may log in ("ssh-ed25519 AAAA... comment", one a line), and what is optional."""
    members = {"authorized_keys": (authorized.strip() + "\n").encode()}
    if network is not None:
        members["network"] = network
    if host_key is not None:
        members["ssh_host_ed25519_key"] = host_key.private
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o600
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def network(inventory: Inventory, name: str) -> bytes:
    """The network file that the host will also have with its identity, with `ssh.address` when there is one."""
    host = inventory.hosts[name]
    address = host.ssh.address if host.ssh is not None and host.ssh.address is not None else host.address
    inside = address in inventory.network
    return render(
        "70-pgha.network.j2",
        name=name,
        address=f"{address}/{inventory.network.prefixlen}" if inside else str(address),
        gateway=inventory.gateway if inside else None,
        ipv6=address.version == 6,
    )
