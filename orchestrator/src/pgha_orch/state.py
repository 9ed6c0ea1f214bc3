"""The state directory of one cluster: secrets, keys, what a deploy must remember. Never in the repository.

Directories are 0700 and files 0600. Every write is atomic and durable (temporary file, fsync, rename, fsync
of the directory), so a run that is killed at any moment leaves the old content or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgha_orch.errors import OperationError, UsageError

log = logging.getLogger(__name__)

_ID_FILE = "cluster-id"


def default_root(inventory_file: Path, cluster: str) -> Path:
    """Where a cluster's state is unless `--state-dir` or PGHA_STATE_DIR says otherwise."""
    return inventory_file.resolve().parent / ".pgha" / cluster


@dataclass(frozen=True)
class StateDir:
    """One cluster's state directory. Make one with `StateDir.open`."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> StateDir:
        """Create the directory when it is missing, and check it.

        Modes that let others in are tightened, and a warning says so. Raises UsageError when something else
        is in its place, when it belongs to someone else, or when nothing can be written there.
        """
        state = cls(root.absolute())
        try:
            state.root.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _os_error(state.root.parent, exc) from exc
        state._ensure_dir(state.root)
        if not os.access(state.root, os.W_OK | os.X_OK):
            raise UsageError(f"{state.root}: not writable", hint="choose another place with --state-dir")
        return state

    def path(self, name: str) -> Path:
        """Path of the file `name` ("pki/ca.crt"), which need not exist."""
        return self.root / name

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None when there is none. A mode that lets others in is tightened."""
        path = self.path(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _os_error(path, exc) from exc
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise UsageError(f"{path}: not a file", hint="move it out of the way")
            _check_owner(path, info)
            if info.st_mode & 0o077:
                os.fchmod(fd, 0o600)
                log.warning("%s was open to others (mode %03o); it is 600 now", path, info.st_mode & 0o777)
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read()
        except OSError as exc:
            raise _os_error(path, exc) from exc
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> Path:
        """Replace a file's content in one step; return its path. Parent directories are made."""
        path = self.path(name)
        for parent in reversed(path.relative_to(self.root).parents):
            self._ensure_dir(self.root / parent)
        if path.is_dir():
            raise UsageError(f"{path}: a directory, where a file should be", hint="move it out of the way")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _fsync_dir(path.parent)
        except OSError as exc:
            raise _os_error(path, exc) from exc
        return path

    def delete(self, name: str) -> None:
        """Remove a file; none is fine."""
        try:
            self.path(name).unlink(missing_ok=True)
            _fsync_dir(self.path(name).parent)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise _os_error(self.path(name), exc) from exc

    def cluster_id(self) -> str:
        """8 hex digits, random, made once.

        Bridges' and machines' names derive from it, so that two clusters of one name on one host stay apart.
        """
        found = self.read(_ID_FILE)
        if found is None:
            with self.lock("state", wait_s=30):
                found = self.read(_ID_FILE)
                if found is None:
                    found = secrets.token_hex(4).encode() + b"\n"
                    self.write(_ID_FILE, found)
        text = found.decode(errors="replace").strip()
        if len(text) != 8 or not set(text) <= set("0123456789abcdef"):
            raise UsageError(
                f"{self.path(_ID_FILE)}: {text[:20]!r} is not 8 hex digits",
                hint="restore the state directory from a copy; the running machines' names derive from it",
            )
        return text

    @contextlib.contextmanager
    def lock(self, name: str, *, wait_s: float = 0) -> Iterator[None]:
        """Hold the lock `name` (flock, so it ends with its process, however that ends).

        Raises OperationError, with the holder's process id, when another has it after `wait_s` seconds.
        """
        path = self.path(f"{name}.lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise _os_error(path, exc) from exc
        try:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                        raise OperationError(
                            f"{path}: held by process {holder}, another pgha-orch on this cluster",
                            hint="wait for it to end, then run this again",
                        ) from None
                    time.sleep(0.05)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def _ensure_dir(self, path: Path) -> None:
        """Make `path` a directory that only its owner can enter."""
        try:
            path.mkdir(mode=0o700)
            path.chmod(0o700)
            _fsync_dir(path.parent)
            return
        except FileExistsError:
            pass
        except OSError as exc:
            raise _os_error(path, exc) from exc
        try:
            info = path.stat()
        except OSError as exc:
            raise _os_error(path, exc) from exc
        if not stat.S_ISDIR(info.st_mode):
            raise UsageError(
                f"{path}: a file, where the state directory should be",
                hint="move it away, or choose another place with --state-dir",
            )
        _check_owner(path, info)
        if info.st_mode & 0o077:
            try:
                path.chmod(0o700)
            except OSError as exc:
                raise _os_error(path, exc) from exc
            log.warning("%s was open to others (mode %03o); it is 700 now", path, info.st_mode & 0o777)


def _check_owner(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.geteuid():
        raise UsageError(
            f"{path}: belongs to user id {info.st_uid}, this is user id {os.geteuid()}",
            hint=f"run pgha-orch as its owner, or: chown -R {os.geteuid()} {path}",
        )


def _fsync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _os_error(path: Path, exc: OSError) -> UsageError:
    hint = "choose another place with --state-dir or PGHA_STATE_DIR"
    match exc.errno:
        case errno.EROFS:
            what = "the file system is read-only"
        case errno.EACCES | errno.EPERM:
            what, hint = "no permission", "run as its owner, or choose another place with --state-dir"
        case errno.ENOTDIR | errno.EEXIST:
            what = "a file, where a directory should be"
        case errno.ENOSPC | errno.EDQUOT:
            what, hint = "no space left", "make room, then run this again"
        case errno.ELOOP:
            what, hint = "a symbolic link, where a file should be", "replace it by the file itself"
        case _:
            what = exc.strerror or str(exc)
    return UsageError(f"{path}: {what}", hint=hint)
