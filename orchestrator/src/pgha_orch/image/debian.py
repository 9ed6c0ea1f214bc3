"""Builds role images from Debian packages, the payload in images/node and the lists in images/debian.

`image.base` makes the root, `images/node/install` puts the payload in, `images/debian/finish` takes away what is
no image's. An image is rebuilt when something that goes in changed, or on request (`refresh`), which is also
how newer packages get in: their versions are not part of the input hash.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pgha_orch import process
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import base, manifest, store
from pgha_orch.image.manifest import ROLES, Manifest
from pgha_orch.image.store import Image
from pgha_orch.progress import Reporter, Silent, step

BUILDER = "debian"

# image.json's components: name there -> Debian package. Patroni is not Debian's.
COMPONENTS = {
    "chrony": "chrony",
    "etcd": "etcd-server",
    "haproxy": "haproxy",
    "nftables": "nftables",
    "openssh": "openssh-server",
    "pgbackrest": "pgbackrest",
    "postgresql": "postgresql-17",
    "python": "python3",
    "systemd": "systemd",
}


def images_source() -> Path:
    """The `images/` folder: `PGHA_IMAGES_SOURCE`, or the one of the checkout that this code is in."""
    source = os.environ.get("PGHA_IMAGES_SOURCE")
    path = Path(source) if source else Path(__file__).resolve().parents[4] / "images"
    if not (path / "node" / "install").is_file():
        raise OperationError(f"{path}: is no images folder", hint="set PGHA_IMAGES_SOURCE to the checkout's images/")
    return path


def input_hash(role: str) -> str:
    """Hash of all that goes into an image of this role: payload, lists, this code, suite, architecture."""
    source = images_source()
    digest = hashlib.sha256(f"{role} {base.SUITE} {platform.machine()} {base.SOURCE_DATE_EPOCH}\n".encode())
    folders = [source / "node" / "all", source / "node" / role, source / "debian"]
    folders += [source / "patroni"] if role == "postgres" else []
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix != ".md"]
    for path in [*files, source / "node" / "install", Path(__file__), Path(base.__file__), Path(manifest.__file__)]:
        if path.is_file():
            name = path.relative_to(source) if path.is_relative_to(source) else path.name
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name} {os.access(path, os.X_OK)} {content}\n".encode())
    return digest.hexdigest()


def build(
    roles: Sequence[str], *, image_dir: Path, refresh: bool = False, reporter: Reporter | None = None
) -> list[Image]:
    """Build the images of these roles that are not there yet, two at a time; return all, in order.

    Raises UsageError for an unknown role or without root, OperationError when a step fails (its last output is
    in the message).
    """
    told = reporter or Silent()
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise UsageError(f"no such role: {', '.join(unknown)}", hint=f"roles are {', '.join(ROLES)}")
    keys = {role: input_hash(role) for role in roles}
    if not refresh:
        # Whole images only ever appear, so this needs no lock: nobody waits for a build that is not theirs.
        cached = {role: store.find(image_dir, role, BUILDER, keys[role]) for role in roles}
        if all(cached.values()):
            return [image for image in cached.values() if image]
    _check_host()
    with store.locked(image_dir):
        store.sweep(image_dir)
        missing = [role for role in keys if refresh or store.find(image_dir, role, BUILDER, keys[role]) is None]
        # The first alone when there are no packages yet: together they would download the common ones twice.
        if missing and not any((image_dir / "debs").glob("*.deb")):
            _build_one(first := missing.pop(0), image_dir, keys[first], told, refresh=refresh)
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda role: _build_one(role, image_dir, keys[role], told, refresh=refresh), missing))
    built = [store.find(image_dir, role, BUILDER, keys[role]) for role in roles]
    return [image for image in built if image]


def _build_one(role: str, image_dir: Path, key: str, reporter: Reporter, *, refresh: bool) -> None:
    with step(f"image {role}", reporter) as current, store.staging(image_dir, role) as staged:
        build_id = _make(role, staged, image_dir, key, refresh, current.saw)
        current.note = f"build {build_id[: store.BUILD_ID_LENGTH]}"


def _make(role: str, staged: Path, image_dir: Path, key: str, refresh: bool, saw: Callable[[str], None]) -> str:
    """Make the image in `staged` and publish it; return its build id."""
    source = images_source()
    root, payload = staged / "root", staged / "payload"
    values = base.lines(source / "debian" / "values")
    process.run([source / "node" / "install", role, payload, *values], timeout_s=60)
    saw("installing packages")
    users = payload / "lib/sysusers.d/pgha.conf"
    packages = base.make(role, source / "debian", users, image_dir, refresh=refresh)
    saw("finishing")
    process.run(["cp", "-a", "--reflink=auto", packages, root], timeout_s=base.TIMEOUT_S)
    process.run(["cp", "-a", f"{payload}/.", root / "usr"], timeout_s=60)
    shutil.rmtree(payload)
    (root / "etc/pgha").mkdir()
    (root / "etc/pgha/role").write_text(f"{role}\n")
    patroni = _install_patroni(root) if role == "postgres" else {}
    finish = (source / "debian" / "finish").read_text()
    process.run(["chroot", root, "/bin/bash", "-s"], input=finish, env=base.environment(), timeout_s=base.TIMEOUT_S)
    saw("hashing")
    tree = list(manifest.tree_lines(root))
    (staged / "tree.txt").write_text("".join(tree))
    described = Manifest(
        contract=manifest.CONTRACT,
        role=role,
        builder=BUILDER,
        build_id=manifest.build_id(tree),
        system=f"{platform.machine()}-linux",
        components=_components(root) | patroni,
    )
    if input_hash(role) != key:
        raise OperationError(f"{source}: changed while the image was built", hint="build again")
    (root / manifest.IN_IMAGE).write_text(described.to_json())
    return store.publish(staged, image_dir, described, key).build_id


def _install_patroni(root: Path) -> dict[str, str]:
    """Install what images/debian/patroni.txt pins by hash, with images/patroni's patches; return components."""
    requirements = images_source() / "debian" / "patroni.txt"
    target = root / "usr/lib/python3/dist-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--root-user-action=ignore"]
    process.run([*pip, "install", *options, "--target", target, "-r", requirements], timeout_s=base.TIMEOUT_S)
    shutil.rmtree(target / "bin", ignore_errors=True)  # launchers with this host's Python in them
    for patch in sorted((images_source() / "patroni").glob("*.patch")):
        process.run(
            ["patch", "--strip=1", "--fuzz=0", "--no-backup-if-mismatch", "--input", patch], cwd=target, timeout_s=60
        )
    pins = (line.split()[0].split("==") for line in base.lines(requirements))
    return {name: version for name, version in pins}


def _components(root: Path) -> dict[str, str]:
    """Upstream versions of what is installed, without Debian's epoch and revision."""
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--showformat=${Package} ${source:Upstream-Version}\\n"]
    listed = process.run([*query, "--show"], timeout_s=60).stdout
    versions = dict(line.split(" ", 1) for line in listed.splitlines())
    return {name: versions[package] for name, package in COMPONENTS.items() if package in versions}


def _check_host() -> None:
    if os.geteuid() != 0:
        raise UsageError("building an image needs root", hint="run it with sudo")
    if not base.KEYRING.is_file():
        raise OperationError(f"{base.KEYRING}: not found", hint="apt-get install debian-archive-keyring")
    for program in ("mmdebstrap", "patch", "systemd-sysusers"):
        if shutil.which(program) is None:
            raise OperationError(f"{program}: not found", hint=f"apt-get install {program} (make lab does)")
