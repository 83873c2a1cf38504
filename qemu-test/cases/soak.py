# SPDX-License-Identifier: GPL-2.0
"""A short run of `make soak`."""

from harness.case import case
from harness.hostile import ALLOWED
from harness.soak import Soak
from harness.vm import Guest

_SECONDS = 45


@case(allowed=ALLOWED, rows=(11, 12, 20))
def soak(guest: Guest) -> None:
    """Random changes of everything, and faults of the device, under traffic, from a fixed seed."""
    # C does not outlive the faults: Documentation/hardening.md says which line of it dies of what.
    faults = guest.spec.driver != "c"
    print(Soak(guest, seed=107, seconds=_SECONDS, faults=faults).run())
