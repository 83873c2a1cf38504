# SPDX-License-Identifier: GPL-2.0
"""The NICs that are compared, and how each is brought up in the guest.

The near end of each cable is in the guest's first network namespace, its far end an e1000e in a
namespace of its own. Only one near end is up at a time, and all use the same addresses.
"""

import subprocess
from dataclasses import dataclass

from harness.vm import Guest

NEAR4, FAR4 = "192.0.2.1", "192.0.2.2"
# The namespace and the interface of the emulated NIC's far end, as guest/lib.sh has them.
FBNIC_FAR = "far"


@dataclass(frozen=True)
class Nic:
    """One NIC with its driver."""

    name: str
    # Module as the kernel knows it.
    module: str
    # QEMU's own device model; empty for the emulated NIC.
    model: str = ""
    # 0 for the NIC under test; any other has a cable and a far end of its own.
    index: int = 0

    @property
    def under_test(self) -> bool:
        """Whether this is the emulated NIC with one of the two drivers, on its cable to the usual far end."""
        return self.index == 0

    @property
    def netns(self) -> str:
        """Namespace of the far end."""
        return FBNIC_FAR if self.under_test else f"far{self.index}"

    def mac(self, end: int) -> str:
        """MAC address of the near (0) or far (1) end of a cable of its own."""
        return f"02:00:00:00:{self.index:02x}:{end + 1:02x}"

    def qemu_args(self) -> list[str]:
        """Both ends of a cable between two of QEMU's own NICs.

        The cable is a hub: a QEMU that is both ends of one socket waits for itself when it is full.
        """
        if not self.model:
            return []
        arguments = []
        for end, model in enumerate((self.model, "e1000e")):
            name = f"b{self.index}{end}"
            arguments += [
                *("-netdev", f"hubport,id={name},hubid={self.index}"),
                *("-device", f"pcie-root-port,id=p{name},chassis={10 + 2 * self.index + end}"),
                *("-device", f"{model},netdev={name},bus=p{name},mac={self.mac(end)}"),
            ]
        return arguments


RUST = Nic("rust", "fbnic")
C = Nic("c", "fbnic")
E1000E = Nic("e1000e", "e1000e", "e1000e", 1)
IGB = Nic("igb", "igb", "igb", 2)
VIRTIO = Nic("virtio", "virtio_net", "virtio-net-pci", 3)
# The Rust driver at both ends of a cable in memory, see pair.py.
PAIR = Nic("pair", "fbnic", index=4)
ALL = {nic.name: nic for nic in (RUST, C, PAIR, E1000E, IGB, VIRTIO)}

# What a NIC's two ends need, whoever made it.
ENDS = """
far_end() { # NETNS DEVICE
	ip netns add $1
	ip link set "$2" name far0 netns $1
	ip -n $1 link set lo up
	ip -n $1 addr add 192.0.2.2/24 dev far0
	ip -n $1 link set far0 up
}
near_end() { # DEVICE: it is named once packets pass
	ip addr add 192.0.2.1/24 dev $1
	ip link set $1 up
	wait_for 20 has_carrier $1 || fail "no carrier"
	wait_for 10 ping -n -q -c 1 -W 1 192.0.2.2 || fail "no answer from the far end"
	echo $1
}
"""

_BY_MAC = """
by_mac() {
	local path
	for path in /sys/class/net/*; do
		[ "$(cat $path/address)" = "$1" ] && basename $path && return 0
	done
	return 1
}
"""

_PAIR_UP = """
modprobe -a {module} e1000e
wait_for 10 by_mac {near} || fail "no near end"
if ! ip netns list | grep -qw {netns}; then
	wait_for 10 by_mac {far} || fail "no far end"
	far_end {netns} "$(by_mac {far})"
fi
near_end "$(by_mac {near})"
"""

# Prints how many microseconds passed from the start of insmod until there was a carrier. Waits
# without starting programs, which would take longer than what is waited for.
_FBNIC_UP = """
ko=/guest/ko/{name}.ko
for dep in $(modinfo -F depends $ko | tr ',' ' '); do modprobe $dep || fail "$dep"; done
far_up 1500 || fail "no far end"
begun=${{EPOCHREALTIME/./}}
insmod $ko || fail "{name} does not load"
until near=$(near_if); do
	[ $((${{EPOCHREALTIME/./}} - begun)) -lt 20000000 ] || fail "no network device"
done
ip link set $near up
carrier=0
until [ "$carrier" = 1 ]; do
	read -r carrier </sys/class/net/$near/carrier 2>/dev/null
	[ $((${{EPOCHREALTIME/./}} - begun)) -lt 30000000 ] || fail "no carrier"
	pause 0.002
done
took=$((${{EPOCHREALTIME/./}} - begun))
cable_up >&2 || fail "{name} does not come up"
echo $took $near
"""

