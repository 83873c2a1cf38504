# SPDX-License-Identifier: GPL-2.0
"""Checksums by the device, compared byte for byte with the kernel's own.

Packets are handed to the driver as the stack would hand them over, with the sums left open. What the
device makes of them has to be what the kernel makes of them with offloads off.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from harness import netdev_genl, packets
from harness.case import case, same
from harness.packets import GRE, TCP, UDP, VLAN, SERVICE_VLAN, Flow
from harness.vm import Guest

FAR_MAC, MARK_MAC = "02:00:00:00:00:02", "02:00:00:00:5e:ed"
V4 = ("192.0.2.1", "192.0.2.2")
V6 = ("2001:db8::1", "2001:db8::2")
OFF = "tso off tx-udp-segmentation off tx off"
ON = "tx on tso on tx-udp-segmentation on"


@dataclass(frozen=True)
class Request:
    """A packet for the driver with what it asks for."""

    header: bytes
    packet: bytes

    def line(self) -> str:
        """For the frame sender in the guest."""
        return (self.header + self.packet).hex()


def _frame(flow: Flow, segment: bytes, *tags: tuple[int, int], options: bytes = b"") -> bytes:
    return packets.frame(FAR_MAC, MARK_MAC, packets.internet(flow, segment, options), *tags)


def _plain(flow: Flow, payload: bytes, *tags: tuple[int, int], options: bytes = b"") -> Request:
    """A packet whose checksum is left open."""
    segment = packets.transport(flow, payload, "partial")
    frame = _frame(flow, segment, *tags, options=options)
    at = 16 if flow.protocol == TCP else 6
    return Request(packets.offload_header(len(frame) - len(segment), at), frame)


def _arbitrary(data: bytes, start: int, offset: int, ethertype: int = packets.EXPERIMENTAL) -> Request:
    """A checksum over what begins at `start`, of no protocol that anybody knows."""
    frame = packets.frame(FAR_MAC, MARK_MAC, struct.pack(">H", ethertype) + data)
    return Request(packets.offload_header(start, offset), frame)


def _send(guest: Guest, interface: str, requests: list[Request], marked: Callable[[bytes], bool]) -> list[bytes]:
    """Hands packets to the driver and returns the frames on the cable that they became."""
    with guest.wire() as wire:
        lines = "\n".join(request.line() for request in requests)
        command = f"/guest/files/frames send {interface} <<'END'\n{lines}\nEND"
        results = []
        frames = wire.during(lambda: results.append(guest.run(command)))
        same("status of the sender", (results[0].status, results[0].output[:200]), (0, results[0].output[:200]))
        return [frame for frame in frames if marked(frame)]


def _is_marked(frame: bytes) -> bool:
    return frame[6:12] == packets.mac(MARK_MAC)


def _compare(
    guest: Guest,
    requests: list[Request],
    interface: str = "",
    marked: Callable[[bytes], bool] = _is_marked,
    comparable: Callable[[bytes], bytes] = bytes,
    counter: str = "tx_needs_csum",
    least: int = 1,
) -> list[bytes]:
    """Sends the same packets with and without offloads; both have to be the same on the cable.

    `counter` of the driver has to tell that the device did at least `least` of it, and then nothing.
    """
    name = guest.check("near_if").strip()
    interface = interface or name
    outcomes, work = [], []
    for offloads in (ON, OFF):
        guest.check(f"ethtool -K {name} {offloads} >/dev/null")
        before = netdev_genl.read(guest).stats[counter]
        frames = [frame for request in _batches(requests) for frame in _send(guest, interface, request, marked)]
        outcomes.append([comparable(frame) for frame in frames])
        work.append(netdev_genl.read(guest).stats[counter] - before)
    guest.check(f"ethtool -K {name} {ON} >/dev/null")
    assert outcomes[1], "nothing came"
    same("frames", len(outcomes[0]), len(outcomes[1]))
    for number, (by_device, by_kernel) in enumerate(zip(*outcomes)):
        if by_device != by_kernel:
            at = next(i for i, pair in enumerate(zip(by_device, by_kernel)) if len({*pair}) > 1)
            raise AssertionError(f"frame {number} differs at {at}: {by_device[:120].hex()} and {by_kernel[:120].hex()}")
    assert work[0] >= least, f"{counter} grew by {work[0]}, not {least}: the kernel did the work"
    same(f"{counter} without offloads", work[1], 0)
    print(f"{len(outcomes[0])} frames, {counter} {work[0]}")
    return outcomes[0]


def _batches(requests: list[Request]) -> list[list[Request]]:
    """In pieces that a command to the guest can carry."""
    batches: list[list[Request]] = [[]]
    for request in requests:
        if sum(len(r.packet) for r in batches[-1]) > 100_000:
            batches.append([])
        batches[-1].append(request)
    return batches


def _one_queue(guest: Guest) -> str:
    """One queue and one line to it, so that frames leave in the order in which they are sent."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 1; tc qdisc replace dev {name} root handle 1: pfifo limit 2000; ready 1500")
    return name


