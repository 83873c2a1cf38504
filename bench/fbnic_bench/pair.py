# SPDX-License-Identifier: GPL-2.0
"""Two emulated NICs of one process, joined in memory as QEMU joins its own; the Rust driver at both ends.

The far end of every other cable is an e1000e of QEMU's. To that one the emulated NIC, which is another
process, needs a socket, and how much that costs is what this pair shows.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from harness.vm import Guest, GuestError

from .nics import ENDS, PAIR, Link

# Both functions of the pair, by the ports they sit behind. Nobody but the pair's own turn may bind them,
# or their drivers would have work to do in every other one.
_FUNCTIONS = """
functions() {
	local dev
	for dev in /sys/bus/pci/devices/*; do
		[ "$(cat $dev/vendor) $(cat $dev/device)" = "0x1d9b 0x0013" ] && echo ${dev##*/}
	done | grep -vxF "$(fbnic_slot)"
}
bound_to() {
	local slot
	for slot in $(functions); do echo "$1" >/sys/bus/pci/devices/$slot/driver_override || return 1; done
}
"""

_APART = """
[ "$(functions | wc -l)" = 2 ] || fail "no pair of NICs"
bound_to none
"""

_UP = """
bound_to fbnic
echo none >/sys/bus/pci/devices/$(fbnic_slot)/driver_override
insmod_with_deps /guest/ko/rust.ko || fail "rust does not load"
set -- $(functions)
wait_for 10 netdev_at $1 && wait_for 10 netdev_at $2 || fail "no network devices"
near=$(netdev_at $1)
far_end {netns} "$(netdev_at $2)"
near_end $near
"""

# A device of a namespace that goes away would come back under the name it has there.
_DOWN = """
ip netns pids {netns} | xargs -r kill
rmmod fbnic
ip netns del {netns}
bound_to none
echo >/sys/bus/pci/devices/$(fbnic_slot)/driver_override
"""


class Pair:
    """The process that is both NICs, to be used in a `with` statement around the guest they are in."""

    def __init__(self, emulator: Path):
        self._directory = Path(tempfile.mkdtemp(prefix="fbnic-pair-"))
        self._sockets = [self._directory / end for end in ("near", "far")]
        sockets = [word for path in self._sockets for word in ("--socket", str(path))]
        # Addresses of their own: what a NIC has by default the guest's other one has already.
        addresses = ["--mac", PAIR.mac(0), "--mac", PAIR.mac(1)]
        self.process = subprocess.Popen(
            [str(emulator), *sockets, *addresses], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> "Pair":
        end = time.monotonic() + 20
        while not all(path.exists() for path in self._sockets):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise GuestError("the pair's fbnic-emu does not open its sockets")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def qemu_args(self) -> list[str]:
        """What attaches both."""
        arguments = []
        for end, path in enumerate(self._sockets):
            socket = {"type": "unix", "path": str(path)}
            device = {"driver": "vfio-user-pci", "bus": f"pair{end}", "socket": socket}
            port = f"pcie-root-port,id=pair{end},chassis={40 + end}"
            arguments += ["-device", port, "-device", json.dumps(device)]
        return arguments

    @staticmethod
    def keep_apart(guest: Guest) -> None:
        """Leaves the pair without a driver until it is its turn."""
        guest.check(_FUNCTIONS + _APART)

    def bring_up(self, guest: Guest) -> Link:
        """Loads the driver for the pair alone and waits until the far end answers."""
        near = guest.check(ENDS + _FUNCTIONS + _UP.format(netns=PAIR.netns), 90).split()[-1]
        return Link(guest, PAIR, near, emulator=self.process)

    @staticmethod
    def take_down(link: Link) -> None:
        """Unloads it; the next turn can be that of any other NIC."""
        link.guest.check(_FUNCTIONS + _DOWN.format(netns=PAIR.netns))
