"""Search the archived WAL itself, with pg_waldump on the host that reads the repository."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pgha_orch.backup.target import lsn_bytes
from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError

SEARCH_TIMEOUT_S = 3600.0
# Arguments: resource manager, pattern; standard input: paths in the repository. The last match of the first segment
# that has one. pg_waldump finds a file by its name, and complains when the segment after it is not there.
_SEARCH = r"""
set -eu
bin=$(systemctl show --property=Environment --value pgha-prove.service | tr ' ' '\n' | sed -n 's/^PGHA_BINDIR=//p')
[ -x "$bin/pg_waldump" ] || { echo "no pg_waldump in: $bin" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
while read -r path; do
  name=$(basename "$path" | cut -c1-24)
  pgbackrest --log-level-console=off --log-level-stderr=error repo-get "$path" > "$dir/$name" < /dev/null
  TZ=UTC "$bin/pg_waldump" --rmgr="$1" "$dir/$name" > "$dir/out" 2> /dev/null || true
  rm -f "$dir/$name"
  ! grep -E -- "$2" "$dir/out" | tail -n 1 | grep . || exit 0
done
"""


@dataclass(frozen=True)
class Commit:
    """A commit record: when, and where it begins."""

    at: datetime
    lsn: int


def last_commit(cluster: Cluster, paths: Sequence[str]) -> Commit | None:
    """The last commit in these segments, given newest first."""
    line = _search(cluster, paths, "Transaction", "desc: COMMIT")
    at = re.search(r"COMMIT\S* (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC", line)
    lsn = _lsn(line)
    return Commit(datetime.fromisoformat(at.group(1)).replace(tzinfo=UTC), lsn) if at and lsn is not None else None


def restore_point(cluster: Cluster, paths: Sequence[str], name: str) -> int | None:
    """LSN of the restore point of that name; None when these segments, given newest first, have none."""
    return _lsn(_search(cluster, paths, "XLOG", f"desc: RESTORE_POINT {re.escape(name)}$"))


def _lsn(line: str) -> int | None:
    found = re.search(r"lsn: ([0-9A-F]+/[0-9A-F]+)", line)
    return lsn_bytes(found.group(1)) if found else None


def _search(cluster: Cluster, paths: Sequence[str], manager: str, pattern: str) -> str:
    host = cluster.inventory.proof_host
    if host is None:
        raise OperationError("no host reads the repository")
    listed = "".join(f"{path}\n" for path in paths)
    done = cluster.machine(host).exec(
        ["sh", "-c", _SEARCH, "search", manager, pattern], input=listed, timeout_s=SEARCH_TIMEOUT_S
    )
    return done.stdout.strip()
