"""What one host gets: members with owner and mode, as a tar that the image's loader unpacks as root."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pgha_orch.inventory.model import Role

# The image contract's fixed ids (images/node/README.md).
IDS = {"root": 0, "postgres": 960, "etcd": 961, "haproxy": 962, "pgbackrest": 963, "chrony": 964}


@dataclass(frozen=True)
class Member:
    """One file of an identity; `path` is relative to /run/pgha. `repr` does not show the content."""

    path: str
    content: bytes
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644

    def __repr__(self) -> str:
        return f"Member({self.path!r}, {self.owner}:{self.group}, {self.mode:04o}, {len(self.content)} bytes)"


@dataclass(frozen=True)
class Identity:
    """Everything that makes a machine this host. The same inputs give the same bytes.

    `members` is sorted by path, without SHA256SUMS, which `sums` derives from it.
    """

    host: str
    role: Role
    members: tuple[Member, ...]

    def member(self, path: str) -> Member:
        """The member at `path`; KeyError when there is none."""
        for member in self.members:
            if member.path == path:
                return member
        raise KeyError(path)

    @cached_property
    def sums(self) -> bytes:
        """Content of the member SHA256SUMS: every other member, in `sha256sum` format, sorted by path."""
        lines = (f"{hashlib.sha256(m.content).hexdigest()}  {m.path}\n" for m in self.members)
        return "".join(lines).encode()

    @cached_property
    def revision(self) -> str:
        """64 hex digits that name this content, and only this."""
        return hashlib.sha256(self.sums).hexdigest()

    def all_members(self) -> tuple[Member, ...]:
        """The members with SHA256SUMS, sorted by path."""
        return tuple(sorted((*self.members, Member("SHA256SUMS", self.sums)), key=lambda m: m.path))

    def archive(self) -> bytes:
        """The identity archive: a plain tar, owners by name and by the contract's ids."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member in self.all_members():
                info = tarfile.TarInfo(member.path)
                info.size = len(member.content)
                info.mode = member.mode
                info.uname, info.gname = member.owner, member.group
                info.uid, info.gid = IDS[member.owner], IDS[member.group]
                tar.addfile(info, io.BytesIO(member.content))
        return buffer.getvalue()

    def write_tree(self, directory: Path) -> None:
        """Write the members as files below `directory`, for reading and comparing: modes as in the archive,
        owned by whoever runs this. The directory must be empty or new."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for member in self.all_members():
            path = directory / member.path
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, member.mode)
                file.write(member.content)
