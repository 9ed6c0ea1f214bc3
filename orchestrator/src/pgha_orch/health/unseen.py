"""What Patroni does not see of its own cluster, and so cannot fail over for: looked at from outside.

A leader whose REST API is silent, timings that Patroni rewrote, a watchdog that is not armed, certificates that
end, clocks that disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from pydantic import JsonValue

from pgha_orch import sql
from pgha_orch.certificates import RENEW_DAYS, certificate_end
from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.health import patroni
from pgha_orch.health.rows import Problem
from pgha_orch.identity import dynamic_config
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState

SQL_TIMEOUT_S = 3.0
EXEC_TIMEOUT_S = 8.0
POSTGRESQL_PORT = 5432
# Patroni compares the wall clock with ttl; logs and backups of machines that differ by this cannot be put in order.
CLOCK_LIMIT_S = 0.5
TIMINGS = ("ttl", "loop_wait", "retry_timeout", "primary_start_timeout")
_ARMED = 'find "/proc/$(systemctl show --property=MainPID --value patroni.service)/fd" -lname "/dev/watchdog*"'


def problems(cluster: Cluster, view: patroni.Cluster, rest_silent: Iterable[str]) -> list[Problem]:
    """All of them, looked at at once. A machine that is down or cannot be asked is somebody else's problem."""
    hosts = [n for n in cluster.inventory.hosts if cluster.machine(n).state() is MachineState.RUNNING]
    leader = view.leader.name if view.leader else None
    looks: list[Callable[[], list[Problem]]] = [
        *(partial(silent_primary, cluster, name) for name in rest_silent if name in hosts),
        *(partial(certificates, cluster, name) for name in hosts),
        *(partial(clock, cluster.machine(name)) for name in hosts),
    ]
    if leader is not None and leader not in rest_silent:
        looks.append(partial(timings, cluster, leader))
        if cluster.inventory.watchdog_mode == "required" and leader in hosts:
            looks.append(partial(watchdog, cluster.machine(leader)))

    def attempt(look: Callable[[], list[Problem]]) -> list[Problem]:
        try:
            return look()
        except OperationError:
            return []

    with ThreadPoolExecutor(max_workers=8) as pool:
        return [problem for found in pool.map(attempt, looks) for problem in found]


def silent_primary(cluster: Cluster, name: str) -> list[Problem]:
    """A node whose REST API is silent while its PostgreSQL takes writes (Patroni issue 2263).

    It keeps the leader key, so nobody fails over, and HAProxy sends it nothing: no client can write.
    """
    address = cluster.addresses(Role.POSTGRES)[name]
    target = replace(cluster.proxy_target(), host=str(address), port=POSTGRESQL_PORT)
    rows = sql.query(target, "SELECT pg_is_in_recovery()", timeout_s=SQL_TIMEOUT_S)
    if rows[0][0]:
        return []
    what = (
        "PostgreSQL takes writes, but Patroni's REST API is silent: HAProxy gives it no client, and nobody fails over"
    )
    then = (
        f"pgha-orch exec {cluster.path.name} {name} systemctl restart patroni.service; if it stays silent, see what"
        f" drops TCP port {patroni.REST_PORT}"
    )
    return [Problem(where=name, what=what, next=then)]


def timings(cluster: Cluster, leader: str) -> list[Problem]:
    """Timings that are in effect otherwise than the inventory says: Patroni rewrites what breaks its rules."""
    rest = patroni.Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    return rewritten(dynamic_config(cluster.inventory).settings, rest.config(leader), leader)


def rewritten(wanted: Mapping[str, object], effective: Mapping[str, JsonValue], leader: str) -> list[Problem]:
    """A problem for every timing whose effective value is not the wanted one."""
    found = []
    for key in TIMINGS:
        if key in wanted and effective.get(key) != wanted[key]:
            what = f"{key} is {effective.get(key)} in effect, the inventory says {wanted[key]}"
            then = "pgha-orch deploy sets it; if it comes back, Patroni rewrote it: L + 2R <= T, T >= 20, R >= 3"
            found.append(Problem(where=leader, what=what, next=then))
    return found


def watchdog(machine: Machine) -> list[Problem]:
    """A leader that does not hold its watchdog device, though it is required: a hang would not be fenced."""
    held = machine.exec(["sh", "-c", _ARMED], timeout_s=EXEC_TIMEOUT_S, check=False).stdout.strip()
    if held:
        return []
    what = "the watchdog is required, but the leader's Patroni does not hold /dev/watchdog: a hang would not be fenced"
    then = f"is there a device that user postgres may open (ls -l /dev/watchdog)? pgha-orch logs {machine.name}"
    return [Problem(where=machine.name, what=what, next=then)]


def certificates(cluster: Cluster, name: str) -> list[Problem]:
    """Certificates that the machine runs with and that end soon; one problem a host."""
    machine, ends = cluster.machine(name), []
    for member in cluster.identities[name].members:
        if member.path.endswith((".crt", "stats.pem")):
            content = machine.read(f"/run/pgha/{member.path}")
            end = certificate_end(content) if content else None
            if end is not None:
                ends.append((end, member.path))
    return ending(name, ends, datetime.now(UTC))


def ending(name: str, ends: Iterable[tuple[datetime, str]], now: datetime) -> list[Problem]:
    """A problem when the first certificate to end does so within the days in which they are renewed."""
    end, path = min(ends, default=(datetime.max.replace(tzinfo=UTC), ""))
    days = (end - now).total_seconds() / 86_400
    if days > RENEW_DAYS:
        return []
    when = f"ended {-days:.0f} days ago" if days < 0 else f"ends in {days:.0f} days"
    what = f"certificate {path} {when}, on {end:%Y-%m-%d}"
    then = "pgha-orch deploy renews it"
    if path == "tls/ca.crt":
        then = (
            "with the machines down (pgha-orch destroy), move pki/ of the state directory away; deploy makes a new CA"
        )
    return [Problem(where=name, what=what, next=then)]


def clock(machine: Machine) -> list[Problem]:
    """A clock that is off, or follows nobody."""
    done = machine.exec(["chronyc", "-c", "tracking"], timeout_s=EXEC_TIMEOUT_S, check=False)
    if done.returncode:
        what = f"chronyd does not answer: {(done.stdout or done.stderr).strip()[:100]}"
        return [Problem(where=machine.name, what=what, next=f"pgha-orch logs {machine.name} -u chronyd.service")]
    return off(machine.name, done.stdout)


def off(name: str, tracking: str) -> list[Problem]:
    """From `chronyc -c tracking`: field 2 is the reference, field 5 the system clock's offset in seconds."""
    fields = tracking.strip().split(",")
    try:
        offset = abs(float(fields[4]))
    except (IndexError, ValueError):
        return []
    # "Not synchronised" alone is no problem: it is so for the first minute, and on a container for as long.
    if offset <= CLOCK_LIMIT_S:
        return []
    what = f"its clock is {offset:.2f} s off {fields[1] or 'its reference'}"
    # chrony's maxslewrate, 83333 ppm, is one second in twelve.
    then = (
        f"chrony slews it, in {12 * offset:.0f} s; at once, on a node that does not lead:"
        f" pgha-orch exec HOSTS_YML {name} chronyc makestep"
    )
    return [Problem(where=name, what=what, next=then)]
