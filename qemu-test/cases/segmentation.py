# SPDX-License-Identifier: GPL-2.0
"""Packets that the device cuts into segments, compared byte for byte with what the kernel would cut.

Plain TCP and UDP come out the same to the last bit, with the identifications of IPv4 counted up. In a
tunnel the device repeats all headers in front of the innermost TCP or UDP header as they are
(GSO_PARTIAL), so identifications of IPv4 stay what they are instead of counting up. The kernel asks
for permission to do that with `tx-tcp-mangleid-segmentation`. There they are left out of the comparison, the
checksums of the IPv4 headers are verified instead of compared.
"""

from dataclasses import dataclass

from harness import packets
from harness.case import case, same
from harness.offload import FAR_MAC, MARK_MAC, Request, compare, compare_parts, many_queues, one_queue
from harness.packets import SERVICE_VLAN, TCP, UDP, VLAN, Flow
from harness.vm import Guest

V4 = ("192.0.2.1", "192.0.2.2")
V6 = ("2001:db8::1", "2001:db8::2")
TAGS = ((), ((VLAN, 7),), ((SERVICE_VLAN, 8), (VLAN, 9)))
FLOWS = tuple(Flow(*ends, protocol, 1025, 40001) for ends in (V4, V6) for protocol in (TCP, UDP))
# FIN, PSH, ACK, ECE and CWR: some of them may only be in the first or the last segment.
ALL_FLAGS = 0xD9
_TIMESTAMP = bytes([1, 1, 8, 10]) + bytes(range(8))
_TXRX = "drivers/net/ethernet/meta/fbnic/fbnic_txrx.c"
_WIRE = "tx_hw_gso_wire_packets"


def _kind(flow: Flow, flags: int) -> int:
    """The type of segmentation in a `virtio_net_hdr`."""
    if flow.protocol == UDP:
        return 5
    ecn = 0x80 if flags & 0x80 else 0
    return ecn | (1 if flow.version == 4 else 4)


def _large(
    flow: Flow,
    length: int,
    size: int,
    *tags: tuple[int, int],
    flags: int = 0x18,
    options: bytes = b"",
    ip_options: bytes = b"",
    extension: bytes = b"",
    sequence: int = 1000,
    identification: int = 0x1234,
) -> Request:
    """A packet of `length` bytes of payload to be cut into segments with `size` of them each."""
    header = packets.large(flow, length, flags, options, sequence)
    outer = Flow(flow.source, flow.destination, 0) if extension else flow
    inside = packets.internet(
        outer, extension + header, ip_options, identification=identification, more=length
    )
    whole = packets.frame(FAR_MAC, MARK_MAC, inside, *tags)
    return _request(flow, whole, len(header), length, size, flags)


def _request(flow: Flow, headers: bytes, last: int, length: int, size: int, flags: int = 0x18) -> Request:
    """What asks for a packet to be cut; the last of its headers, that of TCP or UDP, has `last` bytes."""
    at = 16 if flow.protocol == TCP else 6
    kind = _kind(flow, flags)
    ask = packets.offload_header(len(headers) - last, at, kind, len(headers), size)
    return Request(ask, headers, length)


