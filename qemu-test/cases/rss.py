# SPDX-License-Identifier: GPL-2.0
"""Receive side scaling: the hash, the table and the rules, checked against a hash of our own."""

import random
import re
from collections import Counter

from harness import netdev_genl, packets, rxtrace
from harness.case import case, same
from harness.packets import TCP, UDP, Flow
from harness.vm import Guest

QUEUES = 6
PEER = "02:00:00:00:00:02"
# The key and examples with which Microsoft defines the hash.
KNOWN_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
) + bytes(14)
KNOWN = (
    (Flow("66.9.149.187", "161.142.100.80", TCP, 2794, 1766), 0x51CCC178),
    (Flow("199.92.111.2", "65.69.140.83", TCP, 14230, 4739), 0xC626B0EA),
    (Flow("24.19.198.95", "12.22.207.184", TCP, 12898, 38024), 0x5C2B394A),
    (Flow("66.9.149.187", "161.142.100.80", UDP, 2794, 1766), 0x323E8FC2),
    (Flow("153.39.163.191", "202.188.127.2", UDP, 44251, 1303), 0x5D1809C5),
    (Flow("3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", TCP, 2794, 1766), 0x40207D3D),
    (Flow("3ffe:501:8::260:97ff:fe40:efab", "ff02::1", TCP, 14230, 4739), 0xDDE51BBF),
    (Flow("3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", UDP, 1, 2), 0x4B61E985),
)


class Receiver:
    """The RSS state of the interface under test, read through ethtool."""

    def __init__(self, guest: Guest, context: str = ""):
        self.guest = guest
        self.name = guest.check("near_if").strip()
        self.mac = guest.check(f"cat /sys/class/net/{self.name}/address").strip()
        report = guest.check(f"ethtool -x {self.name} {context}")
        rows = re.findall(r"^\s*\d+:((?:\s+\d+)+)$", report, re.MULTILINE)
        self.table = [int(n) for row in rows for n in row.split()]
        key = re.search(r"((?:\w\w:)+\w\w)$", report, re.MULTILINE)
        self.key = packets.mac(key[1]) if key else b""
        same("entries of the table", len(self.table), 256)

    def frames(self, flows: list[Flow]) -> list[bytes]:
        """A frame of each flow, each of a length of its own."""
        out = []
        for index, flow in enumerate(flows):
            payload = bytes(250 + index)
            if flow.protocol in (TCP, UDP):
                payload = packets.transport(flow, payload)
            out.append(packets.frame(self.mac, PEER, packets.internet(flow, payload)))
        return out

    def receive(self, flows: list[Flow]) -> list[rxtrace.Packet]:
        """Sends a packet of each flow; returns what was received of each, in the order of `flows`."""
        frames = self.frames(flows)
        got = {packet.length: packet for packet in rxtrace.receive(self.guest, frames)}
        missing = [flow for flow, frame in zip(flows, frames) if len(frame) not in got]
        assert not missing, f"{len(missing)} of {len(flows)} flows not received: {missing[:3]}"
        return [got[len(frame)] for frame in frames]

    def expect(self, flows: list[Flow], fields: dict[tuple[int, int], str]) -> Counter[int]:
        """Sends a packet of each flow and checks hash and queue. Returns packets by queue.

        `fields` says, by IP version and protocol, what is hashed: "addresses" or "ports" as well.
        """
        for flow, packet in zip(flows, self.receive(flows)):
            ports = fields.get((flow.version, flow.protocol)) == "ports"
            value = packets.toeplitz(self.key, packets.hash_input(flow, ports))
            if flow.protocol in (TCP, UDP):
                same(f"hash of {flow}", f"{packet.hash:08x}", f"{value:08x}")
            same(f"queue of {flow}, hash {value:08x}", packet.queue, self.table[value % 256])
        return Counter(
            self.table[packets.toeplitz(self.key, packets.hash_input(f, fields.get((f.version, f.protocol)) == "ports")) % 256]
            for f in flows
        )


DEFAULT = {(4, TCP): "ports", (6, TCP): "ports"}


def _flows(count: int, seed: int, protocols: tuple[int, ...] = (TCP, UDP)) -> list[Flow]:
    rng = random.Random(seed)

    def one(index: int) -> Flow:
        protocol = protocols[index % len(protocols)]
        ports = (rng.randrange(1, 1 << 16), rng.randrange(1, 1 << 16)) if protocol in (TCP, UDP) else (0, 0)
        if index // len(protocols) % 2:
            return Flow(f"2001:db8::{rng.randrange(1, 1 << 16):x}", f"2001:db8:1::{rng.randrange(1, 1 << 16):x}", protocol, *ports)
        return Flow(f"198.18.{rng.randrange(256)}.{rng.randrange(256)}", f"198.19.{rng.randrange(256)}.{rng.randrange(256)}", protocol, *ports)

    return [one(index) for index in range(count)]


def _with_queues(guest: Guest) -> str:
    name = guest.check("ready 9000; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined {QUEUES}; ethtool -X {name} default; wait_for 10 has_carrier {name}")
    return name


