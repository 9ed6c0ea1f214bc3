"""The load: writers and readers through HAProxy, and a writer straight to every node, each a thread of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pgha_orch import sql
from pgha_orch.cluster import Cluster
from pgha_orch.drills.ledger import CANNOT_CONNECT, CONNECTION_LOST, PROXY, Ledger, Read, lsn
from pgha_orch.inventory.model import Role
from pgha_orch.sql import Session, SqlError, Target

APPLICATION = "pgha-drill"
CONNECT_TIMEOUT_S = 3
RETRY_S = 0.05  # between attempts to connect; with 8 clients a served connection is found within some 10 ms
DIRECT_RATE = 5.0  # writes per second straight to each node
READ_RATE = 10.0  # reads per second of each reader
READERS = 2
STOP_GRACE_S = 3.0

CREATE = (
    "CREATE TABLE IF NOT EXISTS drill_write (run text NOT NULL, id bigint NOT NULL, client text NOT NULL,"
    " token text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (run, id))"
)
INSERT = (
    "INSERT INTO drill_write (run, id, client, token) VALUES (%s, %s, %s, %s)"
    " RETURNING substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), pg_current_wal_insert_lsn()::text,"
    " host(inet_server_addr())"
)
SELECT = "SELECT host(inet_server_addr()), (SELECT max(id) FROM drill_write)"


@dataclass(frozen=True)
class Pace:
    """Writes per second through HAProxy, all clients together, and how many clients."""

    rate: float = 50.0
    clients: int = 8


@dataclass
class _Slot:
    """What a client's thread has open now, so that another thread can break it."""

    session: Session | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, session: Session | None) -> None:
        with self.lock:
            self.session = session

    def abort(self) -> None:
        with self.lock:
            if self.session is not None:
                self.session.abort()


Work = Callable[[str, str, Target, float, _Slot], None]


class Load:
    """The clients of one run, writing rows of `run` into the ledger and the database."""

    def __init__(self, cluster: Cluster, ledger: Ledger, run: str, pace: Pace) -> None:
        self._ledger, self._run = ledger, run
        self._stop = threading.Event()
        self._nodes = {str(a): name for name, a in cluster.addresses(Role.POSTGRES).items()}
        self._slots: list[_Slot] = []
        self._threads: list[threading.Thread] = []
        writer = cluster.proxy_target()
        for number in range(pace.clients):
            self._add(self._write, f"w{number + 1}", PROXY, writer, pace.clients / pace.rate)
        for name, address in cluster.addresses(Role.POSTGRES).items():
            target = replace(writer, host=str(address), port=5432)
            self._add(self._write, f"d-{name}", name, target, 1 / DIRECT_RATE)
        for number in range(READERS):
            self._add(self._read, f"r{number + 1}", PROXY, cluster.proxy_target(read_only=True), 1 / READ_RATE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the clients; at the end let what is in flight come back, then break it."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            deadline = time.monotonic() + STOP_GRACE_S
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            while any(thread.is_alive() for thread in self._threads):
                for slot in self._slots:
                    slot.abort()
                for thread in self._threads:
                    thread.join(0.2)

    def _add(self, work: Work, client: str, path: str, target: Target, every_s: float) -> None:
        slot = _Slot()
        self._slots.append(slot)
        name = f"drill-{client}"
        thread = threading.Thread(target=work, args=(client, path, target, every_s, slot), name=name, daemon=True)
        self._threads.append(thread)

    def _write(self, client: str, path: str, target: Target, every_s: float, slot: _Slot) -> None:
        for session in self._turns(client, path, target, every_s, slot):
            attempt = self._ledger.begin(client, path, secrets.token_hex(8))
            try:
                rows = session.execute(INSERT, [self._run, attempt.id, client, attempt.token])
            except SqlError as exc:
                state = exc.sqlstate or CONNECTION_LOST
                self._ledger.failed(attempt, state)
                if session.lost and not self._stop.is_set():
                    self._ledger.session_lost(client, path, state)
                continue
            timeline, position, address = rows[0]
            node = self._nodes.get(str(address), str(address))
            self._ledger.acknowledged(attempt, node=node, timeline=int(str(timeline), 16), lsn=lsn(str(position)))

    def _read(self, client: str, path: str, target: Target, every_s: float, slot: _Slot) -> None:
        for session in self._turns(client, f"{path}-ro", target, every_s, slot):
            sent = time.monotonic()
            try:
                rows = session.execute(SELECT)
            except SqlError as exc:
                state = exc.sqlstate or CONNECTION_LOST
                self._ledger.read(Read(client, sent, time.monotonic(), sqlstate=state))
                if session.lost and not self._stop.is_set():
                    self._ledger.session_lost(client, f"{path}-ro", state)
                continue
            self._ledger.read(Read(client, sent, time.monotonic(), self._nodes.get(str(rows[0][0]), str(rows[0][0]))))

    def _turns(self, client: str, path: str, target: Target, every_s: float, slot: _Slot) -> Iterator[Session]:
        """A connected session whenever it is this client's turn; what was missed in an outage is not made up for."""
        session: Session | None = None
        due = time.monotonic() + secrets.randbelow(1000) / 1000 * every_s
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                if session is not None and session.lost:
                    slot.put(None)
                    session.close()
                    session = None
                if session is None:
                    try:
                        session = Session.open(target, connect_timeout_s=CONNECT_TIMEOUT_S, application=APPLICATION)
                    except SqlError as exc:
                        if not self._stop.is_set():
                            self._ledger.connection_refused(client, path, exc.sqlstate or CANNOT_CONNECT)
                        due = time.monotonic() + RETRY_S
                        continue
                    slot.put(session)
                yield session
                # A broken session's client tries again at once, as a driver with a retry does.
                due = max(due + every_s, time.monotonic()) if not session.lost else time.monotonic() + RETRY_S
        finally:
            slot.put(None)
            if session is not None:
                session.close()


def prepare(cluster: Cluster) -> None:
    """The table that drills write to, in the orchestrator's own database; empty."""
    target = cluster.proxy_target()
    sql.query(target, CREATE, timeout_s=10)
    sql.query(target, "TRUNCATE drill_write", timeout_s=10)


def clean(cluster: Cluster) -> None:
    """Remove the table."""
    sql.query(cluster.proxy_target(), "DROP TABLE IF EXISTS drill_write", timeout_s=10)


def rows(cluster: Cluster, run: str) -> dict[int, str]:
    """The rows of a run as the leader has them, id to token."""
    found = sql.query(cluster.proxy_target(), "SELECT id, token FROM drill_write WHERE run = %s", [run], timeout_s=30)
    return {int(str(row[0])): str(row[1]) for row in found}
