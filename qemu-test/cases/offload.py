# SPDX-License-Identifier: GPL-2.0
"""Checksums by the device, compared byte for byte with the kernel's own.

Packets are handed to the driver as the stack would hand them over, with the sums left open. What the
device makes of them has to be what the kernel makes of them with offloads off.
"""

import random
import struct

from harness import netdev_genl, packets
from harness.case import case, same
from harness.offload import FAR_MAC, MARK_MAC, Request, arbitrary, compare, frame, many_queues, one_queue, plain, send
from harness.packets import GRE, SERVICE_VLAN, TCP, UDP, VLAN, Flow
from harness.vm import Guest

V4 = ("192.0.2.1", "192.0.2.2")
V6 = ("2001:db8::1", "2001:db8::2")

TAGS = ((), ((VLAN, 7),), ((SERVICE_VLAN, 8), (VLAN, 9)))
FLOWS = tuple(Flow(*ends, protocol, 1025, 40001) for ends in (V4, V6) for protocol in (TCP, UDP))


@case(rows=(16,))
def transmit_checksums(guest: Guest) -> None:
    """Checksums of TCP, UDP and anything else, at any place, with tags, options and every parity."""
    rng = random.Random(5)
    name = one_queue(guest)
    requests = [
        plain(flow, rng.randbytes(length), *tags)
        for flow in FLOWS
        for tags in TAGS
        for length in (1, 2, 63, 500, 1401)
    ]
    requests += [plain(FLOWS[0], rng.randbytes(333), options=bytes([1]) * count) for count in (4, 20, 40)]
    ping = Flow(*V6, packets.ICMP6)
    echo = struct.pack(">BBHHH", 128, 0, packets.pseudo_sum(ping, 608), 1, 2) + rng.randbytes(600)
    requests.append(Request(packets.offload_header(54, 2), frame(ping, echo)))
    inner = packets.transport(Flow(*V4, UDP, 5, 6), rng.randbytes(200), "partial")
    tunnel = b"\0\0" + packets.internet(Flow(*V4, UDP), inner)
    requests.append(Request(packets.offload_header(14 + 20 + 4 + 20, 6), frame(Flow(*V4, GRE), tunnel)))
    requests += [arbitrary(rng.randbytes(300), start, offset) for start, offset in ((20, 0), (24, 8), (60, 30), (20, 28))]
    compare(guest, requests, least=60)
    many_queues(guest, name)


@case(rows=(16,))
def transmit_beyond_limits(guest: Guest) -> None:
    """What the descriptor cannot express is left to the kernel, and comes out the same."""
    rng = random.Random(6)
    name = one_queue(guest)
    within = [arbitrary(rng.randbytes(1200), 14 + 510, 30), arbitrary(rng.randbytes(1200), 20, 30)]
    beyond = [
        # Odd places; a header longer than 510 bytes; a sum further than 30 bytes into its header.
        arbitrary(rng.randbytes(1200), 21, 0),
        arbitrary(rng.randbytes(1200), 14 + 512, 0),
        arbitrary(rng.randbytes(1200), 14 + 700, 10),
        arbitrary(rng.randbytes(1200), 20, 32),
        arbitrary(rng.randbytes(1200), 20, 301),
    ]
    counter = "tx_needs_csum"
    before = netdev_genl.read(guest).stats[counter]
    send(guest, name, beyond)
    same("checksums by the device beyond its limits", netdev_genl.read(guest).stats[counter] - before, 0)
    compare(guest, [*within, *beyond])
    many_queues(guest, name)


@case(rows=(16,))
def short_frames_padded(guest: Guest) -> None:
    """Frames below 60 bytes leave with 60, and what was added is zero."""
    rng = random.Random(8)
    name = guest.check("ready 1500; near_if").split()[-1]
    # A header of zeros asks for nothing.
    shorts = [packets.frame(FAR_MAC, MARK_MAC, b"\x88\xb5" + rng.randbytes(length)) for length in range(0, 50)]
    before = netdev_genl.read(guest).stats
    frames = send(guest, name, [Request(bytes(10), short) for short in shorts])
    want = sorted(short + bytes(max(0, 60 - len(short))) for short in shorts)
    same("frames", sorted(frames), want)
    # The MAC would do that, too; the driver has to do it before, and counts what it hands over.
    after = netdev_genl.read(guest).stats
    count, size = (after[key] - before[key] for key in ("tx_packets", "tx_bytes"))
    others = count - len(want)
    assert size >= sum(map(len, want)) + 60 * others, f"{count} frames with {size} bytes were handed over"
