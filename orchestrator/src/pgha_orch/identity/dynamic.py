"""Patroni's dynamic configuration: written by the first node at bootstrap, changed later by PATCH /config.

reliability.md, Configuration that is right, says where the values come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgha_orch.identity import ports
from pgha_orch.inventory.fields import ParameterValue
from pgha_orch.inventory.model import Durability, Inventory, Role

JsonValue = bool | int | float | str | Mapping[str, "JsonValue"]

# The last, half-filled segment of a timeline that was left stays on former primaries, each with other garbage (or
# zeros) after the last record. A later promotion queues such a copy under the segment's full name: pgBackRest refuses
# it (045 another checksum, 029 no header), and nothing behind it would ever be archived. No recovery needs it: the next
# timeline's own copy of the segment starts with all of its records. So what is not pushed counts as archived when the
# newest history file says that its timeline was left within the segment or before it. Segments are of 16 MiB;
# PostgreSQL reads a percent sign, so there is none here but its own.
ARCHIVE_PUSH = (
    "pgbackrest --config={conf} --stanza={stanza} archive-push %p || {{ code=$?; f=%f;"
    " case $f in *.*) exit $code;; esac;"
    " tli=$((0x$(echo $f | cut -c1-8)));"
    " segment=$((0x$(echo $f | cut -c9-16) * 256 + 0x$(echo $f | cut -c17-24)));"
    ' newest=$(ls pg_wal/*.history | tail -n 1); set -- $(grep "^$tli[^0-9]" "$newest" | tr / " ");'
    " if [ $# -ge 3 ] && [ $((0x$2 * 256 + 0x$3 / 16777216)) -le $segment ];"
    " then echo $f: timeline $tli was left within it or before, not archived >&2; exit 0; fi; exit $code; }}"
)


@dataclass(frozen=True)
class DynamicConfig:
    """One value per key that this project sets. What an operator added by hand to other keys stays."""

    settings: Mapping[str, bool | int | str]  # top level: ttl, loop_wait, synchronous_mode, ...
    postgresql: Mapping[str, bool | int]  # use_slots, use_pg_rewind
    parameters: Mapping[str, ParameterValue]  # PostgreSQL's

    def as_json(self) -> dict[str, JsonValue]:
        """The shape that GET and PATCH /config use."""
        return {**self.settings, "postgresql": {**self.postgresql, "parameters": dict(self.parameters)}}


def dynamic_config(inventory: Inventory) -> DynamicConfig:
    """The dynamic configuration that this inventory asks for."""
    timings = inventory.timings
    strict = inventory.durability is Durability.STRICT
    mode: dict[Durability, bool | str] = {
        Durability.STRICT: True,
        Durability.SYNC: True,
        Durability.ASYNC: False,
        Durability.QUORUM: "quorum",
    }
    return DynamicConfig(
        settings={
            "ttl": timings.ttl,
            "loop_wait": timings.loop_wait,
            "retry_timeout": timings.retry_timeout,
            "primary_start_timeout": timings.primary_start_timeout,
            # In synchronous mode a small limit only blocks candidates that have everything acknowledged.
            "maximum_lag_on_failover": 64 * 1024 * 1024,
            "check_timeline": True,
            "failsafe_mode": inventory.postgresql.failsafe_mode,
            "member_slots_ttl": "1h",
            "synchronous_mode": mode[inventory.durability],
            "synchronous_mode_strict": strict,
            "synchronous_node_count": inventory.postgresql.synchronous_node_count,
        },
        postgresql={"use_slots": True, "use_pg_rewind": True},
        parameters={**_defaults(inventory), **inventory.postgresql.parameters, **_fixed(inventory)},
    )


def archiving(inventory: Inventory) -> bool:
    """Whether there is a repository to push WAL to."""
    backup = inventory.backup
    return backup is not None and (backup.repository.s3 is not None or bool(inventory.of_role(Role.BACKUP)))


def _defaults(inventory: Inventory) -> dict[str, ParameterValue]:
    """What the inventory's `postgresql.parameters` may change."""
    replicas = len(inventory.of_role(Role.POSTGRES))
    return {
        "archive_timeout": "60s",
        "checkpoint_completion_target": 0.9,
        "log_checkpoints": "on",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_lock_waits": "on",
        "max_connections": inventory.postgresql.max_connections,
        "max_prepared_transactions": 0,
        # Both need a restart to change: with room for 8 nodes, a new replica restarts nothing.
        "max_replication_slots": max(20, replicas + 4),
        "max_slot_wal_keep_size": "8GB",
        # pg_basebackup takes two for every replica that is made.
        "max_wal_senders": max(20, 2 * replicas + 4),
        "max_worker_processes": 8,
        # No tcp_keepalives_*: over its Unix socket Patroni sees them as 0, takes that for a change at every start,
        # reloads and sleeps a second. The images' sysctls do the same for every connection.
        "wal_level": "replica",
        "wal_receiver_timeout": "10s",
        # A sync standby comes back at once after its primary restarted; the default's 5 s block every COMMIT.
        "wal_retrieve_retry_interval": "500ms",
        "wal_sender_timeout": "10s",
    }


def _fixed(inventory: Inventory) -> dict[str, ParameterValue]:
    """What the rest of the cluster relies on; the inventory's checks refuse these names."""
    on = archiving(inventory)
    push = ARCHIVE_PUSH.format(conf=ports.PGBACKREST_CONF, stanza=inventory.cluster)
    return {
        "archive_mode": "on" if on else "off",
        "archive_command": push if on else "",
        "hot_standby": "on",
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "ssl_cert_file": f"{ports.RUN}/postgresql/server.crt",
        "ssl_key_file": f"{ports.RUN}/postgresql/server.key",
        "ssl_min_protocol_version": "TLSv1.2",
    }
