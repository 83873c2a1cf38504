# SPDX-License-Identifier: GPL-2.0
"""Which accelerator the guest runs with.

A /dev/kvm that opens proves nothing: some hosts offer one on which the guest dies before its first
line. So KVM is taken only when a guest has booted with it on this host before. Who asks for it and
cannot have it is told so within seconds.
"""

import os
import time
from pathlib import Path

from . import paths
from .agent import AgentError
from .vm import Guest, GuestError, Spec

_TRIAL_TIMEOUT = 20
# With KVM the kernel's first line is there at once, however busy the host is.
_FIRST_LINE = 8


class _Trial(Guest):
    """A guest that is given up when it says nothing."""

    def start_qemu(self) -> None:
        """Boots, or raises."""
        self._begun = time.monotonic()
        super().start_qemu()

    def check_alive(self) -> None:
        """Raises when QEMU has ended, or the guest has not begun to run."""
        super().check_alive()
        if time.monotonic() > self._begun + _FIRST_LINE and not self.console.text():
            raise GuestError(f"the guest prints nothing for {_FIRST_LINE} s")

    def stop(self) -> None:
        """Ends QEMU, without asking a guest that may not listen."""
        self.stop_qemu()
        super().stop()


def choose(wish: str | None = None) -> str:
    """Returns "kvm" or "tcg". The wish is ACCEL= of the command line, by default "auto"."""
    wish = wish or os.environ.get("ACCEL") or "auto"
    if wish not in ("auto", "kvm", "tcg"):
        raise SystemExit(f"ACCEL={wish}: use auto, kvm or tcg")
    if wish == "tcg":
        return wish
    failure = _failure(again=wish == "kvm")
    if failure and wish == "kvm":
        raise SystemExit(f"ACCEL=kvm: KVM does not work here, {failure}; ACCEL=tcg does without")
    return "tcg" if failure else "kvm"


def _failure(again: bool) -> str:
    """Why KVM cannot be used, empty if it can. With `again` an earlier failure is not believed."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm cannot be opened"
    record = paths.PREFIX / f"kvm-{os.uname().release}"
    known = record.read_text() if record.exists() else ""
    if known == "yes":
        return ""
    if known and not again:
        return "an earlier trial has failed"
    failure, has_run = _trial()
    if not has_run:
        # This says nothing about KVM, so it must not be believed next time.
        return failure
    temporary = record.with_suffix(".tmp")
    temporary.write_text("no" if failure else "yes")
    temporary.rename(record)
    return failure


def _trial() -> tuple[str, bool]:
    """Why a guest does not boot with KVM, empty if it does, and whether QEMU has run at all."""
    print("    trying KVM once, with a short boot", flush=True)
    spec = Spec(
        name="kvm-trial",
        emulator=None,
        accel="kvm",
        modules={},
        boot_timeout=_TRIAL_TIMEOUT,
        console=Path("/tmp") / f"fbnic-kvm-trial-{os.getpid()}",
    )
    guest = _Trial(spec)
    failure = ""
    try:
        with guest:
            guest.check("true", 5)
    except (GuestError, AgentError) as error:
        failure = str(error).splitlines()[0].partition(" (booting")[0]
    for file in spec.console.parent.glob(spec.console.name + "*") if spec.console else ():
        file.unlink()
    print(f"    KVM {'does not work here' if failure else 'works'}", flush=True)
    return failure, guest.qemu is not None