def _many_queues(guest: Guest, name: str) -> None:
    guest.check(f"tc qdisc del dev {name} root; ethtool -L {name} combined 2; ready 1500")


TAGS = ((), ((VLAN, 7),), ((SERVICE_VLAN, 8), (VLAN, 9)))
FLOWS = tuple(Flow(*ends, protocol, 1025, 40001) for ends in (V4, V6) for protocol in (TCP, UDP))


@case(rows=(16,))
def transmit_checksums(guest: Guest) -> None:
    """Checksums of TCP, UDP and anything else, at any place, with tags, options and every parity."""
    rng = random.Random(5)
    name = _one_queue(guest)
    requests = [
        _plain(flow, rng.randbytes(length), *tags)
        for flow in FLOWS
        for tags in TAGS
        for length in (1, 2, 63, 500, 1401)
    ]
    requests += [_plain(FLOWS[0], rng.randbytes(333), options=bytes([1]) * count) for count in (4, 20, 40)]
    ping = Flow(*V6, packets.ICMP6)
    echo = struct.pack(">BBHHH", 128, 0, packets.pseudo_sum(ping, 608), 1, 2) + rng.randbytes(600)
    requests.append(Request(packets.offload_header(54, 2), _frame(ping, echo)))
    inner = packets.transport(Flow(*V4, UDP, 5, 6), rng.randbytes(200), "partial")
    tunnel = b"\0\0" + packets.internet(Flow(*V4, UDP), inner)
    requests.append(Request(packets.offload_header(14 + 20 + 4 + 20, 6), _frame(Flow(*V4, GRE), tunnel)))
    requests += [_arbitrary(rng.randbytes(300), start, offset) for start, offset in ((20, 0), (24, 8), (60, 30), (20, 28))]
    _compare(guest, requests, least=60)
    _many_queues(guest, name)


@case(rows=(16,))
def transmit_beyond_limits(guest: Guest) -> None:
    """What the descriptor cannot express is left to the kernel, and comes out the same."""
    rng = random.Random(6)
    name = _one_queue(guest)
    within = [_arbitrary(rng.randbytes(1200), 14 + 510, 30), _arbitrary(rng.randbytes(1200), 20, 30)]
    beyond = [
        # Odd places; a header longer than 510 bytes; a sum further than 30 bytes into its header.
        _arbitrary(rng.randbytes(1200), 21, 0),
        _arbitrary(rng.randbytes(1200), 14 + 512, 0),
        _arbitrary(rng.randbytes(1200), 14 + 700, 10),
        _arbitrary(rng.randbytes(1200), 20, 32),
        _arbitrary(rng.randbytes(1200), 20, 301),
    ]
    counter = "tx_needs_csum"
    before = netdev_genl.read(guest).stats[counter]
    _send(guest, name, beyond, _is_marked)
    same("checksums by the device beyond its limits", netdev_genl.read(guest).stats[counter] - before, 0)
    _compare(guest, [*within, *beyond])
    _many_queues(guest, name)


@case(rows=(16,))
def short_frames_padded(guest: Guest) -> None:
    """Frames below 60 bytes leave with 60, and what was added is zero."""
    rng = random.Random(8)
    name = guest.check("ready 1500; near_if").split()[-1]
    # A header of zeros asks for nothing.
    shorts = [packets.frame(FAR_MAC, MARK_MAC, b"\x88\xb5" + rng.randbytes(length)) for length in range(0, 50)]
    frames = _send(guest, name, [Request(bytes(10), frame) for frame in shorts], _is_marked)
    want = sorted(frame + bytes(max(0, 60 - len(frame))) for frame in shorts)
    same("frames", sorted(frames), want)
