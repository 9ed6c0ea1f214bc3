"""A full disk under pg_wal, on machines whose real disk is the host's: a small tmpfs in its place.

PostgreSQL is down while its pg_wal is moved. A machine that loses its power meanwhile loses that tmpfs and with
it the newest WAL, which is a harder fault than the drill means: do not combine the two.
"""

from __future__ import annotations

from pgha_orch.machines import Machine

TIMEOUT_S = 180.0
PGDATA = "/var/lib/pgha/postgresql/data"
SWITCHES = 40
SPARE_MIB = 48  # room above what is there: three segments
# The unit has a mount namespace of its own, into which mounts made outside are propagated.
_SHRINK = f"""set -eu
systemctl stop patroni.service
cd {PGDATA}
mountpoint -q pg_wal && exit 0
size=$(du -sm pg_wal | cut -f1)
mkdir -p -m 700 /run/pgha-drill-wal
mount -t tmpfs -o size=$((size + {SPARE_MIB}))m,mode=0700,uid=960,gid=960 tmpfs /run/pgha-drill-wal
cp -a pg_wal/. /run/pgha-drill-wal/
mount --bind /run/pgha-drill-wal pg_wal
systemctl start patroni.service
"""
_FILL = f"""cd {PGDATA}
mountpoint -q pg_wal || exit 1
dd if=/dev/zero of=pg_wal/pgha-drill-filler bs=64k status=none 2>/dev/null
test "$(df --output=avail -B1 pg_wal | tail -1)" -lt 65536
"""
_RESTORE = f"""set -eu
cd {PGDATA}
mountpoint -q pg_wal || exit 0
rm -f pg_wal/pgha-drill-filler
systemctl stop patroni.service
mkdir -p pg_wal.new && chown 960:960 pg_wal.new && chmod 700 pg_wal.new
cp -a pg_wal/. pg_wal.new/
umount pg_wal
umount /run/pgha-drill-wal
rm -rf pg_wal.old && mv pg_wal pg_wal.old && mv pg_wal.new pg_wal && rm -rf pg_wal.old
systemctl start patroni.service
"""


def shrink(machine: Machine) -> None:
    """Put pg_wal on a file system with little room; PostgreSQL restarts on the way."""
    machine.exec(["sh", "-c", _SHRINK], timeout_s=TIMEOUT_S)


def fill(machine: Machine) -> None:
    """Take the room that is left."""
    machine.exec(["sh", "-c", _FILL], timeout_s=TIMEOUT_S)


def use_up_segments(machine: Machine) -> None:
    """Switch segments until PostgreSQL has used those that it had ready and needs room for another."""
    switch = "SELECT pg_logical_emit_message(false, 'drill', repeat('x', 1000)), pg_switch_wal();"
    for _ in range(SWITCHES):
        command = ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", switch]
        if machine.exec(command, timeout_s=TIMEOUT_S, check=False).returncode:
            return


def restore(machine: Machine) -> None:
    """Give pg_wal its own disk back, with its content; nothing to do when it has it."""
    machine.exec(["sh", "-c", _RESTORE], timeout_s=TIMEOUT_S)
