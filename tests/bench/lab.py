"""What the benchmarks share: a throw-away cluster like examples/lab.yml, and the real command line."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ORCH = Path(sys.executable).with_name("pgha-orch")
LAB = REPOSITORY / "examples" / "lab.yml"
NETWORK = "10.91.0"


@dataclass(frozen=True)
class Lab:
    """An inventory of its own, in a directory of its own."""

    hosts_yml: Path

    @property
    def state(self) -> Path:
        return self.hosts_yml.parent / ".pgha" / "bench"

    def orch(self, *arguments: str, timeout_s: float = 900) -> str:
        """Run `pgha-orch ARGUMENTS`; its standard output. CalledProcessError when it fails."""
        done = subprocess.run(
            [ORCH, *arguments],
            check=True,
            timeout=timeout_s,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        return done.stdout

    def deploy(self) -> dict[str, object]:
        """What `deploy --json` says."""
        found: dict[str, object] = json.loads(self.orch("deploy", "--json", str(self.hosts_yml)))
        return found

    def destroy(self) -> None:
        self.orch("destroy", "--yes", "--data", str(self.hosts_yml))

    def exec(self, host: str, *command: str) -> str:
        return self.orch("exec", str(self.hosts_yml), host, *command)

    def leader(self) -> str:
        status = json.loads(self.orch("status", "--json", str(self.hosts_yml)))
        return next(m["member"] for m in status["members"] if m["role"] == "leader")


@contextmanager
def lab(*, text: str | None = None) -> Iterator[Lab]:
    """A cluster's inventory; whatever was deployed from it is destroyed at the end.

    The directory goes only after that: it is what the machines can be found by.
    """
    directory = Path(tempfile.mkdtemp(prefix="pgha-bench-"))
    one = Lab(directory / "hosts.yml")
    source = (text or LAB.read_text()).replace("10.77.0", NETWORK).replace("cluster: lab", "cluster: bench")
    one.hosts_yml.write_text(source)
    try:
        yield one
    finally:
        one.destroy()
        shutil.rmtree(directory)


def report(name: str, values: Sequence[float], unit: str) -> None:
    """One line: median and all runs."""
    runs = " ".join(f"{v:.2f}" for v in values)
    print(f"{name:<52} {statistics.median(values):>9.2f} {unit:<5} [{runs}]", flush=True)
