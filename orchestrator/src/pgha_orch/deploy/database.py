"""Users and databases of the inventory, made on the leader once one runs (Patroni 4 has no bootstrap.users)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence

from psycopg import sql

from pgha_orch.cluster import PROBE, Cluster
from pgha_orch.machines import Machine

PSQL_TIMEOUT_S = 60.0
SCRAM_ITERATIONS = 4096  # PostgreSQL's default, scram_iterations
OPTIONS = ("createdb", "createrole", "superuser", "replication", "bypassrls")


def ensure(cluster: Cluster, leader: Machine) -> list[str]:
    """Make or adjust what the inventory names; what was done, in words without secrets. Drops nothing."""
    return [
        *_users(cluster, leader),
        *_databases(cluster, leader),
    ]


def scram_verifier(password: str, *, salt: bytes | None = None, iterations: int = SCRAM_ITERATIONS) -> str:
    """The SCRAM-SHA-256 verifier that PostgreSQL stores (RFC 5803), so that no statement holds the password."""
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    b64 = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{b64[0]}${b64[1]}:{b64[2]}"


def verifier_fits(verifier: str, password: str) -> bool:
    """Whether a stored verifier is of this password."""
    try:
        _, head, _ = verifier.split("$")
        iterations, _, salt = head.partition(":")
        wanted = scram_verifier(password, salt=base64.b64decode(salt), iterations=int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(wanted, verifier)


def psql(leader: Machine, script: str, *, dbname: str = "postgres") -> list[list[str]]:
    """Run SQL as the superuser over the leader's own socket; rows of text. The script goes by stdin."""
    done = leader.exec(
        [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-XAtq",
            "-F",
            "\t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            dbname,
            "-f",
            "-",
        ],
        input=script,
        timeout_s=PSQL_TIMEOUT_S,
    )
    return [line.split("\t") for line in done.stdout.splitlines() if line]


def _users(cluster: Cluster, leader: Machine) -> list[str]:
    wanted = {PROBE: cluster.secrets.pgha.get_secret_value()}
    options: dict[str, Sequence[str]] = {PROBE: ()}
    members: dict[str, Sequence[str]] = {}
    for user in cluster.inventory.postgresql.users:
        wanted[user.name] = cluster.secrets.users[user.name].get_secret_value()
        options[user.name] = user.options
        members[user.name] = user.member_of
    columns = ", ".join(f"rol{o}" for o in ("createdb", "createrole", "super", "replication", "bypassrls"))
    rows = psql(
        leader,
        f"SELECT rolname, coalesce(rolpassword, ''), rolinherit, rolcanlogin, {columns} FROM pg_authid;",
    )
    found = {row[0]: row[1:] for row in rows}
    done, script = [], []
    for name, password in wanted.items():
        flags = [
            "f" if "noinherit" in options[name] else "t",
            "f" if "nologin" in options[name] else "t",
            *("t" if option in options[name] else "f" for option in OPTIONS),
        ]
        have = found.get(name)
        if have is not None and have[1:] == flags and verifier_fits(have[0], password):
            continue
        words = [
            ("INHERIT" if flags[0] == "t" else "NOINHERIT"),
            ("LOGIN" if flags[1] == "t" else "NOLOGIN"),
            *(
                option.upper() if flag == "t" else f"NO{option.upper()}"
                for option, flag in zip(OPTIONS, flags[2:], strict=True)
            ),
        ]
        verb = "CREATE" if have is None else "ALTER"
        statement = sql.SQL("{verb} ROLE {name} {words} PASSWORD {verifier};").format(
            verb=sql.SQL(verb),
            name=sql.Identifier(name),
            words=sql.SQL(" ".join(words)),
            verifier=sql.Literal(scram_verifier(password)),
        )
        script.append(statement.as_string())
        done.append(f"user {name} {'created' if have is None else 'altered'}")
    if script:
        psql(
            leader,
            "SET log_statement = 'none';\nSET log_min_error_statement = 'panic';\n" + "\n".join(script),
        )
    return done + _memberships(leader, members)


def _memberships(leader: Machine, wanted: dict[str, Sequence[str]]) -> list[str]:
    if not any(wanted.values()):
        return []
    rows = psql(
        leader,
        "SELECT m.rolname, g.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member"
        " JOIN pg_roles g ON g.oid = a.roleid;",
    )
    have = {(row[0], row[1]) for row in rows}
    missing = [(member, group) for member, groups in wanted.items() for group in groups if (member, group) not in have]
    for member, group in missing:
        grant = sql.SQL("GRANT {} TO {};").format(sql.Identifier(group), sql.Identifier(member))
        psql(leader, grant.as_string())
    return [f"user {member} added to {group}" for member, group in missing]


def _databases(cluster: Cluster, leader: Machine) -> list[str]:
    wanted = {PROBE: (PROBE, ())} | {
        db.name: (db.owner, db.extensions) for db in cluster.inventory.postgresql.databases
    }
    have = {
        row[0]: row[1]
        for row in psql(leader, "SELECT datname, r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = datdba;")
    }
    done = []
    for name, (owner, extensions) in wanted.items():
        ids = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
        if name not in have:
            psql(leader, sql.SQL("CREATE DATABASE {name} OWNER {owner};").format(**ids).as_string())
            done.append(f"database {name} created")
        elif have[name] != owner:
            psql(leader, sql.SQL("ALTER DATABASE {name} OWNER TO {owner};").format(**ids).as_string())
            done.append(f"database {name} now belongs to {owner}")
        if extensions:
            present = {row[0] for row in psql(leader, "SELECT extname FROM pg_extension;", dbname=name)}
            for extension in extensions:
                if extension not in present:
                    create = sql.SQL("CREATE EXTENSION {};").format(sql.Identifier(extension))
                    psql(leader, create.as_string(), dbname=name)
                    done.append(f"database {name}: extension {extension} created")
    return done
