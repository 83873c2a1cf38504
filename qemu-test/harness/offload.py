# SPDX-License-Identifier: GPL-2.0
"""Packets handed to the driver as the stack would, with work for the device, and what becomes of them.

What the device makes of them has to be, on the cable, what the kernel makes of them with offloads off.
"""

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass

from . import netdev_genl, packets
from .case import same
from .packets import TCP, Flow
from .vm import Guest

FAR_MAC, MARK_MAC = "02:00:00:00:00:02", "02:00:00:00:5e:ed"
OFF = "tso off tx-udp-segmentation off tx off"
# "tso" comes with the leave to repeat identifications of IPv4 (tx-tcp-mangleid-segmentation).
ON = "tx on tso on tx-udp-segmentation on"
# Bytes of packets that one command to the guest carries.
_BATCH = 100_000


@dataclass(frozen=True)
class Request:
    """A packet for the driver with what it asks for."""

    header: bytes
    packet: bytes
    more: int = 0
    """Random bytes at the end of the packet, which the sender in the guest makes up."""

    def line(self) -> str:
        """For the frame sender in the guest."""
        return f"{(self.header + self.packet).hex()} {self.more}"


# Packets, and the interface that they are handed to.
Part = tuple[str, list[Request]]


def frame(flow: Flow, segment: bytes, *tags: tuple[int, int], options: bytes = b"") -> bytes:
    """A frame to the far end whose source address no other frame has."""
    return packets.frame(FAR_MAC, MARK_MAC, packets.internet(flow, segment, options), *tags)


def plain(flow: Flow, payload: bytes, *tags: tuple[int, int], options: bytes = b"") -> Request:
    """A packet whose checksum is left open."""
    segment = packets.transport(flow, payload, "partial")
    whole = frame(flow, segment, *tags, options=options)
    at = 16 if flow.protocol == TCP else 6
    return Request(packets.offload_header(len(whole) - len(segment), at), whole)


def arbitrary(data: bytes, start: int, offset: int, ethertype: int = packets.EXPERIMENTAL) -> Request:
    """A checksum over what begins at `start`, of no protocol that anybody knows."""
    whole = packets.frame(FAR_MAC, MARK_MAC, struct.pack(">H", ethertype) + data)
    return Request(packets.offload_header(start, offset), whole)


def is_marked(frame: bytes) -> bool:
    """Whether a frame on the cable is one of `frame`."""
    return frame[6:12] == packets.mac(MARK_MAC)


def send(
    guest: Guest, interface: str, requests: list[Request], marked: Callable[[bytes], bool] = is_marked
) -> list[bytes]:
    """Hands packets to an interface and returns the frames on the cable that they became."""
    return _send(guest, [(interface, part) for part in _batches(requests)], marked)


def _send(guest: Guest, parts: list[Part], marked: Callable[[bytes], bool]) -> list[bytes]:
    def work() -> None:
        for interface, requests in parts:
            lines = "\n".join(request.line() for request in requests)
            result = guest.run(f"/guest/files/frames send {interface} <<'END'\n{lines}\nEND")
            assert result.status == 0, f"the sender on {interface} says: {result.output[:200]}"

    with guest.wire() as wire:
        return [frame for frame in wire.during(work) if marked(frame)]


def compare(
    guest: Guest,
    requests: list[Request],
    counter: str = "tx_needs_csum",
    least: int = 1,
) -> list[bytes]:
    """Sends the same packets with and without offloads, as `compare_parts`, on the NIC itself."""
    name = guest.check("near_if").strip()
    return compare_parts(guest, [(name, part) for part in _batches(requests)], counter=counter, least=least)


def compare_parts(
    guest: Guest,
    parts: list[Part],
    marked: Callable[[bytes], bool] = is_marked,
    comparable: Callable[[bytes], bytes] = bytes,
    counter: str = "tx_needs_csum",
    least: int = 1,
) -> list[bytes]:
    """Sends the same packets with and without offloads; both have to be the same on the cable.

    The interfaces may be some on top of the NIC. `counter` of the driver has to tell that the device
    did at least `least` of it, and then nothing. Returns what came with offloads.
    """
    name = guest.check("near_if").strip()
    counts, outcomes = [netdev_genl.totals(guest)[counter]], []
    for offloads in (ON, OFF):
        guest.check(f"ethtool -K {name} {offloads} >/dev/null")
        outcomes.append(_send(guest, parts, marked))
        counts.append(netdev_genl.totals(guest)[counter])
    guest.check(f"ethtool -K {name} {ON} tx-tcp-mangleid-segmentation off >/dev/null")
    _same_frames(*([comparable(frame) for frame in frames] for frames in outcomes))
    by_device, by_kernel = (after - before for before, after in itertools.pairwise(counts))
    assert by_device >= least, f"{counter} grew by {by_device}, not {least}: the kernel did the work"
    same(f"{counter} without offloads", by_kernel, 0)
    print(f"{len(outcomes[0])} frames, {counter} {by_device}")
    return outcomes[0]


def _same_frames(by_device: list[bytes], by_kernel: list[bytes]) -> None:
    assert by_kernel, "nothing came"
    for number, (one, other) in enumerate(zip(by_device, by_kernel)):
        if one != other:
            pairs = enumerate(itertools.zip_longest(one, other))
            at = next(index for index, (a, b) in pairs if a != b)
            raise AssertionError(
                f"frame {number}, {len(one)} bytes by the device and {len(other)} by the kernel,"
                f" differs at {at}: {one[:120].hex()} and {other[:120].hex()}"
            )
    same("frames", len(by_device), len(by_kernel))


def _batches(requests: list[Request]) -> list[list[Request]]:
    """In pieces that a command to the guest can carry."""
    batches: list[list[Request]] = [[]]
    for request in requests:
        if sum(len(r.packet) for r in batches[-1]) > _BATCH:
            batches.append([])
        batches[-1].append(request)
    return batches


def one_queue(guest: Guest) -> str:
    """One queue and one line to it, so that frames leave in the order in which they are sent."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 1; tc qdisc replace dev {name} root handle 1: pfifo limit 2000; ready 1500")
    return name


def many_queues(guest: Guest, name: str) -> None:
    """Undoes `one_queue`."""
    guest.check(f"tc qdisc del dev {name} root; ethtool -L {name} combined 2; ready 1500")
