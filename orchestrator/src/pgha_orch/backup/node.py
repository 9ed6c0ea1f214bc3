"""What a restore does on one PostgreSQL machine. Each step can be done again after it was broken off.

Recovery runs here, under a unit of its own, and not as Patroni's bootstrap method: until the target is reached and
looked at, neither etcd nor the archive has changed, so a restore can be taken back; pgBackRest's and PostgreSQL's own
errors are at hand; and no node has another identity than the inventory gives. Patroni then takes over a data
directory that was shut down cleanly and whose system identifier is the cluster's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgha_orch.deploy.database import psql
from pgha_orch.errors import OperationError, ProcessError
from pgha_orch.identity import ports
from pgha_orch.inventory.fields import ParameterValue
from pgha_orch.machines import Machine
from pgha_orch.progress import Seen, Step, wait_for

RESTORE_UNIT, RECOVERY_UNIT = "pgha-restore", "pgha-recovery"
STOP_TIMEOUT_S = 360.0
MOVE_TIMEOUT_S = 60.0
RESTORE_TIMEOUT_S = RECOVERY_TIMEOUT_S = 7 * 24 * 3600.0
PROMOTE_TIMEOUT_S = 600.0
HOME = f"{ports.STATE}/postgresql"
# What pgBackRest writes into postgresql.auto.conf: behind it, these would hold for Patroni's next start too.
RECOVERY_SETTINGS = (
    "restore_command",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
)
# Hot standby refuses values below those of the primary that wrote the WAL (PostgreSQL docs, Hot Standby).
STANDBY_PARAMETERS = (
    "max_connections",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "max_locks_per_transaction",
)
_STOP = f"""
systemctl stop patroni.service {RESTORE_UNIT}.service {RECOVERY_UNIT}.service 2> /dev/null || true
! systemctl is-active --quiet patroni.service || {{ echo 'patroni.service does not stop' >&2; exit 1; }}
# A PostgreSQL that outlived its Patroni.
pid=$(head -n 1 {ports.PGDATA}/postmaster.pid 2> /dev/null) || exit 0
[ -e "/proc/$pid" ] && grep -qs postgres "/proc/$pid/comm" || exit 0
kill -INT "$pid"
while [ -e "/proc/$pid" ]; do sleep 0.2; done
"""
# Arguments: the directory to keep the old data in. What a Patroni that waits for a leader left behind is empty.
_KEEP = f"""
set -eu
cd {HOME}
mkdir -p "$1" && chown postgres:postgres "$1" && chmod 0700 "$1"
for name in *; do
  case $name in before-*) continue ;; esac
  rmdir "$name" 2> /dev/null || mv -T "$name" "$1/$name"
done
rm -rf {ports.STATE}/pgbackrest/spool/archive
sync -f .
"""
_BACK = f"""
set -eu
cd {HOME}
[ -d "$1" ] || exit 0
for name in *; do
  case $name in before-*) continue ;; esac
  [ ! -e "$1/$name" ] || rm -rf "$name"
