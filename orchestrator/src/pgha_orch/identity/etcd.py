"""etcd's configuration file and keys."""

from __future__ import annotations

from pgha_orch.identity import ports
from pgha_orch.identity.archive import Member
from pgha_orch.identity.site import Site, bracketed
from pgha_orch.identity.template import render
from pgha_orch.inventory.model import Role


def members(site: Site) -> list[Member]:
    """Members of role etcd."""
    peers = {
        name: f"https://{bracketed(host.address)}:{ports.ETCD_PEER}"
        for name, host in site.inventory.of_role(Role.ETCD).items()
    }
    config = render(
        "etcd.yml.j2",
        name=site.name,
        token=site.inventory.cluster,
        peer_url=peers[site.name],
        client_url=f"https://{bracketed(site.address)}:{ports.ETCD_CLIENT}",
        local_url=f"https://127.0.0.1:{ports.ETCD_CLIENT}",
        cluster=",".join(f"{name}={url}" for name, url in peers.items()),
        data_dir=f"{ports.STATE}/etcd",
        run=f"{ports.RUN}/etcd",
        ca=ports.CA,
    )
    files = [_member("etcd.yml", config)]
    for service in ("server", "peer", "client"):
        pair = site.pki.leaf(site.name, service)
        files += [_member(f"{service}.crt", pair.certificate), _member(f"{service}.key", pair.key)]
    return files


def _member(name: str, content: bytes) -> Member:
    return Member(f"etcd/{name}", content, "etcd", "etcd", 0o600)
