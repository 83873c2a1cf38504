# SPDX-License-Identifier: GPL-2.0
"""What a driver says of each packet it receives, from the kernel's tracepoints at the doors of GRO."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .vm import Guest
from .wire import Wire

# A driver takes one of them: with the headers in place, or with all of the packet in pieces.
_EVENTS = "/sys/kernel/tracing/events/net/napi_gro_{receive,frags}_entry/enable"
_START = f"""
cd /sys/kernel/tracing
echo 0 >tracing_on; echo >trace
for event in {_EVENTS}; do echo 1 >$event; done; echo 1 >tracing_on
"""
_STOP = f"cd /sys/kernel/tracing; echo 0 >tracing_on; for event in {_EVENTS}; do echo 0 >$event; done; cat trace; echo >trace"
_ETHERNET = 14
# Values of ip_summed.
NONE, UNNECESSARY, COMPLETE = 0, 1, 2


@dataclass(frozen=True)
class Packet:
    """A received packet, in the kernel's words."""

    queue: int
    ip_summed: int
    hash: int
    l4_hash: bool
    length: int
    """Of the whole frame, in bytes."""
    linear: int
    """Bytes of it in front of the pieces: what is in the header buffer, or the Ethernet header."""
    frags: int
    """Pieces that the rest is in."""


def receive(guest: Guest, frames: Sequence[bytes], seconds: float = 0.3) -> list[Packet]:
    """Puts frames on the cable and returns what the driver under test made of them.

    The frames have to be for that driver, and larger than 200 bytes to be told from others; those
    of a queue come in order. They leave in bursts that the smallest ring holds.
    """
    name = guest.check(f"near_if; {_START}").split()[0]
    with guest.wire() as wire:
        _send(wire, frames, seconds)
    lines = guest.check(_STOP).splitlines()
    packets = [_packet(line) for line in lines if f" dev={name} " in line]
    return [packet for packet in packets if packet.length > 200]


def _send(wire: Wire, frames: Sequence[bytes], seconds: float) -> None:
    for start in range(0, len(frames), 16):
        wire.send(*frames[start : start + 16])
        wire.receive(0.02)
    wire.receive(seconds)


def _packet(line: str) -> Packet:
    words = dict(re.findall(r"(\w+)=(\S+)", line))
    length, data = int(words["len"]), int(words["data_len"])
    return Packet(
        queue=int(words["queue_mapping"]) - 1,
        ip_summed=int(words["ip_summed"]),
        hash=int(words["hash"], 16),
        l4_hash=words["l4_hash"] == "1",
        length=length + _ETHERNET,
        linear=length - data + _ETHERNET,
        frags=int(words["nr_frags"]),
    )
