"""A proof on request: pgha-prove.service on the host that proves, with the options of this one run."""

from __future__ import annotations

from datetime import datetime

from pgha_orch.backup import journal, reach, target
from pgha_orch.backup.repository import look, mib
from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.health import proof
from pgha_orch.health.proof import Proof
from pgha_orch.progress import Reporter, step

UNIT = "pgha-prove.service"
OPTIONS = "/run/pgha-prove.env"
PROVE_TIMEOUT_S = 7 * 24 * 3600.0


def prove(cluster: Cluster, to: str, label: str | None, reporter: Reporter, *, now: datetime) -> Proof:
    """Restore, start, read everything, count; the record of it, good or bad.

    Raises UsageError for a target that no backup reaches, OperationError when no proof could be started.
    """
    aim = target.parse(to)
    host = cluster.inventory.proof_host
    if host is None:
        raise OperationError("no host to prove a restore on")
    machine = cluster.machine(host)
    # The end of the archive is no target that recovery stops at: it promotes there by itself.
    options = aim.options() + ([] if aim.kind == "latest" else ["--target-action=promote"])
    if aim.kind != "consistent":
        way = reach.route(cluster, aim, label, journal.past(cluster.state))
        options += [f"--set={way.backup.label}", f"--target-timeline={way.timeline}"]
    elif label is not None:
        options += [f"--set={reach.labelled(look(cluster), label).label}"]
    with step("proof of a restore", reporter) as current:
        # systemd splits the variable at blanks and takes the quotes away (systemd.service(5), Command Lines).
        words = " ".join(f'"{option}"' for option in options)
        machine.exec(["tee", OPTIONS], input=f"PGHA_PROVE_OPTIONS='{words}'\n", timeout_s=30)
        done = machine.exec(["systemctl", "start", UNIT], timeout_s=PROVE_TIMEOUT_S, check=False)
        made = [p for p in proof.proofs(machine) if p.at.timestamp() >= int(now.timestamp()) - 1]
        if not made:
            raise OperationError(
                f"{host}: {UNIT} left no record: {done.stderr.strip()[:300] or 'no word why'}",
                hint=f"pgha-orch logs -u {UNIT} HOSTS_YML {host}",
            )
        last = made[-1]
        current.note = (
            f"{last.label} in {last.seconds} s, {mib(last.bytes)}: restore {last.restore_seconds} s, recovery"
            f" {last.recovery_seconds} s, pg_amcheck {last.amcheck_seconds} s"
            if last.ok
            else last.error
        )
    return last