def _reset(guest: Guest, name: str) -> None:
    guest.check(f"ethtool -X {name} default; ethtool -L {name} combined 2 rx 0 tx 0; ready 1500")


@case(rows=(19, 12))
def rss_spreads_by_toeplitz(guest: Guest) -> None:
    """Hash and queue of 96 flows are those of a software Toeplitz; each queue counts its packets."""
    name = _with_queues(guest)
    receiver = Receiver(guest)
    same("default table", receiver.table, [i % QUEUES for i in range(256)])
    before = netdev_genl.read(guest).queue_stats
    share = receiver.expect(_flows(96, 1), DEFAULT)
    after = netdev_genl.read(guest).queue_stats
    for queue in range(QUEUES):
        grown = after["rx", queue]["rx_packets"] - before["rx", queue]["rx_packets"]
        # A stray packet of the stack's own may come along.
        assert share[queue] <= grown <= share[queue] + 5, f"queue {queue}: {grown}, not {share[queue]}"
    assert all(share[queue] for queue in range(QUEUES)), share
    _reset(guest, name)


@case(rows=(19,))
def rss_known_hashes(guest: Guest) -> None:
    """With the key of the hash's definition the hashes are those of its definition."""
    name = _with_queues(guest)
    guest.check(f"ethtool -X {name} hkey {KNOWN_KEY.hex(':')}")
    receiver = Receiver(guest)
    same("key", receiver.key, KNOWN_KEY)
    flows = [flow for flow, _ in KNOWN]
    for (flow, value), packet in zip(KNOWN, receiver.receive(flows)):
        same(f"hash of {flow}", f"{packet.hash:08x}", f"{value:08x}")
        same(f"queue of {flow}", packet.queue, value % 256 % QUEUES)
    _reset(guest, name)


@case(rows=(19, 20))
def rss_changes_live(guest: Guest) -> None:
    """A new key, table or choice of fields steers the very next packets, while the interface is up."""
    name = _with_queues(guest)
    flows = _flows(24, 2)
    key = random.Random(3).randbytes(53) + b"\x80"
    for change, fields in (
        (f"-X {name} hkey {key.hex(':')}", DEFAULT),
        (f"-X {name} weight 1 0 5 0 0 2", DEFAULT),
        (f"-X {name} equal 3", DEFAULT),
        (f"-N {name} rx-flow-hash udp4 sdfn", DEFAULT | {(4, UDP): "ports"}),
        (f"-N {name} rx-flow-hash udp6 sdfn", DEFAULT | {(4, UDP): "ports", (6, UDP): "ports"}),
        (f"-N {name} rx-flow-hash tcp4 sd", {(6, TCP): "ports", (4, UDP): "ports", (6, UDP): "ports"}),
    ):
        guest.check(f"ethtool {change}")
        Receiver(guest).expect(flows, fields)
    same("key", Receiver(guest).key, key)
    guest.check(
        f"for f in udp4 udp6; do ethtool -N {name} rx-flow-hash $f sd || exit; done;"
        f"ethtool -N {name} rx-flow-hash tcp4 sdfn"
    )
    _reset(guest, name)


@case(rows=(19,))
def rss_other_protocols(guest: Guest) -> None:
    """What is neither TCP nor UDP spreads by its addresses, and what is not IP by its destination."""
    name = _with_queues(guest)
    receiver = Receiver(guest)
    others = (packets.ICMP, packets.ESP, packets.SCTP, 253)
    receiver.expect(_flows(24, 4, others), {})
    fragment = Flow("198.18.0.9", "198.19.0.9", UDP, 7, 9)
    datagram = packets.transport(fragment, bytes(400))
    frames = [
        packets.frame(receiver.mac, PEER, packets.internet(fragment, datagram[:400], fragment=0x2000)),
        packets.frame(receiver.mac, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(300)),
    ]
    got = {packet.length: packet.queue for packet in rxtrace.receive(guest, frames)}
    inputs = packets.hash_input(fragment, ports=False), packets.mac(receiver.mac)
    for what, frame, data in zip(("fragment", "no IP"), frames, inputs):
        value = packets.toeplitz(receiver.key, data)
        same(f"queue of a {what}", got.get(len(frame)), receiver.table[value % 256])
    _reset(guest, name)


@case(rows=(19,))
def flow_type_discarded(guest: Guest) -> None:
    """A kind of flow that is set to be discarded is, by the rules, and no other."""
    name = _with_queues(guest)
    receiver = Receiver(guest)
    four, six = Flow("198.18.0.1", "198.19.0.1", UDP, 5, 6), Flow("2001:db8::8", "2001:db8::9", UDP, 5, 6)
    tcp = Flow("198.18.0.1", "198.19.0.1", TCP, 5, 6)
    guest.check(f"ethtool -N {name} rx-flow-hash udp4 r")
    frames = receiver.frames([four, six, tcp])
    came = {packet.length for packet in rxtrace.receive(guest, frames)}
    same("received", [len(frame) in came for frame in frames], [False, True, True])
    guest.check(f"ethtool -N {name} rx-flow-hash udp4 sd")
    receiver.expect([four, six, tcp], DEFAULT)
    _reset(guest, name)
