"""What breaks each scenario: an edit of the project that undoes what the scenario shows, and how the scenario says so.

The watchdog's is missing: tests/cluster/test_vm.py shows that, on the Debian images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluator import SCENARIOS

# A watchdog resets a kernel, and the tool's machines have none of their own.
IN_THE_TOOL = tuple(name for name in SCENARIOS if name != "watchdog")

TEMPLATES = "orchestrator/src/pgha_orch/identity/templates"
DYNAMIC = "orchestrator/src/pgha_orch/identity/dynamic.py"
HBA = "orchestrator/src/pgha_orch/identity/hba.py"
TIMINGS = "orchestrator/src/pgha_orch/inventory/timings.py"
LOAD = "images/node/all/lib/pgha/identity-load"
PATRONI_UNIT = "images/node/postgres/lib/systemd/system/patroni.service"
ETCD_UNIT = "images/node/etcd/lib/systemd/system/etcd.service"


@dataclass(frozen=True)
class Breakage:
    """`edits` are (file, text there once, text instead). `says` is a regex for the output of the failing run."""

    scenario: str
    what: str
    edits: tuple[tuple[str, str, str], ...]
    says: str

    def apply(self, tree: Path) -> None:
        """Break the copy of the project in `tree`. Raises ValueError when an edit no longer fits the project."""
        for file, old, new in self.edits:
            path = tree / file
            text = path.read_text()
            if text.count(old) != 1:
                raise ValueError(f"{file}: {text.count(old)} times, not once: {old!r}")
            path.write_text(text.replace(old, new))


# Runs beside Patroni and freezes it when etcd is out of reach, which is what a watchdog is for.
FREEZE = """
      services.pgha.dropIns."patroni.service" =
        let
          freeze = pkgs.writeShellScript "freeze" ''
            export PATH=${pkgs.coreutils}/bin
            while timeout 1 ${pkgs.runtimeShell} -c 'exec 3<>/dev/tcp/10.79.0.11/2379'; do sleep 0.5; done
            kill -STOP "$1"
          '';
        in
        ''
          [Service]
          ExecStartPost=${pkgs.runtimeShell} -c "${freeze} $MAINPID > /dev/null 2>&1 &"
        '';
