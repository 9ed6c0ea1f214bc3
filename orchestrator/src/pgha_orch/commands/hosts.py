"""bootstrap and trust: what hosts of `machines: ssh` need before their first deploy."""

from __future__ import annotations

from pathlib import Path

import click

from pgha_orch.commands.display import out
from pgha_orch.commands.options import inventory_argument, open_cluster, state_option
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.identity import bootstrap as archives
from pgha_orch.inventory.model import Driver
from pgha_orch.machines import drive
from pgha_orch.ssh import fingerprint

LABEL = "PGHA-BOOT"


@click.command()
@inventory_argument
@click.option(
    "--out", "directory", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to write."
)
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="A public key to let in beside the cluster's own."
)
@click.option("--dhcp", is_flag=True, help="Leave addresses and host keys to the machines: one file for all hosts.")
@state_option
def bootstrap(hosts_yml: Path, directory: Path, key: Path | None, dhcp: bool, state_dir: Path | None) -> None:
    """Write what hosts of `machines: ssh` are booted with, so that they wait for their identity.

    For each host DIR/HOST.tar, to hand over as systemd credential pgha.bootstrap, and DIR/HOST.img, the same as a
    drive to attach. They hold the bootstrap key, the host's address and its host key, so nothing need be confirmed.
    """
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    if cluster.inventory.machines is not Driver.SSH:
        raise UsageError(f"{hosts_yml}: machines: {cluster.inventory.machines} boots its machines itself")
    authorized = f"{cluster.pki.ssh_operator.public} bootstrap@{cluster.inventory.cluster}\n"
    if key is not None:
        authorized += _public_key(key)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if dhcp:
        _write(directory, "any", archives.archive(authorized))
        return
    for name in cluster.inventory.hosts:
        network = archives.network(cluster.inventory, name)
        _write(directory, name, archives.archive(authorized, network=network, host_key=cluster.pki.ssh_hosts[name]))


@click.command()
@inventory_argument
@state_option
def trust(hosts_yml: Path, state_dir: Path | None) -> None:
    """Confirm the host keys of machines that wait for their identity, once, each compared with its console."""
    fleet = open_cluster(hosts_yml, state_dir, quiet=True).fleet
    found = fleet.unconfirmed()
    for name, key in found.items():
        if not click.confirm(f"{name} answers with {fingerprint(key)}. Is that what its console shows?", err=True):
            raise OperationError(f"{name}: not confirmed", hint="find out who answers there before you go on")
        fleet.confirm(name, key)
    out.print(f"{len(found)} keys confirmed" if found else "every host's key is known")


def _write(directory: Path, name: str, content: bytes) -> None:
    archive = directory / f"{name}.tar"
    archive.touch(mode=0o600)
    archive.write_bytes(content)
    drive.write(directory / f"{name}.img", LABEL, "bootstrap.tar", content)
    out.print(f"{name}: {archive} (credential pgha.bootstrap), {directory / name}.img (drive {LABEL})")


def _public_key(path: Path) -> str:
    try:
        text = path.read_text().strip()
        fingerprint(text)
    except (OSError, ValueError, IndexError) as exc:
        raise UsageError(f"{path}: no public key (ssh-ed25519 AAAA...)", hint="name the .pub file") from exc
    return text + "\n"
