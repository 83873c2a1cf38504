# SPDX-License-Identifier: GPL-2.0
"""Which accelerator the guest runs with.

A /dev/kvm that opens proves nothing: some hosts offer one on which the guest dies before its first
line. So KVM is taken only when asked for, or when a guest has booted with it on this host before.
"""

import os
from pathlib import Path

from . import paths
from .agent import AgentError
from .vm import Guest, GuestError, Spec

_TRIAL_TIMEOUT = 20


def choose(wish: str | None = None) -> str:
    """Returns "kvm" or "tcg". The wish is ACCEL= of the command line, by default "auto"."""
    wish = wish or os.environ.get("ACCEL") or "auto"
    if wish not in ("auto", "kvm", "tcg"):
        raise SystemExit(f"ACCEL={wish}: use auto, kvm or tcg")
    if wish != "auto":
        return wish
    return "kvm" if _kvm_works() else "tcg"


def _kvm_works() -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    record = paths.PREFIX / f"kvm-{os.uname().release}"
    if not record.exists():
        works = _trial()
        temporary = record.with_suffix(".tmp")
        temporary.write_text("yes" if works else "no")
        temporary.rename(record)
    return record.read_text() == "yes"


def _trial() -> bool:
    print("    trying KVM once, with a short boot", flush=True)
    spec = Spec(
        name="kvm-trial",
        emulator=None,
        accel="kvm",
        modules={},
        boot_timeout=_TRIAL_TIMEOUT,
        console=Path("/tmp") / f"fbnic-kvm-trial-{os.getpid()}",
    )
    guest = Guest(spec)
    try:
        with guest:
            works = guest.run("true", 5).status == 0
    except (GuestError, AgentError):
        works = False
    for file in spec.console.parent.glob(spec.console.name + "*") if spec.console else ():
        file.unlink()
    print(f"    KVM {'works' if works else 'does not work here, so TCG it is'}", flush=True)
    return works
