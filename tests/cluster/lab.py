"""A cluster under test, driven as a user does: by the `pgha-orch` beside this Python, with an inventory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import yaml

from pgha_orch.cluster import Cluster
from pgha_orch.inventory.load import load
from pgha_orch.machines import Machine
from pgha_orch.state import StateDir

ORCH = str(Path(sys.executable).with_name("pgha-orch"))
DEPLOY_S = 240  # about 20 s on an idle host; others may use this one


@dataclass
class Done:
    """A command that ended: `code`, its standard output and its standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.out)
        return found

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass
class Lab:
    """One inventory in a directory of its own. Nothing runs before `deploy`."""

    directory: Path
    spec: dict[str, object]
    said: list[str] = field(default_factory=list)  # all output of every command

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.write()

    @property
    def inventory(self) -> Path:
        return self.directory / "hosts.yml"

    @property
    def name(self) -> str:
        return str(self.spec["cluster"])

    @property
    def state(self) -> Path:
        return self.directory / ".pgha" / self.name

    @property
    def hosts(self) -> dict[str, dict[str, object]]:
        found = self.spec["hosts"]
        assert isinstance(found, dict)
        return found

    @property
    def ca(self) -> Path:
        return self.state / "pki" / "ca.crt"

    @property
    def secrets(self) -> dict[str, str]:
        """Every generated password, by what it is for."""
        found = json.loads((self.state / "secrets.json").read_text())
        users = {f"user {name}": value for name, value in found.pop("users").items()}
        return {k: v for k, v in found.items() if isinstance(v, str)} | users

    @property
    def bridge(self) -> str:
        return f"pgha-{(self.state / 'cluster-id').read_text().strip()}"

    def write(self) -> None:
        self.inventory.write_text(yaml.safe_dump(self.spec, sort_keys=False))

    @contextmanager
    def changed(self, **top: object) -> Iterator[None]:
        """Top-level fields of the inventory replaced (None: removed) inside the block; as before after it."""
        before = dict(self.spec)
        self.spec = {k: v for k, v in (before | top).items() if v is not None}
        self.write()
        try:
            yield
        finally:
            self.spec = before
            self.write()

    def of_role(self, role: str) -> dict[str, str]:
        """Host to address, in file order."""
        return {name: str(host["address"]) for name, host in self.hosts.items() if host["role"] == role}

    def argv(self, command: str, *arguments: str) -> list[str]:
        return [ORCH, *command.split(), str(self.inventory), *arguments]

    def run(
        self, command: str, *arguments: str, code: int | None = 0, timeout_s: float = 180, input: str | None = None
    ) -> Done:
        """Run `pgha-orch COMMAND hosts.yml ...`; assert its exit code unless it is None."""
        done = subprocess.run(
            self.argv(command, *arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
        )
        self.said += [done.stdout, done.stderr]
        found = Done(done.returncode, done.stdout, done.stderr)
        assert code is None or found.code == code, f"pgha-orch {command} {' '.join(arguments)}: {found}"
        return found

    def start(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; its output is one stream of lines, from `stdout`."""
        return subprocess.Popen(
            self.argv(command, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def deploy(self) -> dict[str, object]:
        """Deploy; what `--json` says. The cluster is healthy when this returns."""
        return self.run("deploy", "--json", timeout_s=DEPLOY_S).json

    def destroy(self) -> None:
        """Machines, data, secrets and network gone; fine when there are none."""
        if self.state.exists():
            self.run("destroy", "--yes", "--data", timeout_s=180)

    def exec(self, host: str, *argv: str, code: int | None = 0, timeout_s: float = 180) -> Done:
        return self.run("exec", host, *argv, code=code, timeout_s=timeout_s)

    def status(self, code: int | None = None) -> dict[str, object]:
        return self.run("status", "--json", code=code).json

    def problems(self) -> dict[str, str]:
        """Where to "what; next", of every problem that status names; several at one place are joined."""
        found: dict[str, str] = {}
        problems = self.status()["problems"]
        assert isinstance(problems, list)
        for problem in problems:
            text = f"{problem['what']}; {problem['next']}"
            found[problem["where"]] = " | ".join(t for t in (found.get(problem["where"]), text) if t)
        return found

    def until_healthy(self, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        looked = time.monotonic()
        while (seen := self.run("status", "--json", code=None, timeout_s=max(180, timeout_s))).code != 0:
            assert time.monotonic() < deadline, f"not healthy within {timeout_s} s: {seen}"
            time.sleep(max(0.5, (time.monotonic() - looked) / 2))  # looking costs machines without KVM much
            looked = time.monotonic()

    def leader(self) -> str:
        members = self.status()["members"]
        assert isinstance(members, list)
        return next(str(m["member"]) for m in members if m["role"] == "leader")

    def machine(self, host: str) -> Machine:
        """The driver's own view of a machine, for what no command offers (cutting its power)."""
        return Cluster.open(load(self.inventory), StateDir.open(self.state)).machine(host)

    def pids(self) -> dict[str, int]:
        """Host to the process id, on this host, of its PID 1; hosts that do not run are left out."""
        found = {}
        for name in self.hosts:
            with suppress(OSError, ValueError, IndexError):
                supervisor = (self.state / "machines" / name / "pid").read_text().strip()
                if b"systemd-nspawn" in Path(f"/proc/{supervisor}/cmdline").read_bytes():
                    found[name] = int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
        return found

    def since(self, unit: str, role: str) -> dict[str, int]:
        """Host to when its unit started last, in microseconds since the machine's boot."""
        show = ["systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", unit]
        return {name: int(self.exec(name, *show).out) for name in self.of_role(role)}

    def postmasters(self) -> dict[str, str]:
        """PostgreSQL host to when its postmaster started, as it says itself."""
        return {name: self.sql(name, "SELECT pg_postmaster_start_time()") for name in self.of_role("postgres")}

    def sql(self, host: str, statement: str) -> str:
        """One statement as the superuser over the machine's own socket; its only value."""
        return self.exec(host, "psql", "-XAtq", "-U", "postgres", "-d", "postgres", "-c", statement).out.strip()

    def timeline(self, leader: str) -> int:
        """The leader's timeline now; pg_control's is the last checkpoint's, which a promotion does not wait for."""
        return int(self.sql(leader, "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"))

    def link(self, **options: object) -> dict[str, object]:
        """Connection parameters as the user app through the read/write port, TLS verified in full."""
        proxy = next(iter(self.of_role("haproxy").values()))
        usual: dict[str, object] = {
            "host": proxy,
            "port": 5000,
            "dbname": "app",
            "user": "app",
            "password": self.secrets["user app"],
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            "connect_timeout": 5,
        }
        return usual | options

    def connect(self, **options: object) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(autocommit=True, **self.link(**options))  # type: ignore[arg-type]

    def save_logs(self, reports: Path) -> None:
        """Journals, consoles and what the commands said, for whoever has to find out why a test failed."""
        target = reports / self.name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for machine in (self.state / "machines").glob("*"):
            journal = machine / "data" / "log" / "journal"
            with (target / f"{machine.name}.journal").open("w") as file:
                subprocess.run(["journalctl", "-D", journal, "--no-pager", "-n", "5000"], stdout=file, timeout=30)
            with suppress(OSError):
                shutil.copy(machine / "console.log", target / f"{machine.name}.console")
        (target / "commands").write_text("\n".join(self.said))


def spec(name: str, network: str, hosts: Mapping[str, Sequence[str]], **top: object) -> dict[str, object]:
    """An inventory. `network` is the first three bytes of a /24; `hosts` maps a role to its names.

    Addresses are .11 for etcd and so on, .21 for postgres, .30 for haproxy, .40 for backup.
    """
    first = {"etcd": 11, "postgres": 21, "haproxy": 30, "backup": 40}
    return {
        "version": 1,
        "cluster": name,
        "network": f"{network}.0/24",
        "clients": [f"{network}.64/26"],
        "postgresql": {"users": [{"name": "app"}], "databases": [{"name": "app", "owner": "app"}]},
        "backup": {},
        "hosts": {
            host: {"role": role, "address": f"{network}.{first[role] + i}"}
            for role, names in hosts.items()
            for i, host in enumerate(names)
        },
    } | top


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """Collect the arguments of every process on this host, machines' included, until the block ends."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())
            stop.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def kill_when(process: subprocess.Popen[str], words: str, *, after_s: float = 0.0) -> list[str]:
    """SIGKILL a started command `after_s` seconds after a line with these words; what it had said by then.

    Asserts that it had not ended by itself.
    """
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if words in line:
            break
    else:
        raise AssertionError(f"it ended before it said {words!r}:\n{''.join(said)}")
    time.sleep(after_s)
    assert process.poll() is None, f"it ended before it could be killed:\n{''.join(said)}"
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=20)
    return [*said, rest]
