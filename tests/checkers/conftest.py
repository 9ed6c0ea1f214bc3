"""Identities with real keys, and the role images' roots to try them in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "orchestrator" / "tests"))

from identities import LAB, WIDE, inventory  # noqa: E402
from rooms import Net, Room  # noqa: E402

from pgha_orch import pki, secrets  # noqa: E402
from pgha_orch.identity import Identity, render  # noqa: E402
from pgha_orch.image import build  # noqa: E402
from pgha_orch.image.store import default_image_dir  # noqa: E402
from pgha_orch.state import StateDir  # noqa: E402

S3 = {"PGHA_S3_ACCESS_KEY": "test-access", "PGHA_S3_SECRET_KEY": "test-secret"}


@pytest.fixture(scope="session", params=["lab", "wide"])
def identities(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """Every host's identity: of lab.yml, and of one with IPv6, S3, time servers and a VIP."""
    inv = inventory({"lab": LAB, "wide": WIDE}[request.param])
    state = StateDir.open(tmp_path_factory.mktemp("state") / "s")
    return render(inv, secrets.ensure(state, inv, environ=S3), pki.ensure(state, inv))


@pytest.fixture
def net() -> Iterator[Net]:
    """A network namespace with nothing but its own loopback."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces")
    with Net.open() as opened:
        yield opened


@pytest.fixture
def room(net: Net, tmp_path: Path) -> Callable[[Identity], Room]:
    """This checkout's image of the identity's role, as a room where its programs run with the identity in place."""

    def make(identity: Identity) -> Room:
        [image] = build([identity.role], image_dir=default_image_dir())
        archive = tmp_path / f"{identity.host}.tar"
        archive.write_bytes(identity.archive())
        return Room(net, image.root, archive)

    return make
