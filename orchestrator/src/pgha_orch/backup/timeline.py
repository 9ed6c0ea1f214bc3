"""Timelines in the archive: which there are, and which backup leads onto which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgha_orch.backup.target import lsn_bytes
from pgha_orch.cluster import Cluster
from pgha_orch.deploy import backup as stage
from pgha_orch.health.backup import BackupSet

LIST_TIMEOUT_S = 120.0
_HISTORY = re.compile(r"([0-9A-F]{8})\.history(?:\.\w+)?")
_SEGMENT = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?")


@dataclass(frozen=True)
class Timelines:
    """`newest` is the highest in the archive; `ancestry` gives, for it, each ancestor and the LSN where it was left."""

    newest: int
    ancestry: Mapping[int, Mapping[int, int]]

    def reaches(self, backup: BackupSet, timeline: int) -> bool:
        """Whether recovery from this backup can get onto that timeline."""
        if backup.timeline == timeline:
            return True
        left = self.ancestry.get(timeline, {}).get(backup.timeline)
        return left is not None and lsn_bytes(backup.lsn_stop) <= left


def read(cluster: Cluster, archive_id: str, newest_wal: str | None) -> Timelines:
    """Ask the repository. `newest_wal` is a segment of the newest timeline, as `info` names it."""
    base = f"archive/{cluster.inventory.cluster}/{archive_id}"
    quiet = ("--log-level-console=off", "--log-level-stderr=error")
    listed = stage.command(cluster, *quiet, "repo-ls", base, timeout_s=LIST_TIMEOUT_S).stdout.split()
    histories = {int(found.group(1), 16): name for name in listed if (found := _HISTORY.fullmatch(name))}
    newest = max([*histories, int(newest_wal[:8], 16) if newest_wal else 1])
    ancestry = {
        timeline: parse_history(
            stage.command(cluster, *quiet, "repo-get", f"{base}/{name}", timeout_s=LIST_TIMEOUT_S).stdout
        )
        for timeline, name in histories.items()
    }
    return Timelines(newest, ancestry)


def parse_history(text: str) -> dict[int, int]:
    """A .history file: ancestor timeline to the LSN at which it was left (PostgreSQL docs, Timelines)."""
    found = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) >= 2 and fields[0].strip().isdigit():
            found[int(fields[0])] = lsn_bytes(fields[1].strip())
    return found


def segments(cluster: Cluster, archive_id: str, timeline: int) -> list[str]:
    """Paths in the repository of a timeline's WAL segments, oldest first."""
    base = f"archive/{cluster.inventory.cluster}/{archive_id}"
    listed = stage.command(
        cluster,
        "--log-level-console=off",
        "--log-level-stderr=error",
        "--recurse",
        f"--filter=^{timeline:08X}[0-9A-F]{{8}}/{timeline:08X}[0-9A-F]{{16}}-",
        "repo-ls",
        base,
        timeout_s=LIST_TIMEOUT_S,
    )
    found = (line.strip() for line in listed.stdout.splitlines())
    return sorted(f"{base}/{name}" for name in found if _SEGMENT.fullmatch(name.rpartition("/")[2]))