# Prints how many microseconds it took to open the interface with so many queues, and how many
# kilobytes of memory went with it.
_REOPEN = """
ip link set {near} down
ethtool -L {near} combined {number} 2>&1 || true
[ "$(ethtool -l {near} | awk '/^Combined/ {{n = $2}} END {{print n}}')" = {number} ] || fail "not {number} queues"
sleep 0.3
before=$(awk '/^MemFree/ {{print $2}}' /proc/meminfo)
begun=${{EPOCHREALTIME/./}}
ip link set {near} up || fail "{near} does not open"
took=$((${{EPOCHREALTIME/./}} - begun))
echo $took $((before - $(awk '/^MemFree/ {{print $2}}' /proc/meminfo)))
wait_for 20 has_carrier {near} || fail "no carrier"
"""


@dataclass(frozen=True)
class Link:
    """A NIC that is up in a guest."""

    guest: Guest
    nic: Nic
    # Name of the near end's interface.
    near: str
    # Time from loading the driver until there was a carrier; 0 for QEMU's own.
    probe_ms: float = 0.0
    # The process that is the NIC; None for one of QEMU's own.
    emulator: subprocess.Popen | None = None

    def far(self, command: str, timeout: float = 60) -> str:
        """Runs one program at the far end."""
        return self.guest.check(f"ip netns exec {self.nic.netns} {command}", timeout)

    def statistic(self, name: str) -> int:
        """A counter of the near end's interface."""
        return int(self.guest.check(f"cat /sys/class/net/{self.near}/statistics/{name}"))

    def arrived(self) -> int:
        """Frames that the NIC at the far end has received."""
        return int(self.far("cat /sys/class/net/far0/statistics/rx_packets"))

    def mac(self) -> str:
        """MAC address of the near end."""
        return self.guest.check(f"cat /sys/class/net/{self.near}/address").strip()

    def forget_neighbours(self) -> None:
        """Both ends forget each other. Five seconds after a packet either would ask whether the other is still
        there, in the midst of what is counted then."""
        self.guest.check(f"ip neigh flush dev {self.near}; ip -n {self.nic.netns} neigh flush dev far0")

    def hold_back(self, microseconds: int) -> None:
        """Has the NIC hold interrupts back that long."""
        times = f"rx-usecs {microseconds} tx-usecs {microseconds}"
        self.guest.check(f"ethtool -C {self.near} {times}")

    def prepare(self, microseconds: int) -> bool:
        """Has the NIC hold interrupts back that long, and gives it receive rings that take what
        arrives meanwhile. False when the driver cannot."""
        near = self.near
        result = self.guest.run(
            f"ethtool -C {near} rx-usecs {microseconds} tx-usecs {microseconds} &&"
            f"ethtool -G {near} rx 4096 rx-mini 2048 rx-jumbo 2048 &&"
            f"sleep 0.2 && wait_for 20 has_carrier {near}",
            40,
        )
        return result.status == 0

    def reopen(self, queues: int) -> dict[str, float]:
        """Closes the interface and opens it with another number of queues."""
        script = _REOPEN.format(near=self.near, number=queues)
        microseconds, kilobytes = self.guest.check(script, 90).split()[-2:]
        return {"open, ms": int(microseconds) / 1000, "memory, bytes": int(kilobytes) * 1024}

    def down(self) -> None:
        """Takes the near end away; a driver under test is unloaded."""
        self.guest.check(f"ip addr flush dev {self.near}; ip link set {self.near} down")
        if not self.nic.model:
            self.guest.check("unload_fbnic")


def bring_up(guest: Guest, nic: Nic) -> Link:
    """Loads the driver and waits until the far end answers."""
    if nic.model:
        script = ENDS + _BY_MAC + _PAIR_UP.format(
            module=nic.module, near=nic.mac(0), far=nic.mac(1), netns=nic.netns
        )
        return Link(guest, nic, guest.check(script, 90).split()[-1])
    took, near = guest.check(_FBNIC_UP.format(name=nic.name), 90).split()[-2:]
    return Link(guest, nic, near, int(took) / 1000, guest.emulator)
