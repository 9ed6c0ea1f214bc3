# What every scenario's script begins with. POSTGRES is the list of PostgreSQL machines.
import json
import re
import time
from collections.abc import Callable

Machine = type(POSTGRES[0]) if POSTGRES else object


def wait_for(what: str, check: Callable[[], object], timeout_s: float = 90) -> None:
    """Until `check` returns something true; says what it returned last when it does not."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        last = check()
        if last is True:
            return
        time.sleep(0.5)
    for machine in machines:
        journalctl = "journalctl -b --no-pager -o short-monotonic"
        _, journal = machine.execute(f"{journalctl} -n 15 -u 'pgha-*'; {journalctl} -n 20", timeout=10)
        print(f"--- {machine.name}\n{journal}")
    raise Exception(f"{what}: not within {timeout_s:.0f} s; last: {last}")


def operate(machine, command: str) -> str:
    """A command as an operator runs it: with the identity's environment."""
    return machine.succeed(f"set -a; . /run/pgha/environment; set +a; {command}")


def members() -> list[dict[str, object]]:
    """patronictl's view, from the first machine that answers; [] when none does."""
    for machine in POSTGRES:
        if not machine.booted if hasattr(machine, "booted") else machine.process is None:
            continue
        code, output = machine.execute(
            "set -a; . /run/pgha/environment; timeout 10 patronictl list -f json 2>/dev/null", timeout=15
        )
        if code == 0 and output.strip():
            return json.loads(output)
    return []


def of_role(role: str) -> list[str]:
    """Names of the running members in this role: Leader, Sync Standby, Replica."""
    return [str(m["Member"]) for m in members() if m["Role"] == role and m["State"] in ("running", "streaming")]


def leader_name() -> str:
    found = of_role("Leader")
    return found[0] if len(found) == 1 else ""


def timeline() -> int:
    return max((int(str(m["TL"])) for m in members() if str(m.get("TL", "")).isdigit()), default=0)


def machine_of(name: str):
    return next(m for m in POSTGRES if m.name.replace("_", "-") == name)


def settled(count: int) -> str | bool:
    """One leader, the others streaming, one of them a sync standby: True, or what is there."""
    found = members()
    leaders = [m for m in found if m["Role"] == "Leader" and m["State"] == "running"]
    streaming = [m for m in found if m["State"] == "streaming"]
    sync = [m for m in streaming if m["Role"] == "Sync Standby"]
    if len(leaders) == 1 and len(streaming) == count - 1 and sync:
        return True
    return ", ".join(f"{m['Member']} {m['Role']} {m['State']}" for m in found) or "no answer"


def wait_for_cluster(count: int = 3, timeout_s: float = 120) -> None:
    wait_for(f"a leader and {count - 1} streaming members", lambda: settled(count), timeout_s)


def psql(statement: str, port: int = 5000, user: str = "app", timeout_s: int = 10) -> tuple[int, str]:
    """One statement from the client through HAProxy, server certificate checked; exit code and output."""
    conninfo = (
        f"host=haproxy port={port} dbname=app user={user} connect_timeout=5 "
        "sslmode=verify-full sslrootcert=/etc/pgha-test/haproxy/tls/ca.crt"
    )
    return client.execute(
        f"PGPASSWORD=$(jq -r .users.app /etc/pgha-test/secrets.json) "
        f'timeout {timeout_s} psql -XAtq "{conninfo}" -v ON_ERROR_STOP=1 -c "{statement}" 2>&1',
        timeout=timeout_s + 5,
    )


def said(statement: str) -> bool | str:
    """For `wait_for`: True when the statement went through, or what was said instead."""
    code, output = psql(statement)
    return code == 0 or output.strip()


acknowledged: list[int] = []


def write() -> bool:
    """Insert the next number. Remembers it once the COMMIT has come back."""
    number = len(acknowledged) + 1
    code, _ = psql(f"insert into rows values ({number}) on conflict do nothing")
    if code == 0:
        acknowledged.append(number)
    return code == 0


def wait_for_write(timeout_s: float = 60) -> None:
    wait_for("a write through HAProxy", write, timeout_s)


def assert_nothing_lost() -> None:
    code, output = psql("select count(*) from rows where n between 1 and " + str(len(acknowledged)))
    assert code == 0, output
    assert int(output) == len(acknowledged), f"{len(acknowledged)} rows acknowledged, {output} there"


def start_cluster() -> None:
    """Boot everything, wait until it has settled, make the application's role, database and table."""
    start_all()
    wait_for_cluster()
    password = client.succeed("jq -r .users.app /etc/pgha-test/secrets.json").strip()
    machine = machine_of(leader_name())
    operate(machine, f"psql -Xqc \"create role app login password '{password}'\"")
    operate(machine, "psql -Xqc 'create database app owner app'")
    wait_for("the table", lambda: said("create table if not exists rows (n int primary key)"))
    wait_for_write()
