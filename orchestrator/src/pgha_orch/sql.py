"""The one door to PostgreSQL over the network: a connection with TLS verified, one mapping to errors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from pgha_orch.errors import OperationError


class SqlError(OperationError):
    """PostgreSQL could not be asked, or refused. `sqlstate` is None when there was no connection."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True)
class Target:
    """Where to connect and as whom. The server is verified in full: its certificate must name `host`."""

    host: str
    port: int
    dbname: str
    user: str
    password: str
    ca: Path

    def __repr__(self) -> str:
        return f"Target({self.user}@{self.host}:{self.port}/{self.dbname})"


@contextmanager
def connect(target: Target, *, timeout_s: float) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection in autocommit mode; connecting and every statement end within `timeout_s` seconds.

    Raises SqlError for whatever psycopg raises inside the block too.
    """
    where = f"{target.user}@{target.host}:{target.port}/{target.dbname}"
    try:
        with psycopg.connect(
            host=target.host,
            port=target.port,
            dbname=target.dbname,
            user=target.user,
            password=target.password,
            sslmode="verify-full",
            sslrootcert=str(target.ca),
            connect_timeout=max(2, int(timeout_s)),
            tcp_user_timeout=int(timeout_s * 1000),
            options=f"-c statement_timeout={int(timeout_s * 1000)}",
            application_name="pgha-orch",
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.Error as exc:
        raise SqlError(f"{where}: {_first_line(exc)}", sqlstate=exc.sqlstate) from exc


def query(
    target: Target, statement: LiteralString, parameters: Sequence[object] = (), *, timeout_s: float
) -> list[tuple[object, ...]]:
    """Run one statement; its rows, or no rows for a statement that gives none."""
    with connect(target, timeout_s=timeout_s) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


class Session:
    """A connection that lives as long as a load client's, in autocommit mode, and may be broken from another thread."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))

    @classmethod
    def open(cls, target: Target, *, connect_timeout_s: int, application: str) -> Session:
        """Connect; SqlError (its sqlstate often None) when that fails. libpq counts at least 2 s."""
        try:
            connection = psycopg.connect(
                host=target.host,
                port=target.port,
                dbname=target.dbname,
                user=target.user,
                password=target.password,
                sslmode="verify-full",
                sslrootcert=str(target.ca),
                connect_timeout=connect_timeout_s,
                # A server that is gone is noticed within about 10 s even where nothing in between says so.
                tcp_user_timeout=10_000,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                application_name=application,
                autocommit=True,
            )
        except psycopg.Error as exc:
            raise SqlError(f"{target}: {_first_line(exc)}", sqlstate=exc.sqlstate) from exc
        return cls(connection)

    @property
    def lost(self) -> bool:
        """Whether the last error ended the connection."""
        return self._connection.closed

    def execute(self, statement: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one statement, however long it takes; SqlError when it fails."""
        try:
            cursor = self._connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as exc:
            raise SqlError(_first_line(exc), sqlstate=exc.sqlstate) from exc

    def abort(self) -> None:
        """Break the connection under a statement that waits; safe from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()
        self._connection.close()


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
