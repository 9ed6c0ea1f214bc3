"""The package layer of a Debian image: what mmdebstrap makes of a role's package lists.

It is kept apart in the store (`base/ROLE-INPUTS/`), because it takes nearly all of a build's time and changes
rarely: an edited unit costs a copy of it, not another bootstrap.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path

from pgha_orch import process
from pgha_orch.image import store

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Any fixed time will do: files get it instead of the time of the build. This is 2025-01-01.
SOURCE_DATE_EPOCH = "1735689600"
TIMEOUT_S = 1800


def environment() -> dict[str, str]:
    """What of this host's environment may reach a build: a proxy and a CA, no language, nothing else."""
    passed: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name.startswith("SSL_")
    }
    return {
        **passed,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
    }


def lines(path: Path) -> list[str]:
    """Lines of a list file, without comments and blank ones."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def make(role: str, debian: Path, sysusers: Path, image_dir: Path, *, refresh: bool) -> Path:
    """The root directory of the package layer, from the store or made now; only to be copied from.

    `debian` is images/debian, `sysusers` the payload's users, which have to be there before the packages are.
    With `refresh` it is made anew, from today's packages. Older layers of the role are deleted.
    """
    inputs = [debian / "packages" / "common", debian / "packages" / role, debian / "dpkg.cfg", debian / "users-hook"]
    digest = hashlib.sha256(f"{SUITE} {platform.machine()} {SOURCE_DATE_EPOCH}\n".encode())
    for path in (*inputs, sysusers, Path(__file__)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    final = image_dir / "base" / f"{role}-{digest.hexdigest()[: store.KEY_LENGTH]}"
    if refresh or not final.exists():
        with store.staging(image_dir, "base") as staged:
            _bootstrap(role, staged / "root", debian, sysusers, image_dir / "debs")
            for old in final.parent.glob(f"{role}-*"):
                store.discard(old)
            staged.chmod(0o755)
            staged.rename(final)
    return final / "root"


def _bootstrap(role: str, root: Path, debian: Path, sysusers: Path, debs: Path) -> None:
    """Make a Debian system with the role's packages. The downloaded packages are kept in `debs`, hard-linked."""
    debs.mkdir(exist_ok=True)
    archives = '"$1/var/cache/apt/archives"'
    kept = shlex.quote(str(debs))
    packages = [*lines(debian / "packages" / "common"), *lines(debian / "packages" / role)]
    prepare = (
        f'mkdir -p {archives}/partial "$1/etc/dpkg/dpkg.cfg.d"'
        f' && cp {shlex.quote(str(debian / "dpkg.cfg"))} "$1/etc/dpkg/dpkg.cfg.d/pgha"'
        f" && find {kept} -name '*.deb' -exec cp -l -t {archives} {{}} +"
    )
    users = f'{shlex.quote(str(debian / "users-hook"))} "$1" {shlex.quote(str(sysusers))}'
    process.run(
        [
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--variant=essential",  # no apt in the image: nobody installs anything there
            "--skip=download/empty",  # what `prepare` put there is wanted
            "--skip=essential/unlink",
            '--aptopt=Apt::Install-Recommends "false"',
            f"--keyring={KEYRING}",
            f"--include={','.join(packages)}",
            f"--setup-hook={prepare}",
            f"--essential-hook={users}",
            f"--customize-hook=cp -ln {archives}/*.deb {kept}/",
            SUITE,
            root,
        ],
        env=environment(),
        timeout_s=TIMEOUT_S,
    )
