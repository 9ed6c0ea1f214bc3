"""Whether this host's KVM runs a guest, and how slow one is without it. Found out by starting one.

A /dev/kvm proves nothing: nested virtualisation can open and then never get a stock kernel past its first
instructions. The probe boots the kernel that the machines boot, with no root: it panics, and QEMU ends.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgha_orch.errors import OperationError, ProcessError
from pgha_orch.image.kernel import Kernel
from pgha_orch.process import run

log = logging.getLogger(__name__)

KVM = Path("/dev/kvm")
KVM_LIMIT_S = 10.0
TCG_LIMIT_S = 180.0
# What the same boot takes with KVM, order of magnitude; deadlines are made for machines that are this fast.
KVM_USUAL_S = 1.0
MOST = 15.0  # past this a deadline would no longer end anything


class Accelerator(BaseModel):
    """`kvm` or `tcg`; `factor`: how much slower a guest's boot is than usual with KVM, 1 to MOST."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    factor: float
    host: str  # boot id of the host that it was measured on

    @property
    def arguments(self) -> list[str]:
        if self.name == "kvm":
            return ["-accel", "kvm", "-cpu", "host"]
        # Without AVX, which libraries would use and TCG can only call helpers for; the translation cache is memory of
        # this host, and one that overflows is translated anew.
        return ["-accel", "tcg,thread=multi,tb-size=192", "-cpu", "Westmere,+rdrand"]

    @property
    def kernel_arguments(self) -> list[str]:
        """What a guest without KVM need not do.

        Isolated page tables make TCG forget its translations of addresses at every system call, and guard against what
        a processor of silicon speculates. A user manager, started for every login that finds none, is seconds of work.
        """
        return [] if self.name == "kvm" else ["mitigations=off", "systemd.mask=user@0.service"]


def find(kernel: Kernel) -> Accelerator:
    """What was measured since this host booted, or is measured now (up to 10 s for KVM, and a TCG boot)."""
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept = kernel.directory / "accelerator.json"
    with suppress(OSError, ValueError):
        known = Accelerator.model_validate_json(kept.read_bytes())
        if known.host == host:
            return known
    found = _measure(kernel, host)
    with suppress(OSError):
        kept.write_text(found.model_dump_json())
    return found


def _measure(kernel: Kernel, host: str) -> Accelerator:
    if os.access(KVM, os.R_OK | os.W_OK) and _boot(kernel, "kvm", KVM_LIMIT_S) is not None:
        return Accelerator(name="kvm", factor=1.0, host=host)
    why = "does not run a guest" if KVM.exists() else "is not there"
    seconds = _boot(kernel, "tcg", TCG_LIMIT_S)
    if seconds is None:
        raise OperationError(
            f"QEMU: a kernel does not boot within {TCG_LIMIT_S:g} s, with TCG", hint="is this host overloaded?"
        )
    factor = round(min(MOST, max(1.0, seconds / KVM_USUAL_S)), 1)
    log.warning("%s %s: machines run by TCG, in software; deadlines are %g times as long", KVM, why, factor)
    return Accelerator(name="tcg", factor=factor, host=host)


def _boot(kernel: Kernel, name: str, limit_s: float) -> float | None:
    """Seconds until the kernel has come as far as it gets without a root; None when it does not get there."""
    begun = time.monotonic()
    try:
        run(
            [
                *("qemu-system-x86_64", "-accel", name, "-m", "256", "-nodefaults", "-display", "none"),
                *("-no-reboot", "-kernel", kernel.vmlinuz, "-append", "panic=-1"),
            ],
            timeout_s=limit_s,
        )
    except ProcessError:
        return None
    return time.monotonic() - begun
