# SPDX-License-Identifier: GPL-2.0
"""What passes between the markers when instructions are counted.

Each workload makes the traffic from kernel code or one small program, so that the number of
packets is known and the same for every driver. Packets towards the NIC under test carry an IP
address the guest does not own: they go through the driver and GRO, and the IP layer drops them.
Packets from it carry a MAC address that the far end's NIC does not take, so that receiving them
costs the guest nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.vm import GuestError

from . import build
from .nics import Link

MARK = build.in_guest(build.MARK)
# 198.18.0.0/15 is for benchmarks (RFC 2544); no route leads there.
FOREIGN = "198.18.0.1"
NOBODY = "02:00:00:00:ff:ff"
# No completion nor packet has arrived for this long when a burst and when counting ends, in
# milliseconds.
PAUSE = 20
SETTLE = 100
TAG = 1


# The emulated NIC's own count of frames it has placed in the guest's memory.
PLACED = "rx_placed"


class Unsupported(Exception):
    """A driver cannot do what a row needs; the text says why."""


@dataclass(frozen=True)
class Bursts:
    """So many packets at a time, so many times.

    Interrupts are held back for longer than a burst takes, also on a slow machine. So each burst
    costs the same number of interrupts and polls, and what they cost is spread over the same number
    of packets.
    """

    length: int
    number: int = 32

    @property
    def packets(self) -> int:
        """All packets to send."""
        return self.length * self.number


# What sends them over a link.
Sender = Callable[[Link, Bursts], None]


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    title: str
    # Packets to send, or for TCP what the NIC or its far end cuts into them.
    bursts: Bursts
    run: Sender
    # Which counter says how many packets passed: one of the near end's interface, or PLACED;
    # "" when `bursts` does.
    statistic: str = ""
    # The least share of them that has to arrive.
    share: float = 0.5

    @property
    def idle(self) -> bool:
        """Whether nothing is sent, and the driver's own work is counted by the second."""
        return self.bursts.packets == 0


def _direction(link: Link, end: str) -> tuple[str, str]:
    """The interface that sends and the MAC address it sends to."""
    return (link.near, NOBODY) if end == "near" else ("far0", link.mac())


def _pktgen(link: Link, end: str, bursts: Bursts, options: dict[str, object], flows: int) -> None:
    """Sends with pktgen from the "near" or "far" end, between the markers."""
    device, peer = _direction(link, end)
    settings = {"delay": 0, "dst": FOREIGN, "dst_mac": peer} | options
    lines = "\n".join(f'echo "{k} {v}" >$pg/{device} || exit 1' for k, v in settings.items())
    script = f"""
pg=/proc/net/pktgen
echo rem_device_all >$pg/kpktgend_0
# pktgen's thread removes them when it gets to run, and until then the device is busy.
for try in {{1..100}}; do
	echo "add_device {device}" 2>/dev/null >$pg/kpktgend_0 && break
	sleep 0.1
done
{lines}
{MARK} pktgen {_plan(device, bursts)} {flows} || {{ cat $pg/{device}; exit 1; }}
"""
    if end == "far":
        script = f"ip netns exec {link.nic.netns} bash -s <<'SCRIPT'\n{script}\nSCRIPT"
    link.guest.check(f"modprobe pktgen\n{script}", 120)


def _plan(device: str, bursts: Bursts) -> str:
    """The words that both senders begin with."""
    return f"{TAG} {SETTLE} {bursts.number} {PAUSE} {device} {bursts.length}"


def tx(size: int, **options: object) -> Sender:
    """Frames of `size` bytes without FCS from the NIC under test."""
    return lambda link, bursts: _pktgen(link, "near", bursts, {"pkt_size": size} | options, 0)


def rx(size: int, flows: int = 0) -> Sender:
    """Frames of `size` bytes without FCS towards the NIC under test, of one UDP flow or more."""
    options: dict[str, object] = {"pkt_size": size}
    if flows:
        options |= {"udp_src_min": 1024, "udp_src_max": 1024 + flows, "udp_dst_min": 9, "udp_dst_max": 9}
    return lambda link, bursts: _pktgen(link, "far", bursts, options, flows)


def _xdp(verdict: str, size: int) -> Sender:
    """As `rx`, with an XDP program that says the same of every frame."""

    def run(link: Link, bursts: Bursts) -> None:
        program = build.in_guest(build.XDP)
        attached = link.guest.run(f"{program} {link.near} {verdict} 2>&1")
        if attached.status:
            raise Unsupported(attached.output.strip().rpartition(": ")[2])
        try:
            rx(size)(link, bursts)
        finally:
            link.guest.run(f"kill {attached.output.strip()}")

    return run


def _lso(end: str, payload: int) -> Sender:
    def run(link: Link, bursts: Bursts) -> None:
        device, peer = _direction(link, end)
        command = (
            f"{MARK} lso {_plan(device, bursts)} {peer} 198.18.0.2 {FOREIGN} 1448 {payload}"
        )
        if end == "far":
            link.far(command, 120)
        else:
            link.guest.check(command, 120)

    return run


# A payload that fills 44 segments of 1448 bytes.
LARGE = 44 * 1448

# How many packets fit into the time for which interrupts are held back, with as much to spare.
SENT, FRAGMENTED, SEGMENTED, RECEIVED = Bursts(96), Bursts(48), Bursts(16), Bursts(192)
# Each of these becomes 44 packets.
MERGED = Bursts(4)
# What one poll can take: how many are sent by the next one depends on how fast the NIC is.
RETURNED = Bursts(48)

def _nothing(_link: Link, _bursts: Bursts) -> None:
    """The driver is left alone."""


COUNTED = [
    Workload("tx-small", "Tx 60 B", SENT, tx(60)),
    Workload("tx-burst", "Tx 60 B, bursts of 16", SENT, tx(60, burst=16)),
    Workload("tx-1500", "Tx 1514 B, 3 fragments", FRAGMENTED, tx(1514, frags=3)),
    Workload("tx-tso", "Tx TSO, 63,712 B", SEGMENTED, _lso("near", LARGE)),
    Workload("rx-small", "Rx 60 B", RECEIVED, rx(60), "rx_packets"),
    Workload("rx-1500", "Rx 1514 B", RECEIVED, rx(1514), "rx_packets"),
    Workload("rx-gro", "Rx TCP with GRO, 1502 B", MERGED, _lso("far", LARGE), "rx_packets"),
    Workload("xdp-drop", "Rx 60 B, XDP_DROP", RECEIVED, _xdp("drop", 60), PLACED),
    Workload("xdp-tx", "Rx 60 B, XDP_TX", RETURNED, _xdp("tx", 60), PLACED),
    Workload("idle", "nothing to do, per turn of 1 s", Bursts(0), _nothing),
]
BY_NAME = {workload.name: workload for workload in COUNTED}


def run(link: Link, workload: Workload, moved: Callable[[], dict[str, int]]) -> int:
    """Runs a workload and returns how many packets passed. `moved` tells what the emulated NIC has
    counted since the start."""
    sent = workload.bursts.packets
    if not workload.statistic:
        workload.run(link, workload.bursts)
        return sent
    if workload.statistic == PLACED:
        workload.run(link, workload.bursts)
        packets = moved().get(PLACED, sent)
    else:
        before = link.statistic(workload.statistic)
        workload.run(link, workload.bursts)
        packets = link.statistic(workload.statistic) - before
    if packets < max(1, sent * workload.share):
        raise GuestError(f"{workload.name}: only {packets} of {sent} packets arrived")
    return packets
