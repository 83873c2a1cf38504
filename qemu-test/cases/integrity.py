# SPDX-License-Identifier: GPL-2.0
"""Whole frames, of every length and kind, compared byte for byte at the other end of the cable."""

import subprocess

from harness import paths
from harness.case import case
from harness.vm import Guest

# The far end, an e1000e, takes no larger MTU.
MTU = 9212
# Ethernet header and no tag.
LONGEST = MTU + 14
# The largest MTU of the NIC under test, and the longest frame it takes.
NEAR_MTU, NEAR_LONGEST = 9728, 9742

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


@case(rows=(16,), kernels=("stock", "checked"))
def device_memory_out(guest: Guest) -> None:
    """Data in memory that a device has exported, which the processor never sees, leaves unchanged."""
    for mtu in (1500, 9000):
        guest.check(f"ready {mtu}")
        print(guest.check(f'/guest/files/frames devmem "$(near_if)" $FAR4 4949 {mtu}', 120).strip())
    guest.check("ready 1500")


def mirrored(guest: Guest, lengths: str) -> None:
    """Puts frames on the cable, which a mirror in the guest sends back: all have to come unchanged.

    `lengths` is FIRST-LAST, in bytes.
    """
    near_mac, far_mac = guest.check(
        f"ready 1500; dev=$(near_if); ip link set $dev mtu {NEAR_MTU}; ethtool -K $dev gro off\n"
        "/guest/files/frames mirror $dev >/tmp/mirror 2>&1 & echo $! >/tmp/mirror.pid\n"
        "wait_for 10 grep -q ready /tmp/mirror || fail no mirror\n"
        "cat /sys/class/net/$(near_if)/address; far cat /sys/class/net/$FAR_IF/address"
    ).split()[-2:]
    command = [paths.FRAMES, "wire", guest.tap_path, near_mac, far_mac, lengths]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    guest.check("kill $(</tmp/mirror.pid); ethtool -K $(near_if) gro on; ip link set $(near_if) mtu 1500")
    print(f"{lengths}: {result.stdout.strip()}")
    assert result.returncode == 0, result.stdout + result.stderr


@case(rows=(13, 14, 16, 17))
def longest_frames_both_ways(guest: Guest) -> None:
    """Frames longer than the far end takes, up to 9742 bytes, arrive and leave unchanged."""
    mirrored(guest, f"{LONGEST + 1}-{NEAR_LONGEST}")