done
for name in "$1"/*; do [ ! -e "$name" ] || mv -T "$name" "${{name##*/}}"; done
rmdir "$1"
rm -rf {ports.STATE}/pgbackrest/spool/archive
sync -f .
"""


@dataclass(frozen=True)
class Reached:
    """Where recovery stopped: time of the last transaction ("" for none) and LSN."""

    at: str
    lsn: str


def stop(machine: Machine) -> None:
    """Stop Patroni and its PostgreSQL, and what a broken-off restore left running."""
    machine.exec(["sh", "-c", _STOP], timeout_s=STOP_TIMEOUT_S)


def start(machine: Machine) -> None:
    """Start Patroni; no-op when it runs."""
    machine.exec(["systemctl", "start", "patroni.service"], timeout_s=STOP_TIMEOUT_S)


def keep(machine: Machine, name: str) -> None:
    """Move the data directory, with all that is beside it (tablespaces), into `name`."""
    machine.exec(["sh", "-c", _KEEP, "keep", name], timeout_s=MOVE_TIMEOUT_S)


def put_back(machine: Machine, name: str) -> None:
    """Undo `keep`, over whatever a restore has put in the place. No-op when nothing was kept."""
    machine.exec(["sh", "-c", _BACK, "back", name], timeout_s=RESTORE_TIMEOUT_S)


def kept(machine: Machine) -> dict[str, int]:
    """Directories of old data that restores have kept here, with their bytes on disk."""
    found = machine.exec(
        ["sh", "-c", f"cd {HOME} && find . -maxdepth 1 -name 'before-*' -exec du -s --block-size=1 {{}} +"],
        timeout_s=MOVE_TIMEOUT_S,
    )
    rows = (line.split("\t") for line in found.stdout.splitlines())
    return {path.removeprefix("./"): int(size) for size, path in rows}


def drop(machine: Machine, name: str) -> None:
    """Remove a kept directory for good."""
    if not re.fullmatch(r"before-\d{8}T\d{6}Z", name):
        raise OperationError(f"{machine.name}: {name} is no directory that a restore kept")
    machine.exec(["rm", "-rf", f"{HOME}/{name}"], timeout_s=RESTORE_TIMEOUT_S)


def free_bytes(machine: Machine) -> int:
    """Bytes that postgres may still write on the data disk."""
    done = machine.exec(["df", "--output=avail", "--block-size=1", ports.STATE], timeout_s=MOVE_TIMEOUT_S)
    return int(done.stdout.split()[-1])


def restore(machine: Machine, stanza: str, options: Sequence[str]) -> None:
    """`pgbackrest restore` into an empty data directory: what an earlier attempt left there goes."""
    machine.exec(
        ["systemctl", "stop", f"{RECOVERY_UNIT}.service", f"{RESTORE_UNIT}.service"], timeout_s=60, check=False
    )
    fresh = f"rm -rf {ports.PGDATA} && install -d -o postgres -g postgres -m 0700 {ports.PGDATA}"
    machine.exec(["sh", "-c", fresh], timeout_s=RESTORE_TIMEOUT_S)
    command = ["pgbackrest", f"--config={ports.PGBACKREST_CONF}", f"--stanza={stanza}", "--log-level-console=error"]
    try:
        machine.exec(
            [*_unit(RESTORE_UNIT), "--wait", "--pipe", *command, *options, "restore"], timeout_s=RESTORE_TIMEOUT_S
        )
    except ProcessError as exc:
        said = [line for line in exc.stderr.splitlines() if "ERROR" in line] or [exc.message]
        raise OperationError(
            f"{machine.name}: pgbackrest restore: {said[0].strip()}",
            hint="pgha-orch restore --undo puts the old data back; --resume tries again",
        ) from exc


def recover(machine: Machine, parameters: Mapping[str, ParameterValue], current: Step, *, pauses: bool) -> Reached:
    """Start PostgreSQL for itself alone and let it recover; return where it paused, or ended when it does not pause.

    Raises OperationError with PostgreSQL's own words when it stops before the target.
    """
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": ports.SOCKETS,
        "hot_standby": "on",
        "synchronous_standby_names": "",
        "logging_collector": "off",
        "log_destination": "stderr",
        **{name: str(parameters[name]) for name in STANDBY_PARAMETERS if name in parameters},
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    program, since = f"{_bindir(machine)}/postgres", _now(machine)
    unit = [*_unit(RECOVERY_UNIT), "--property=KillSignal=SIGINT"]
    machine.exec([*unit, program, "-D", ports.PGDATA, *words], timeout_s=60)

    def look() -> Seen:
        if ended := _ended(machine, since):
            return ended
        row = psql(
            machine,
            "SELECT pg_is_in_recovery(),"
            " CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE '' END,"
            " coalesce(pg_last_xact_replay_timestamp()::text, ''), pg_last_wal_replay_lsn();",
        )[0]
        here = f"at LSN {row[3]}" + (f", {row[2]}" if row[2] else "")
        return Seen(here, open=row[1] == "paused" if pauses else row[0] == "f")

    wait_for(current, look, deadline_s=RECOVERY_TIMEOUT_S, poll_s=0.5)
    if pauses and "insufficient parameter settings" in _log(machine, since):
        raise OperationError(
            f"{machine.name}: recovery paused: a parameter was higher in this WAL: {_reason(machine, since)}",
            hint="raise it in postgresql.parameters, then pgha-orch restore --resume",
        )
    row = psql(machine, "SELECT coalesce(pg_last_xact_replay_timestamp()::text, ''), pg_last_wal_replay_lsn();")[0]
    return Reached(row[0], row[1])


def promote(machine: Machine, current: Step) -> int:
    """End recovery where it paused, send the new timeline to the archive, shut down; the new timeline."""
    since = _now(machine)
    psql(machine, "SELECT pg_wal_replay_resume() WHERE pg_is_in_recovery();")

    def writable() -> Seen:
        if ended := _ended(machine, since):
            return ended
        return Seen("promoting", open=psql(machine, "SELECT pg_is_in_recovery();") == [["f"]])

    def archived() -> Seen:
        if ended := _ended(machine, since):
            return ended
        waiting = psql(machine, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';")[0][0]
        return Seen(f"{waiting} files wait for the archive", open=waiting == "0")

    wait_for(current, writable, deadline_s=PROMOTE_TIMEOUT_S)
    resets = "".join(f"ALTER SYSTEM RESET {name};\n" for name in RECOVERY_SETTINGS)
    psql(machine, f"{resets}CHECKPOINT;\nSELECT pg_switch_wal();")
    wait_for(current, archived, deadline_s=PROMOTE_TIMEOUT_S)
    line = int(psql(machine, "SELECT timeline_id FROM pg_control_checkpoint();")[0][0])
    machine.exec(["systemctl", "stop", f"{RECOVERY_UNIT}.service"], timeout_s=STOP_TIMEOUT_S)
    return line


def control(machine: Machine, field: str) -> str:
    """A field of pg_controldata, such as "Database system identifier"."""
    done = machine.exec([f"{_bindir(machine)}/pg_controldata", "-D", ports.PGDATA], timeout_s=30)
    for line in done.stdout.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    raise OperationError(f"{machine.name}: pg_controldata has no {field!r}")


def _unit(name: str) -> list[str]:
    """A unit of its own: it ends with the machine, and a second run can find it and stop it."""
    return ["systemd-run", "--quiet", "--collect", f"--unit={name}", "--uid=postgres", "--gid=postgres",
            "--property=UMask=0077", "--property=KillMode=mixed", "--property=TimeoutStopSec=infinity",
            "--setenv=PATH"]  # fmt: skip


def _ended(machine: Machine, since: str) -> Seen | None:
    """What to say when the recovering PostgreSQL has ended; None while it runs."""
    state = machine.exec(["systemctl", "is-active", f"{RECOVERY_UNIT}.service"], timeout_s=10, check=False)
    if state.stdout.strip() in ("active", "activating"):
        return None
    return Seen(
        f"{machine.name}: PostgreSQL ended before it was there: {_reason(machine, since)}",
        fatal="pgha-orch restore --undo puts the old data back, if it still can; then choose another target",
    )


def _reason(machine: Machine, since: str) -> str:
    lines = _log(machine, since).splitlines()
    bad = [line for line in lines if re.search(r"FATAL|PANIC|insufficient", line)]
    last = [line for line in lines if "last completed transaction" in line]
    return " | ".join(line.strip() for line in [*last[-1:], *(bad or lines)[-2:]])[:600] or "it said nothing"


def _log(machine: Machine, since: str) -> str:
    show = ["journalctl", f"--unit={RECOVERY_UNIT}.service", f"--since=@{since}", "--output=cat", "--no-pager"]
    return machine.exec(show, timeout_s=30, check=False).stdout


def _now(machine: Machine) -> str:
    """The machine's clock, epoch seconds: where the log of what is started now begins."""
    return machine.exec(["date", "+%s"], timeout_s=10).stdout.strip()


def _bindir(machine: Machine) -> str:
    shown = machine.exec(["systemctl", "show", "--property=Environment", "--value", "pgha-prove.service"], timeout_s=10)
    found = re.search(r"PGHA_BINDIR=(\S+)", shown.stdout)
    if found is None:
        raise OperationError(
            f"{machine.name}: its image does not say where PostgreSQL is", hint="pgha-orch image build"
        )
    return found.group(1)
