"""The ledger: every write that was attempted, what became of it, and every session that broke."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

PROXY = "proxy"  # the path through HAProxy; any other path is the name of a node
CANNOT_CONNECT = "08001"  # no SQLSTATE comes with a connection that is not made or breaks, so these stand for it
CONNECTION_LOST = "08006"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One INSERT. Times are seconds of time.monotonic(); `ended_s` None: its fate is not known.

    `lsn` is the insert position just before the COMMIT, `timeline` the one that the server wrote on, `node` the
    server that acknowledged, by its own address. `sqlstate` says why it was not acknowledged.
    """

    id: int
    client: str
    path: str
    token: str
    sent_s: float
    sent_at: datetime
    ended_s: float | None = None
    acked: bool = False
    node: str | None = None
    timeline: int | None = None
    lsn: int | None = None
    sqlstate: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One SELECT through the read-only port."""

    client: str
    sent_s: float
    ended_s: float
    node: str | None = None
    sqlstate: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A session that was open and broke."""

    at_s: float
    client: str
    path: str
    sqlstate: str


@dataclass(frozen=True)
class Book:
    """A ledger that is closed: what the invariants are checked on."""

    attempts: tuple[Attempt, ...]
    reads: tuple[Read, ...] = ()
    lost: tuple[Lost, ...] = ()
    refused: tuple[Lost, ...] = ()  # connections that could not be made

    @property
    def acked(self) -> list[Attempt]:
        """Acknowledged attempts in the order of their acknowledgements."""
        return sorted((a for a in self.attempts if a.acked), key=lambda a: a.ended_s or 0.0)

    @property
    def proxied(self) -> list[Attempt]:
        """Those of `acked` that went through HAProxy."""
        return [a for a in self.acked if a.path == PROXY]


@dataclass(frozen=True)
class Pulse:
    """What the ledger says now, for a live line. `silent_s`: since the last acknowledged write through HAProxy."""

    leader: str
    writes_per_s: float
    silent_s: float
    acked: int
    errors: int


class Ledger:
    """Filled by many threads. An attempt is entered before it is sent, so no row can appear that is not in here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._open: dict[int, Attempt] = {}
        self._done: list[Attempt] = []
        self._reads: list[Read] = []
        self._lost: list[Lost] = []
        self._refused: list[Lost] = []
        self._recent: deque[float] = deque(maxlen=4096)
        self._last: Attempt | None = None
        self._errors = 0

    def begin(self, client: str, path: str, token: str) -> Attempt:
        with self._lock:
            self._next += 1
            attempt = Attempt(self._next, client, path, token, time.monotonic(), datetime.now(UTC))
            self._open[attempt.id] = attempt
            return attempt

    def acknowledged(self, attempt: Attempt, *, node: str, timeline: int, lsn: int) -> None:
        now = time.monotonic()
        done = replace(attempt, ended_s=now, acked=True, node=node, timeline=timeline, lsn=lsn)
        with self._lock:
            self._close(done)
            if done.path == PROXY:
                self._recent.append(now)
                self._last = done

    def failed(self, attempt: Attempt, sqlstate: str) -> None:
        with self._lock:
            self._close(replace(attempt, ended_s=time.monotonic(), sqlstate=sqlstate))
            self._errors += attempt.path == PROXY

    def read(self, read: Read) -> None:
        with self._lock:
            self._reads.append(read)

    def session_lost(self, client: str, path: str, sqlstate: str) -> None:
        with self._lock:
            self._lost.append(Lost(time.monotonic(), client, path, sqlstate))

    def connection_refused(self, client: str, path: str, sqlstate: str) -> None:
        with self._lock:
            self._refused.append(Lost(time.monotonic(), client, path, sqlstate))

    def pulse(self) -> Pulse:
        now = time.monotonic()
        with self._lock:
            recent = sum(1 for at in self._recent if now - at <= 1.0)
            last = self._last
            silent = now - last.ended_s if last and last.ended_s else 0.0
            return Pulse(last.node or "?" if last else "?", recent, silent, len(self._done), self._errors)

    def timeline(self) -> int | None:
        """The newest timeline on which a write through HAProxy was acknowledged."""
        with self._lock:
            return self._last.timeline if self._last else None

    def close(self) -> Book:
        """All that happened; what is still open counts as attempted, its fate unknown."""
        with self._lock:
            attempts = sorted([*self._done, *self._open.values()], key=lambda a: a.id)
            return Book(tuple(attempts), tuple(self._reads), tuple(self._lost), tuple(self._refused))

    def _close(self, done: Attempt) -> None:
        self._open.pop(done.id, None)
        self._done.append(done)


def sqlstates(book: Book) -> dict[str, int]:
    """Errors that clients through HAProxy saw, by SQLSTATE (I8)."""
    found = Counter(a.sqlstate for a in book.attempts if a.path == PROXY and a.sqlstate)
    found.update(r.sqlstate for r in book.refused if r.path == PROXY)
    return dict(sorted((state, count) for state, count in found.items() if state))


def lsn(text: str) -> int:
    """A pg_lsn ("0/3000148") as a byte position."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Gap:
    """A time in which no write through HAProxy was acknowledged. Seconds of time.monotonic()."""

    begun_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.begun_s


def longest_gap(acked: Sequence[Attempt], *, since_s: float, until_s: float) -> Gap:
    """The longest time between acknowledgements that reaches into [since_s, until_s]."""
    marks = [a.ended_s for a in acked if a.ended_s is not None and a.ended_s <= until_s]
    edges = [since_s, *marks, until_s] if not marks or marks[0] > since_s else [*marks, until_s]
    gaps = [Gap(a, b) for a, b in itertools.pairwise(edges) if b >= since_s]
    return max(gaps, key=lambda g: g.seconds, default=Gap(since_s, until_s))


def recovery_time(acked: Sequence[Attempt], *, since_s: float) -> float | None:
    """RTO: from the last acknowledged row on a timeline to the first on the next, after `since_s`, in seconds.

    None when the timeline stayed; the longest when it changed more than once.
    """
    found = [
        (b.ended_s or 0.0) - (a.ended_s or 0.0)
        for a, b in itertools.pairwise(acked)
        if (b.ended_s or 0.0) >= since_s and a.timeline is not None and b.timeline is not None
        if b.timeline > a.timeline
    ]
    return max(found, default=None)
