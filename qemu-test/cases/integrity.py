# SPDX-License-Identifier: GPL-2.0
"""Whole frames, of every length and kind, compared byte for byte at the other end of the cable."""

from harness.case import case
from harness.vm import Guest

# The far end, an e1000e, takes no larger MTU.
MTU = 9212
# Ethernet header and no tag.
LONGEST = MTU + 14

# GRO would join frames before the checker sees them. The e1000e drops foreign VLANs otherwise.
_PREPARE = f"""
set -e
ready {MTU}
ethtool -K "$(near_if)" gro off
far ethtool -K $FAR_IF gro off
far ip link set $FAR_IF promisc on
"""
_RESTORE = """
set -e
ethtool -K "$(near_if)" gro on
far ethtool -K $FAR_IF gro on
far ip link set $FAR_IF promisc off
"""
_CHECK = """
/guest/files/frames "$(near_if)" "$(cat "/sys/class/net/$(near_if)/address")" \\
    $FAR_IF "$(far cat /sys/class/net/$FAR_IF/address)"\
"""


def _frames(guest: Guest, direction: str) -> None:
    guest.check(_PREPARE)
    print(guest.check(f"{_CHECK} {direction} {LONGEST}", 120).strip())
    guest.check(_RESTORE)


@case(rows=(13, 16))
def every_frame_out(guest: Guest) -> None:
    """Frames of every length, with every protocol the parser knows, leave unchanged."""
    _frames(guest, "out")


@case(rows=(14, 17))
def every_frame_in(guest: Guest) -> None:
    """Frames of every length, with every protocol the parser knows, arrive unchanged."""
    _frames(guest, "in")
