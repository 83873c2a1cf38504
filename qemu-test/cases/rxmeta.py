# SPDX-License-Identifier: GPL-2.0
"""What the stack is told of received frames, and how they are joined."""

import struct

from harness import packets, rxtrace
from harness.case import case, same
from harness.packets import ICMP, TCP, UDP, Flow
from harness.rxtrace import COMPLETE, NONE, UNNECESSARY, Packet
from harness.vm import Guest

PEER = "02:00:00:00:00:02"
V4, V6 = ("198.18.0.1", "198.18.0.2"), ("2001:db8:9::1", "2001:db8:9::2")
FLOWS = {
    f"{name}{version}": Flow(*ends, protocol, 1025, 40001)
    for version, ends in ((4, V4), (6, V6))
    for name, protocol in (("tcp", TCP), ("udp", UDP))
}


def _mac(guest: Guest) -> str:
    return guest.check('cat "/sys/class/net/$(near_if)/address"').strip()


def _receive(guest: Guest, bodies: dict[str, bytes]) -> dict[str, Packet]:
    """Sends a frame around each packet, which starts with its ethertype, to the driver under test."""
    mac = _mac(guest)
    frames = {name: packets.frame(mac, PEER, body) for name, body in bodies.items()}
    by_length = {packet.length: packet for packet in rxtrace.receive(guest, list(frames.values()))}
    missing = [name for name, frame in frames.items() if len(frame) not in by_length]
    assert not missing, f"not received: {missing}"
    return {name: by_length[len(frame)] for name, frame in frames.items()}


def _samples() -> dict[str, bytes]:
    """A packet of each kind, each of another length."""
    kinds = {}
    for name, flow in FLOWS.items():
        for checksum in ("good", "bad"):
            payload = bytes(range(201 + 2 * len(kinds)))
            kinds[f"{name} {checksum}"] = packets.internet(flow, packets.transport(flow, payload, checksum))
    echo = Flow(*V4, ICMP)
    kinds["icmp"] = packets.internet(echo, struct.pack(">BBHI", 0, 0, 0, 7) + bytes(250))
    kinds["fragment"] = packets.internet(FLOWS["udp4"], bytes(272), fragment=0x2000)
    kinds["no ip"] = packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(301)
    return kinds


@case(rows=(17,))
def receive_checksums(guest: Guest) -> None:
    """Sums that the device found right are said to be; for the rest the stack gets a sum to check."""
    name = guest.check("ready 1500; near_if").split()[-1]
    samples = _samples()
    got = _receive(guest, samples)
    for what, packet in got.items():
        good = what.endswith("good")
        same(f"checksum of {what}", packet.ip_summed, UNNECESSARY if good else COMPLETE)
    guest.check(f"ethtool -K {name} rx off")
    try:
        same("checksums with rx off", {p.ip_summed for p in _receive(guest, samples).values()}, {NONE})
    finally:
        guest.check(f"ethtool -K {name} rx on")


@case(rows=(17,))
def wrong_checksums_noticed(guest: Guest) -> None:
    """Datagrams with a wrong checksum reach nobody, those with a right one do, by the device's sum."""
    guest.check("ready 1500")
    mac, flow = _mac(guest), Flow("192.0.2.2", "192.0.2.1", UDP, 7, 7777)
    counts = "awk '/^Udp: [0-9]/ { print $2, $3, $8 }' /proc/net/snmp"
    # Delivered, for a port that nobody listens at, with a wrong checksum.
    before = [int(n) for n in guest.check(counts).split()]
    good, bad = (
        [
            packets.frame(mac, PEER, packets.internet(flow, packets.transport(flow, bytes(300 + i), checksum)))
            for i in range(10)
        ]
        for checksum in ("good", "bad")
    )
    rxtrace.receive(guest, good + bad)
    grown = [after - b for after, b in zip(map(int, guest.check(counts).split()), before)]
    same("datagrams for nobody, with a wrong checksum", grown[1:], [10, 10])
    # An odd sum over all of a frame, which the stack has to find right: a fragmented datagram.
    guest.check("ping -nqc 3 -i 0.05 -W 2 -s 3001 $FAR4")


@case(rows=(17, 19))
def hash_level(guest: Guest) -> None:
    """The hash comes with its level: over ports for TCP and UDP, over addresses for the rest, or not at all."""
    name = guest.check("ready 1500; near_if").split()[-1]
    samples = _samples()
    for what, packet in _receive(guest, samples).items():
        assert packet.hash, f"no hash for {what}"
        same(f"level of the hash of {what}", packet.l4_hash, what[:3] in ("tcp", "udp"))
    guest.check(f"ethtool -K {name} rxhash off")
    try:
        hashes = {packet.hash for packet in _receive(guest, samples).values()}
        same("hashes with rxhash off", hashes, {0})
    finally:
        guest.check(f"ethtool -K {name} rxhash on")


@case(rows=(17,))
def packets_are_joined(guest: Guest) -> None:
    """Segments of a stream reach the stack joined, and each by itself with GRO off."""
    name = guest.check("ready 1500; near_if").split()[-1]
    event = "/sys/kernel/tracing/events/net/netif_receive_skb"
    count = f"""
        echo 'len > 2000' >{event}/filter; echo >/sys/kernel/tracing/trace; echo 1 >/sys/kernel/tracing/tracing_on
        echo 1 >{event}/enable; transfer_in 2; status=$?; echo 0 >{event}/enable; echo 0 >{event}/filter
        [ $status = 0 ] && grep -c 'dev={name} ' /sys/kernel/tracing/trace
        true
    """
    assert int(guest.check(count, 120)) > 20, "hardly a packet was joined"
    guest.check(f"ethtool -K {name} gro off")
    try:
        same("joined packets with GRO off", guest.check(count, 120).strip(), "0")
    finally:
        guest.check(f"ethtool -K {name} gro on")
