"""The flake, through the `nix` program: where it is, which scenarios it has, and building one of its outputs."""

from __future__ import annotations

import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pgha_orch import process
from pgha_orch.errors import OperationError, UsageError

# A first build compiles what no cache has; a scenario ends by its own global timeout long before.
BUILD_TIMEOUT_S = 6 * 3600.0
HINT = "get Nix 2.18 or newer with flakes (https://nixos.org/download); `pgha-orch image build` needs none"


@dataclass(frozen=True)
class Build:
    """How a build ended. `output` is its store path, or None when it failed; `log` is kept either way."""

    ok: bool
    seconds: float
    log: Path
    output: Path | None
    said: str  # the last line that says why, empty when it went well


def flake() -> Path:
    """The checkout with flake.nix: `PGHA_FLAKE`, or the one that this code is in."""
    path = Path(os.environ.get("PGHA_FLAKE") or Path(__file__).resolve().parents[3])
    if not (path / "flake.nix").is_file():
        raise OperationError(f"{path}: no flake.nix there", hint="set PGHA_FLAKE to a checkout of this project")
    return path


def require() -> None:
    """Raise OperationError when there is no `nix` program."""
    if shutil.which("nix") is None:
        raise OperationError("nix: not found", hint=HINT)


def scenarios() -> dict[str, str]:
    """Every NixOS scenario of the checkout, by name, with what its first line says it shows."""
    found = {}
    for file in sorted((flake() / "tests" / "nixos").glob("*.nix")):
        if file.stem != "default":
            found[file.stem] = file.read_text().splitlines()[0].removeprefix("#").strip()
    return found


def choose(names: tuple[str, ...]) -> list[str]:
    """The scenarios of these names, or all. Raises UsageError for one that is not there."""
    known = scenarios()
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is no scenario", hint=f"one of: {', '.join(known)}")
    return list(dict.fromkeys(names)) or list(known)


def build(attribute: str, log: Path, *, out_link: Path | None = None) -> Build:
    """Build one of the flake's outputs, such as `packages.x86_64-linux.pg-node`.

    With `out_link` the result stays until that link is gone; without one, until the next garbage collection.
    """
    require()
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done = process.run(
        [
            "nix",
            "--extra-experimental-features",
            "nix-command flakes",
            "build",
            "--print-build-logs",
            "--print-out-paths",
            *(["--out-link", str(out_link)] if out_link is not None else ["--no-link"]),
            f"{flake()}#{attribute}",
        ],
        timeout_s=BUILD_TIMEOUT_S,
        check=False,
    )
    log.write_text(done.stderr)
    ok = done.returncode == 0
    printed = done.stdout.split()
    return Build(
        ok=ok,
        seconds=time.monotonic() - began,
        log=log,
        output=Path(printed[-1]) if ok and printed else None,
        said="" if ok else _reason(done.stderr),
    )


def system() -> str:
    """Nix's name of this machine's architecture."""
    return f"{platform.machine()}-linux"


def _reason(stderr: str) -> str:
    """The line that tells most: what a test's script raised, or Nix's own last error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "Exception:" in line or "Error:" in line or line.startswith("error:")]
    return (errors or lines or ["no output"])[-1][:200]
