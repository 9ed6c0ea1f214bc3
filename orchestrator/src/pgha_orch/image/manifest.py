"""image.json, which an image says about itself, and the build id, which is computed from its content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgha_orch.errors import OperationError

CONTRACT = 1
Role = Literal["etcd", "postgres", "haproxy", "backup"]
ROLES: tuple[str, ...] = get_args(Role)
IN_IMAGE = "etc/pgha/image.json"


class Manifest(BaseModel):
    """`/etc/pgha/image.json`, see images/node/README.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contract: Literal[1]
    role: Role
    builder: str = Field(pattern=r"^[a-z][a-z0-9]*$")
    build_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    system: str = Field(pattern=r"^[a-z0-9_]+-linux$")
    components: dict[str, str]

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def read(path: Path) -> Manifest:
    """Read an image.json. Raises OperationError when it is missing, no JSON, or of another contract."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise OperationError(f"{path}: {exc.strerror}", hint="build the image again") from exc
    return parse(content, str(path))


def parse(content: bytes, where: str) -> Manifest:
    """What an image.json at `where` says. Raises OperationError when it is no JSON or of another contract."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        shown = str(first["input"])[:80]
        raise OperationError(
            f"{where}: {field}: {first['msg']} (is {shown!r})", hint="build the image again with --refresh"
        ) from exc


def tree_lines(root: Path) -> Iterator[str]:
    """Describe a root directory, one line a file, sorted by path.

    Path, type, mode, owner and content (sha256 of a file, target of a link, number of a device); no times.
    image.json is left out, because it carries the hash of these lines.
    """
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if name == IN_IMAGE:
            continue
        info = path.lstat()
        yield (
            f"{name!a} {stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid}{_capability(path, info)} "
            f"{_content(path, info)}\n"
        )


def build_id(lines: Iterator[str] | list[str]) -> str:
    """The sha256 over `tree_lines`."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def _walk(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)


def _content(path: Path, info: os.stat_result) -> str:
    if stat.S_ISREG(info.st_mode):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISLNK(info.st_mode):
        return f"-> {str(path.readlink())!a}"
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        return f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    return "-"


def _capability(path: Path, info: os.stat_result) -> str:
    """A file capability is a privilege, so it is content."""
    if not stat.S_ISREG(info.st_mode) or "security.capability" not in os.listxattr(path):
        return ""
    return f" {os.getxattr(path, 'security.capability').hex()}"
