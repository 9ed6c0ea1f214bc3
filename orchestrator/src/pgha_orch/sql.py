"""The one door to PostgreSQL over the network: a connection with TLS verified, one mapping to errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        first = str(exc).strip().splitlines()
        raise SqlError(f"{where}: {first[0] if first else type(exc).__name__}", sqlstate=exc.sqlstate) from exc


def query(
    target: Target, statement: LiteralString, parameters: Sequence[object] = (), *, timeout_s: float
) -> list[tuple[object, ...]]:
    """Run one statement; its rows, or no rows for a statement that gives none."""
    with connect(target, timeout_s=timeout_s) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