def _segments(requests: list[Request]) -> int:
    """How many segments all packets become."""
    return sum(-(-request.more // _size(request)) for request in requests)


def _size(request: Request) -> int:
    """Payload of a segment."""
    return int.from_bytes(request.header[4:6], "little")


@case(rows=(16,))
def segments_as_the_kernel_cuts(guest: Guest) -> None:
    """TSO and USO, IPv4 and IPv6: every segment is what the kernel would have made."""
    name = one_queue(guest)
    # The last segment is whole, one byte more or less than that, or so short that the MAC pads it.
    lengths = ((1448, 1449), (1448, 2896), (1448, 4343), (1000, 9001), (536, 20000), (8, 73), (16, 33))
    requests = [
        _large(flow, length, size, *tags)
        for flow in FLOWS
        for tags in TAGS
        for size, length in lengths
    ]
    requests += [_large(flow, 60000, 1400) for flow in FLOWS if flow.protocol == TCP]
    requests += [_large(flow, 1400 * 40 + 77, 1400) for flow in FLOWS if flow.protocol == UDP]
    requests += [_large(flow, 4000, 1300) for flow in FLOWS for _ in range(10)]
    compare(guest, requests, counter=_WIRE, least=_segments(requests))
    many_queues(guest, name)


@case(rows=(16,), c_bug=f"{_TXRX}:438 pads a packet to 60 bytes before it is cut: the padding is sent as payload")
def tiny_datagrams(guest: Guest) -> None:
    """A few bytes in segments of one or two: a packet shorter than a frame may be."""
    name = one_queue(guest)
    requests = [
        _large(flow, length, size) for flow in FLOWS if flow.protocol == UDP for size in (1, 2) for length in range(3, 20)
    ]
    # IPv6 is long enough with few of them.
    compare(guest, requests, counter=_WIRE, least=60)
    many_queues(guest, name)


@case(rows=(16,))
def segments_with_all_fields(guest: Guest) -> None:
    """Flags, options, extension headers, and numbers that wrap, in every segment where they belong."""
    name = one_queue(guest)
    tcp = [flow for flow in FLOWS if flow.protocol == TCP]
    requests = [
        _large(flow, length, 1000, flags=flags, options=options)
        for flow in tcp
        for flags in (0x10, 0x18, 0x11, 0x90, ALL_FLAGS)
        for options in (b"", _TIMESTAMP, bytes([1]) * 40)
        for length in (1000, 1001, 2000, 3500)
    ]
    requests += [_large(flow, 3000, 999, sequence=0xFFFFFF00) for flow in tcp]
    for flow in (flow for flow in FLOWS if flow.version == 4):
        requests += [_large(flow, 3000, 700, identification=number) for number in (0, 0xFFFE)]
        requests += [_large(flow, 3000, 700, ip_options=bytes([1]) * count) for count in (4, 40)]
    for flow in (flow for flow in FLOWS if flow.version == 6):
        hop = bytes([flow.protocol, 0, 1, 4, 0, 0, 0, 0])
        requests.append(_large(flow, 3000, 700, extension=hop))
    # What fits into one segment is not cut.
    single = sum(1 for request in requests if request.more <= _size(request))
    compare(guest, requests, counter=_WIRE, least=_segments(requests) - single)
    many_queues(guest, name)


@dataclass(frozen=True)
class Tunnel:
    """A tunnel through the NIC under test."""

    link: str
    """Type and options for `ip link add`."""
    outer: int
    """The version of IP that carries it."""
    module: str
    inner: tuple[int, ...] = (4, 6)
    """The versions of IP in it."""
    ethernet: bool = False
    """Whether it carries frames rather than packets."""
    sums: bool = False
    """Whether it has checksums of its own."""
    cut: tuple[int, ...] = (4, 6)
    """The versions of IP that the device cuts in it."""


TUNNELS = (
    Tunnel("gre key 1", 4, "ip_gre"),
    Tunnel("gre key 2 ocsum", 4, "ip_gre", sums=True),
    Tunnel("gretap key 3", 4, "ip_gre", ethernet=True),
    Tunnel("gretap key 4 ocsum", 4, "ip_gre", ethernet=True, sums=True),
    Tunnel("ip6gre key 5", 6, "ip6_gre"),
    Tunnel("ip6gretap key 6", 6, "ip6_gre", ethernet=True),
    Tunnel("ipip", 4, "ipip", inner=(4,)),
    Tunnel("sit", 4, "sit", inner=(6,)),
    Tunnel("ip6tnl mode any", 6, "ip6_tunnel", cut=(6,)),
    Tunnel("vxlan id 1 dstport 4789 noudpcsum", 4, "vxlan", ethernet=True),
    Tunnel("vxlan id 2 dstport 4789 udpcsum", 4, "vxlan", ethernet=True, sums=True),
    Tunnel("vxlan id 3 dstport 4789 udp6zerocsumtx", 6, "vxlan", ethernet=True),
    Tunnel("vxlan id 4 dstport 4789", 6, "vxlan", ethernet=True, sums=True),
)
# Identifications may only be repeated in what is never fragmented.
_DONT_FRAGMENT = 0x4000
_INSIDE = ((1200, 1201), (1200, 2400), (1000, 9321), (300, 8011), (11, 101))
INNER = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:5eed::1", "2001:db8:5eed::2")}


def _inside(tunnel: Tunnel, flow: Flow, length: int, size: int) -> Request:
    """A large packet for the tunnel's own interface."""
    header = packets.large(flow, length, ALL_FLAGS & 0x7F)
    packet = packets.internet(flow, header, fragment=_DONT_FRAGMENT, more=length)
    whole = packets.frame("02:00:00:00:00:22", MARK_MAC, packet) if tunnel.ethernet else packet[2:]
    return _request(flow, whole, len(header), length, size)


def _without_identifications(frame: bytes) -> bytes:
    """A frame from a tunnel without what may differ. All IPv4 headers in it have to be right."""
    data = bytearray(frame)
    inner = frame.find(packets.ip(INNER[4][0]))
    headers = [14] if frame[12:14] == b"\x08\x00" else []
    for at in headers + ([inner - 12] if inner > 0 else []):
        size = (frame[at] & 15) * 4
        same(f"sum of the IPv4 header at {at}", packets.ones_sum(frame[at : at + size]), 0xFFFF)
        data[at + 4 : at + 6] = data[at + 10 : at + 12] = bytes(2)
    return bytes(data)


def _set_up(guest: Guest) -> None:
    for number, tunnel in enumerate(TUNNELS):
        local, remote = V4 if tunnel.outer == 4 else V6
        guest.check(
            f"load_extra {tunnel.module}; dev=$(near_if);"
            f" ip link add tunnel{number} type {tunnel.link} local {local} remote {remote} dev $dev &&"
            f" ip link set tunnel{number} addrgenmode none && ip link set tunnel{number} up"
        )


def _through_tunnels(guest: Guest, protocol: int) -> None:
    """Sends large packets through all tunnels."""
    name = one_queue(guest)
    _set_up(guest)
    parts, least = [], 0
    for number, tunnel in enumerate(TUNNELS):
        for version in tunnel.inner:
            flow = Flow(*INNER[version], protocol, 1025, 40001)
            requests = [_inside(tunnel, flow, length, size) for size, length in _INSIDE]
            parts.append((f"tunnel{number}", requests))
            # UDP is left to the kernel where the outer checksum would be wrong.
            if version in tunnel.cut and not (protocol == UDP and tunnel.sums):
                # A remainder is sent by itself.
                least += _segments(requests) - len(requests)
    compare_parts(guest, parts, _is_from_tunnel, _without_identifications, _WIRE, least)
    guest.check(f"for i in {{0..{len(TUNNELS) - 1}}}; do ip link del tunnel$i; done")
    many_queues(guest, name)


def _is_from_tunnel(frame: bytes) -> bool:
    """Whether a frame is one of ours, and no answer that quotes one."""
    sources = (packets.ip(source) for source, _ in INNER.values())
    return frame[6:12] != packets.mac(FAR_MAC) and any(source in frame for source in sources)


@case(rows=(16,))
def tcp_segments_in_tunnels(guest: Guest) -> None:
    """TCP in GRE, IP in IP and VXLAN, over IPv4 and IPv6, with outer checksums and without."""
    _through_tunnels(guest, TCP)


@case(rows=(16,), c_bug=f"{_TXRX}:241 takes a length out of the checksum of UDP in a tunnel that is not in it")
def udp_segments_in_tunnels(guest: Guest) -> None:
    """The same with UDP, whose checksum the kernel leaves with the length of a segment."""
    _through_tunnels(guest, UDP)
