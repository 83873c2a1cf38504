# SPDX-License-Identifier: GPL-2.0
"""Packets put together by hand, and the sums a NIC computes over them."""

import ipaddress
import struct
from dataclasses import dataclass

IPV4, IPV6, VLAN, SERVICE_VLAN, EXPERIMENTAL = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x88B5
ICMP, IPIP, TCP, UDP, GRE, ESP, ICMP6, SCTP = 1, 4, 6, 17, 47, 50, 58, 132


@dataclass(frozen=True)
class Flow:
    """Who talks to whom: addresses as text, ports, and the protocol on top of IP."""

    source: str
    destination: str
    protocol: int = TCP
    sport: int = 0
    dport: int = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.source).version


def mac(text: str) -> bytes:
    """An Ethernet address as bytes."""
    return bytes.fromhex(text.replace(":", ""))


def ip(address: str) -> bytes:
    """An IP address as bytes."""
    return ipaddress.ip_address(address).packed


def ones_sum(data: bytes, start: int = 0) -> int:
    """The sum of 16-bit words in ones' complement; an odd last byte is padded with zero."""
    words = struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = start + sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_sum(flow: Flow, length: int) -> int:
    """The sum over the pseudo header of a packet with `length` bytes on top of IP."""
    return ones_sum(ip(flow.source) + ip(flow.destination), flow.protocol + length)


def internet(
    flow: Flow,
    payload: bytes,
    extra: bytes = b"",
    fragment: int = 0,
    identification: int = 0x1234,
    more: int = 0,
) -> bytes:
    """Ethertype, IP header and payload, of which `more` bytes follow. `extra` are IPv4 options."""
    if flow.version == 6:
        header = struct.pack(">HIHBB", IPV6, 6 << 28, len(payload) + more, flow.protocol, 64)
        return header + ip(flow.source) + ip(flow.destination) + payload
    words = (20 + len(extra)) // 4
    size = words * 4 + len(payload) + more
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, size, identification, fragment, 64, flow.protocol, 0)
    header = head + ip(flow.source) + ip(flow.destination) + extra
    total = 0xFFFF ^ ones_sum(header)
    return struct.pack(">H", IPV4) + header[:10] + struct.pack(">H", total) + header[12:] + payload


def large(
    flow: Flow, length: int, flags: int = 0x18, options: bytes = b"", sequence: int = 1000
) -> bytes:
    """A TCP or UDP header for `length` bytes of payload, its checksum partial as a stack leaves it."""
    header = transport(flow, b"", "partial", flags, options, sequence)
    total = pseudo_sum(flow, len(header) + length)
    if flow.protocol == UDP:
        return header[:4] + struct.pack(">HH", 8 + length, total)
    return header[:16] + struct.pack(">H", total) + header[18:]


def transport(
    flow: Flow,
    payload: bytes,
    checksum: str = "good",
    flags: int = 0x18,
    options: bytes = b"",
    sequence: int = 1000,
) -> bytes:
    """A TCP or UDP header and payload. `checksum` is good, bad, or partial as a stack leaves it."""
    if flow.protocol == TCP:
        words = 5 + len(options) // 4
        ports = flow.sport, flow.dport
        header = struct.pack(">HHIIBBHHH", *ports, sequence, 2000, words << 4, flags, 0x1000, 0, 0)
        header += options
        at = 16
    else:
        header = struct.pack(">HHHH", flow.sport, flow.dport, 8 + len(payload), 0)
        at = 6
    segment = header + payload
    total = pseudo_sum(flow, len(segment))
    if checksum != "partial":
        total = 0xFFFF ^ ones_sum(segment, total)
        total = (total or 0xFFFF) if flow.protocol == UDP else total
    if checksum == "bad":
        total ^= 0x5A5A
    return segment[:at] + struct.pack(">H", total) + segment[at + 2 :]


def frame(destination: str, source: str, packet: bytes, *tags: tuple[int, int]) -> bytes:
    """A frame around what starts with an ethertype. Tags are (ethertype, VLAN), outer first."""
    between = b"".join(struct.pack(">HH", *tag) for tag in tags)
    return mac(destination) + mac(source) + between + packet


def toeplitz(key: bytes, data: bytes) -> int:
    """The Toeplitz hash: for each bit of the data that is set, 32 bits of the key from there on."""
    bits = int.from_bytes(key, "big")
    width = 8 * len(key)
    value = 0
    for index in range(8 * len(data)):
        if data[index // 8] >> (7 - index % 8) & 1:
            value ^= bits >> (width - 32 - index) & 0xFFFFFFFF
    return value


def hash_input(flow: Flow, ports: bool) -> bytes:
    """What RSS hashes of a flow: both addresses and, with `ports`, both ports."""
    data = ip(flow.source) + ip(flow.destination)
    return data + struct.pack(">HH", flow.sport, flow.dport) if ports else data


def offload_header(
    checksum_start: int, checksum_offset: int, kind: int = 0, header: int = 0, segment: int = 0
) -> bytes:
    """A `virtio_net_hdr` that asks for a checksum, and with `kind` for segmentation."""
    return struct.pack("<BBHHHH", 1, kind, header, segment, checksum_start, checksum_offset)