"""
PATRONI_MODULE = "      services.pgha = {\n        placeholders.patroni"
CLIENT_CA = "  trusted-ca-file: {{ ca | tojson }}\n"
ALLOWLIST = "  allowlist:\n{% for net in rest_writers %}\n    - {{ net | tojson }}\n{% endfor %}\n"
ROLE_CHECK = '    http-check expect error-status L7OKC string "\\"role\\": \\"primary\\""\n'
INPUT = "hook input priority filter; policy"
JOURNAL = 'mkdir -p "$dir/log/journal"'

BREAKAGES = (
    Breakage(
        "backup",
        "WAL never reaches the repository",
        ((DYNAMIC, '"archive_command": push if on else "",', '"archive_command": "true",'),),
        r"check: not within",
    ),
    Breakage(
        "bootstrap",
        "chrony's program is another one",
        (("nix/modules/time.nix", 'cfg.chrony.package "chronyd"', 'cfg.chrony.package "chronyc"'),),
        r"at rest: not within .*chronyd\.service|chronyd\.service: Scheduled restart job",
    ),
    Breakage(
        "bootstrap",
        "the journal is not on the data disk",
        (("nix/modules/appliance.nix", "/var/lib/pgha/log/journal /var", "/run/elsewhere /var"),),
        r"test /var/log/journal -ef /var/lib/pgha/log/journal` failed",
    ),
    Breakage(
        "etcd-member-lost",
        "a member starts without what it had",
        (
            (
                ETCD_UNIT,
                "ExecStart=",
                "Environment=PATH=@path@\nExecStartPre=@bash@ -c 'rm -rf /var/lib/pgha/etcd/*'\nExecStart=",
            ),
        ),
        r"systemctl start etcd\.service` failed",
    ),
    Breakage(
        "etcd-quorum-lost",
        "no failsafe mode",
        ((DYNAMIC, '"failsafe_mode": inventory.postgresql.failsafe_mode,', '"failsafe_mode": False,'),),
        r"[1-9]\d* writes failed",
    ),
    Breakage(
        "identity",
        "the role in an identity is not compared",
        ((LOAD, '[[ $(get PGHA_ROLE) == "$(< /etc/pgha/role)" ]] ||', "true ||"),),
        r"/tmp/forged\.tar 2>&1` unexpectedly succeeded",
    ),
    Breakage(
        "identity",
        "checksums are not compared",
        ((LOAD, "bad=$(sha256sum --check --strict --quiet SHA256SUMS 2> /dev/null) ||", "bad=; true ||"),),
        r"AssertionError: identity is foreign",
    ),
    Breakage(
        "identity",
        "etcd starts without an identity",
        ((ETCD_UNIT, "Requires=pgha-identity.service pgha-firewall.service\n", ""),),
        r"etcd-1: etcd\.service was started",
    ),
    Breakage(
        "leader-killed",
        "PostgreSQL dies with Patroni",
        ((PATRONI_UNIT, "KillMode=process", "KillMode=control-group"),),
        r"PostgreSQL did not outlive its Patroni",
    ),
    Breakage(
        "leader-killed",
        "a crashed leader is restarted instead of replaced",
        ((TIMINGS, "retry_timeout=5, primary_start_timeout=0", "retry_timeout=5, primary_start_timeout=300"),),
        r"leads, the sync standby was",
    ),
    Breakage(
        "leader-powered-off",
        "the leader key outlives its leader by two minutes",
        ((DYNAMIC, '"ttl": timings.ttl,', '"ttl": 120,'),),
        r"a write through HAProxy: not within",
    ),
    Breakage(
        "partition",
        "nobody takes over: the leader key lives for two minutes",
        ((DYNAMIC, '"ttl": timings.ttl,', '"ttl": 120,'),),
        r"nobody was promoted",
    ),
    Breakage(
        "partition",
        "the leader that is cut off does not step down: its Patroni is frozen",
        (("nix/modules/postgresql.nix", PATRONI_MODULE, f"{FREEZE}\n{PATRONI_MODULE}"),),
        r"are both writable",
    ),
    Breakage(
        "reboot",
        "the data disk is emptied at boot",
        (("images/node/all/lib/pgha/data-mount", JOURNAL, f'rm -rf "$dir/postgresql/data"; {JOURNAL}'),),
        r"a leader and 2 streaming members: not within",
    ),
    Breakage(
        "security",
        "PostgreSQL takes connections without TLS",
        ((HBA, "hostssl all all {net}", "host all all {net}"),),
        r"without TLS: ",
    ),
    Breakage(
        "security",
        "the superuser comes in from outside",
        ((HBA, '        f"host all {SUPERUSER},{REPLICATOR},{REWIND} all reject",\n', ""),),
        r"as superuser: ",
    ),
    Breakage(
        "security",
        "Patroni takes orders without a certificate",
        (
            (f"{TEMPLATES}/patroni.yml.j2", 'verify_client: "optional"', 'verify_client: "none"'),
            (f"{TEMPLATES}/patroni.yml.j2", ALLOWLIST, ""),
        ),
        r"without a certificate: 200",
    ),
    Breakage(
        "security",
        "etcd takes clients without a certificate",
        # A CA alone makes etcd want one as well.
        ((f"{TEMPLATES}/etcd.yml.j2", f"{CLIENT_CA}  client-cert-auth: true\npeer", "peer"),),
        r"https://etcd-1:2379/version` unexpectedly succeeded",
    ),
    Breakage(
        "security",
        "the statistics want no password",
        ((f"{TEMPLATES}/haproxy.cfg.j2", "    http-request auth realm pgha unless { http_auth(operators) }\n", ""),),
        r"without a password: 200",
    ),
    Breakage(
        "stranger",
        "the firewall lets in what it does not know",
        ((f"{TEMPLATES}/nftables.conf.j2", f"{INPUT} drop;", f"{INPUT} accept;"),),
        r"answers a stranger",
    ),
    Breakage(
        "switchover",
        "HAProxy takes any PostgreSQL for the leader",
        (
            (f"{TEMPLATES}/haproxy.cfg.j2", "uri /primary", "uri /liveness"),
            (f"{TEMPLATES}/haproxy.cfg.j2", ROLE_CHECK, ""),
        ),
        r"a write went to a replica",
    ),
)
