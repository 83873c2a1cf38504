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
# No completion nor packet has arrived for this long when counting ends, in milliseconds.
SETTLE = 400
TAG = 1


# The emulated NIC's own count of frames it has placed in the guest's memory.
PLACED = "rx_placed"


class Unsupported(Exception):
    """A driver cannot do what a row needs; the text says why."""


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    title: str
    # Packets to send.
    count: int
    run: Callable[[Link, int], None]
    # Which counter says how many packets passed: one of the near end's interface, or PLACED;
    # "" when `count` does.
    statistic: str = ""
    # The least share of them that has to arrive.
    share: float = 0.5


def _direction(link: Link, end: str) -> tuple[str, str]:
    """The interface that sends and the MAC address it sends to."""
    return (link.near, NOBODY) if end == "near" else ("far0", link.mac())


def _pktgen(link: Link, end: str, count: int, options: dict[str, object]) -> None:
    """Sends `count` packets with pktgen from the "near" or "far" end, between the markers."""
    device, peer = _direction(link, end)
    settings = {"count": count, "delay": 0, "dst": FOREIGN, "dst_mac": peer} | options
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
{MARK} window {TAG} {SETTLE} $pg/pgctrl start $pg/{device} usec, || exit 1
grep -q '^Result: OK' $pg/{device} || {{ cat $pg/{device}; exit 1; }}
"""
    if end == "far":
        script = f"ip netns exec {link.nic.netns} bash -s <<'SCRIPT'\n{script}\nSCRIPT"
    link.guest.check(f"modprobe pktgen\n{script}", 120)


def tx(size: int, **options: object) -> Callable[[Link, int], None]:
    """Frames of `size` bytes without FCS from the NIC under test."""
    return lambda link, count: _pktgen(link, "near", count, {"pkt_size": size} | options)


def rx(size: int, **options: object) -> Callable[[Link, int], None]:
    """Frames of `size` bytes without FCS towards the NIC under test."""
    return lambda link, count: _pktgen(link, "far", count, {"pkt_size": size} | options)


def _xdp(verdict: str, size: int) -> Callable[[Link, int], None]:
    """As `rx`, with an XDP program that says the same of every frame."""

    def run(link: Link, count: int) -> None:
        program = build.in_guest(build.XDP)
        attached = link.guest.run(f"{program} {link.near} {verdict} 2>&1")
        if attached.status:
            raise Unsupported(attached.output.strip().rpartition(": ")[2])
        try:
            _pktgen(link, "far", count, {"pkt_size": size})
        finally:
            link.guest.run(f"kill {attached.output.strip()}")

    return run


def _lso(end: str, payload: int) -> Callable[[Link, int], None]:
    def run(link: Link, count: int) -> None:
        device, peer = _direction(link, end)
        command = (
            f"{MARK} lso {TAG} {SETTLE} {device} {peer} 198.18.0.2 {FOREIGN} "
            f"1448 {payload} {count}"
        )
        if end == "far":
            link.far(command, 120)
        else:
            link.guest.check(command, 120)

    return run


# A payload that fills 44 segments of 1448 bytes.
LARGE = 44 * 1448

COUNTED = [
    Workload("tx-small", "Tx 60 B", 10000, tx(60)),
    Workload("tx-burst", "Tx 60 B, bursts of 16", 16000, tx(60, burst=16)),
    Workload("tx-1500", "Tx 1514 B, 3 fragments", 10000, tx(1514, frags=3)),
    Workload("tx-tso", "Tx TSO, 63,712 B", 1000, _lso("near", LARGE)),
    Workload("rx-small", "Rx 60 B", 10000, rx(60), "rx_packets"),
    Workload("rx-1500", "Rx 1514 B", 10000, rx(1514), "rx_packets"),
    Workload("rx-gro", "Rx TCP with GRO, 1502 B", 400, _lso("far", LARGE), "rx_packets"),
    Workload("xdp-drop", "Rx 60 B, XDP_DROP", 10000, _xdp("drop", 60), PLACED),
    Workload("xdp-tx", "Rx 60 B, XDP_TX", 10000, _xdp("tx", 60), PLACED),
]
BY_NAME = {workload.name: workload for workload in COUNTED}


def run(link: Link, workload: Workload, moved: Callable[[], dict[str, int]]) -> int:
    """Runs a workload and returns how many packets passed. `moved` tells what the emulated NIC has
    counted since the start."""
    if not workload.statistic:
        workload.run(link, workload.count)
        return workload.count
    if workload.statistic == PLACED:
        workload.run(link, workload.count)
        packets = moved().get(PLACED, workload.count)
    else:
        before = link.statistic(workload.statistic)
        workload.run(link, workload.count)
        packets = link.statistic(workload.statistic) - before
    if packets < max(1, workload.count * workload.share):
        raise GuestError(f"{workload.name}: only {packets} of {workload.count} packets arrived")
    return packets
