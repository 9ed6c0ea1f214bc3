"""Arguments and options that several commands share, and how they become a Cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from pgha_orch.cluster import Cluster
from pgha_orch.commands.display import show_warnings
from pgha_orch.inventory.load import LoadedInventory, load
from pgha_orch.state import StateDir, default_root

F = TypeVar("F", bound=Callable[..., object])

DEFAULT_IMAGE_DIR = Path("/var/cache/pgha/images")


def inventory_argument(function: F) -> F:
    """HOSTS_YML; whether it is there and right is the loader's to say, with its own words."""
    return click.argument("hosts_yml", type=click.Path(path_type=Path))(function)


def state_option(function: F) -> F:
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="PGHA_STATE_DIR",
        help="Secrets, keys and machines of this cluster. [default: .pgha/CLUSTER beside HOSTS_YML]",
    )(function)


def image_option(function: F) -> F:
    return click.option(
        "--image-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="PGHA_IMAGE_DIR",
        default=DEFAULT_IMAGE_DIR,
        show_default=True,
        help="Where built images are kept.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(function)


def open_cluster(hosts_yml: Path, state_dir: Path | None, *, quiet: bool = False) -> Cluster:
    """Load the inventory, show its warnings on standard error, and open the cluster's state."""
    loaded = load(hosts_yml)
    if not quiet:
        show_warnings(loaded.warnings)
    return Cluster.open(loaded, open_state(loaded, state_dir))


def open_state(loaded: LoadedInventory, state_dir: Path | None) -> StateDir:
    return StateDir.open(state_dir or default_root(loaded.path, loaded.inventory.cluster))
