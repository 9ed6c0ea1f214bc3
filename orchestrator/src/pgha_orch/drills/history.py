"""Timelines: a node's history file, and which WAL segments its ancestry needs (PostgreSQL docs, 25.3.6)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pgha_orch.drills.ledger import lsn

SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default, which this project keeps
_LINE = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)\s")


@dataclass(frozen=True)
class History:
    """A node's timeline and where its ancestors ended: (timeline, switch LSN) in order, oldest first."""

    timeline: int
    switches: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, timeline: int, text: str) -> History:
        """From the content of `pg_wal/<timeline>.history` (empty for timeline 1)."""
        found = [m for line in text.splitlines() if (m := _LINE.match(line))]
        return cls(timeline, tuple((int(m[1]), lsn(m[2])) for m in found))

    def holds(self, timeline: int, position: int) -> bool:
        """Whether WAL at `position` of `timeline` lies on this ancestry."""
        if timeline == self.timeline:
            return True
        return any(t == timeline and position <= end for t, end in self.switches)

    def agrees(self, other: History) -> bool:
        """Whether one of the two is an ancestor of, or equal to, the other."""
        older, newer = sorted((self, other), key=lambda h: h.timeline)
        if older.timeline == newer.timeline:
            return older.switches == newer.switches
        steps = dict(newer.switches)
        return older.timeline in steps and newer.switches[: len(older.switches)] == older.switches


def segment_name(timeline: int, number: int) -> str:
    """Name of WAL segment `number` (position // segment size)."""
    per_file = 0x1_0000_0000 // SEGMENT_BYTES
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def needed_segments(history: History, since: int, until: int) -> list[str]:
    """Segments that recovery along this ancestry reads from LSN `since` to LSN `until`, whole ones only.

    The segment in which a timeline ends is taken from the next one, which begins with its content.
    """
    names: list[str] = []
    spans = [*history.switches, (history.timeline, until)]
    begin = 0
    for timeline, end in spans:
        first, last = max(begin, since) // SEGMENT_BYTES, end // SEGMENT_BYTES
        names += [segment_name(timeline, n) for n in range(first, last)]
        begin = max(begin, end)
    return names


def missing(needed: Sequence[str], archived: Collection[str]) -> list[str]:
    """Of the needed segments, those that the archive has not."""
    have = set(archived)
    return [name for name in needed if name not in have]
