# SPDX-License-Identifier: GPL-2.0
"""Where received frames land, what becomes of bad ones, and receive rings that run dry."""

from harness import netdev_genl, packets, rxtrace
from harness.case import case, same
from harness.packets import SERVICE_VLAN, TCP, UDP, VLAN, Flow
from harness.vm import Guest

from .integrity import NEAR_LONGEST, mirrored

V4 = ("198.51.100.1", "192.0.2.1")
V6 = ("2001:db8:7::1", "2001:db8::1")
_ETHERNET = 14
# A buffer for payload, bytes.
FRAGMENT = 4096
# With a smaller threshold headers are split from payload, wherever they end.
SPLIT_BELOW = 256
DEFAULT, LARGEST = 1536, 3584
# What a buffer holds of a header behind its headroom and before its tailroom, which the driver asks for.
HOLDS = FRAGMENT - 256 - 320


def _set(guest: Guest, threshold: int) -> None:
    guest.check("ready 1500")
    netdev_genl.set_header_threshold(guest, threshold)
    same("threshold", netdev_genl.header_threshold(guest), threshold)
    guest.check("ready 1500")


def _frame(guest: Guest, packet: bytes, length: int, *tags: tuple[int, int]) -> bytes:
    """A frame of `length` bytes to the NIC under test that begins with a packet."""
    near = guest.check('cat "/sys/class/net/$(near_if)/address"').strip()
    return packets.frame(near, "02:00:00:00:5e:ed", packet, *tags).ljust(length, b"\x5a")


def _frags(length: int) -> int:
    """The number of buffers that take so many bytes of payload."""
    return -(-length // FRAGMENT)


def _lands(guest: Guest, frames: list[tuple[bytes, int]]) -> None:
    """Receives frames, each with the length of what has to be in the header buffer."""
    got = rxtrace.receive(guest, [frame for frame, _ in frames])
    same("frames received", len(got), len(frames))
    for packet, (frame, header) in zip(got, frames):
        want = (len(frame), header, _frags(len(frame) - header))
        if guest.spec.driver == "rust":
            # It leaves headers to the stack to take, which has taken the first: the rest is the first piece.
            want = (len(frame), _ETHERNET, want[2] + (header > _ETHERNET))
        same(f"length, header and fragments of {frame[12:48].hex()}", (packet.length, packet.linear, packet.frags), want)


@case(rows=(14, 17))
def header_threshold_cuts(guest: Guest) -> None:
    """From 256 bytes on, that many bytes of a frame are in its header buffer, whatever they are."""
    guest.check("ready 1500; ethtool -L $(near_if) combined 1")
    for threshold in (SPLIT_BELOW, DEFAULT, LARGEST):
        _set(guest, threshold)
        header = min(threshold, HOLDS)
        edges = [header + more for more in (-1, 0, 1, FRAGMENT, FRAGMENT + 1)]
        lengths = [length for length in (201, 1000, *edges, NEAR_LONGEST) if length > 200]
        plain = packets.internet(Flow(*V4, UDP, 5, 6), bytes(8))
        _lands(guest, [(_frame(guest, plain, length), min(length, header)) for length in lengths])
        mirrored(guest, f"{header - 40}-{threshold + 40}")
    _set(guest, DEFAULT)
    guest.check("ethtool -L $(near_if) combined 2; ready 1500")


def _split(guest: Guest) -> list[tuple[bytes, int]]:
    """Frames with headers of every length the parser knows, and where these end."""
    frames = []
    for tags in ((), ((VLAN, 7),), ((SERVICE_VLAN, 8), (VLAN, 9))):
        for ends in (V4, V6):
            for protocol, options in ((UDP, b""), (TCP, b""), (TCP, bytes([1]) * 12), (TCP, bytes([1]) * 40)):
                flow = Flow(*ends, protocol, 5, 6)
                segment = packets.transport(flow, bytes(300), options=options)
                frame = _frame(guest, packets.internet(flow, segment), 0, *tags)
                frames.append((frame, len(frame) - 300))
            # Of what is not TCP or UDP, the network header ends it.
            unknown = _frame(guest, packets.internet(Flow(*ends, 99), bytes(250)), 0, *tags)
            frames.append((unknown, len(unknown) - 250))
    many = packets.internet(Flow(*V4, UDP, 5, 6), packets.transport(Flow(*V4, UDP, 5, 6), bytes(222)), bytes([1]) * 40)
    frames.append((_frame(guest, many, 0), 14 + 60 + 8))
    experimental = _frame(guest, packets.EXPERIMENTAL.to_bytes(2, "big"), 300)
    frames.append((experimental, 14))
    return frames


@case(rows=(14, 17))
def headers_split_from_payload(guest: Guest) -> None:
    """Below 256 bytes, headers are in one buffer and payload in others, whatever the threshold is."""
    guest.check("ready 1500; ethtool -L $(near_if) combined 1")
    for threshold in (0, 1, SPLIT_BELOW - 1):
        _set(guest, threshold)
        _lands(guest, _split(guest))
        mirrored(guest, "60-400")
    mirrored(guest, f"{NEAR_LONGEST - 20}-{NEAR_LONGEST}")
    try:
        netdev_genl.set_header_threshold(guest, LARGEST + 1)
    except netdev_genl.NetlinkError:
        pass
    else:
        raise AssertionError("a threshold that no buffer holds was taken")
    _set(guest, DEFAULT)
    guest.check("ethtool -L $(near_if) combined 2; ready 1500")


def _counter(guest: Guest, name: str) -> int:
    return int(guest.check(f"cat /sys/class/net/$(near_if)/statistics/{name}"))


# The error bits of a completion: end of frame as the MAC saw it, truncated, parser.
_MAC, _TRUNCATED, _PARSER = 1, 2, 4


@case(rows=(17,))
def damaged_frames_dropped(guest: Guest) -> None:
    """A frame marked as damaged or truncated is dropped and counted, its buffers are used again."""
    guest.check("ready 1500; ethtool -L $(near_if) combined 1; ready 1500")
    plain = packets.internet(Flow(*V4, UDP, 5, 6), bytes(8))
    frames = [_frame(guest, plain, length) for length in (300, 1536, 1537, 6000, NEAR_LONGEST)] * 20
    # All of them do not fit into the rings at once, so pages that were not given back would be missed.
    for error in (_MAC, _TRUNCATED, _MAC | _TRUNCATED | _PARSER, _PARSER, 0):
        before = [_counter(guest, name) for name in ("rx_packets", "rx_dropped")]
        with guest.fault("rcd", kind="meta", field="error", value=error) as number:
            got = rxtrace.receive(guest, frames)
            # The far end may have sent something of its own.
            struck = guest.struck(number)
        assert struck >= len(frames), f"only {struck} completions were marked"
        is_bad = error & (_MAC | _TRUNCATED) != 0
        same(f"frames received with error {error}", len(got), 0 if is_bad else len(frames))
        packets_now, dropped_now = (_counter(guest, name) for name in ("rx_packets", "rx_dropped"))
        same(f"rx_dropped with error {error}", dropped_now - before[1], struck if is_bad else 0)
        assert is_bad or packets_now - before[0] >= len(frames), "received, but not counted"
    guest.check("ethtool -L $(near_if) combined 2; ready 1500; watch_page_pools; unload_fbnic; page_pools_gone", 60)


@case(rows=(17,))
def overlong_frames_dropped(guest: Guest) -> None:
    """Frames above 9742 bytes are dropped and counted, those before and after them arrive."""
    guest.check("ready 1500")
    plain = packets.internet(Flow(*V4, UDP, 5, 6), bytes(8))
    lengths = [NEAR_LONGEST, NEAR_LONGEST + 1, 300, 12000, NEAR_LONGEST - 1]
    command = "ethtool -S $(near_if) --groups eth-mac | sed -n 's/.*FrameTooLongErrors: //p'"
    before = int(guest.check(command))
    got = rxtrace.receive(guest, [_frame(guest, plain, length) for length in lengths])
    same("lengths", sorted(p.length for p in got), sorted(length for length in lengths if length <= NEAR_LONGEST))
    same("FrameTooLongErrors", int(guest.check(command)) - before, 2)


# The address inside of a tunnel, and who sends to it.
_INNER_NEAR, _INNER_FAR = "198.51.100.1", "198.51.100.2"
_VXLAN_PORT = 4789
_ACK = 0x10


def _in_vxlan(guest: Guest, flow: Flow, number: int, checksum: str) -> bytes:
    """Segment `number` of a TCP stream in VXLAN with a checksum of its own, which is right."""
    segment = packets.transport(flow, bytes(100), checksum, _ACK, sequence=1000 + 100 * number)
    packet = packets.internet(flow, segment, fragment=0x4000, identification=number)
    inner = packets.frame("02:00:00:00:00:33", "02:00:00:00:00:44", packet)
    outer = Flow("192.0.2.2", "192.0.2.1", UDP, 50000 + flow.sport % 8, _VXLAN_PORT)
    datagram = packets.transport(outer, bytes.fromhex("0800000000000900") + inner)
    return _frame(guest, packets.internet(outer, datagram, identification=number), 0)


@case(rows=(17,))
def inner_checksums_are_checked(guest: Guest) -> None:
    """What receive offload has found in a tunnelled packet is not taken for true of the next one."""
    errors = "awk '/^Tcp: [0-9]/ { print $16 }' /proc/net/snmp"
    name = guest.check("load_extra vxlan; ready 1500; near_if").split()[-1]
    guest.check(
        f"ethtool -L {name} combined 1; ready 1500; echo 20000000 >/sys/class/net/{name}/gro_flush_timeout;"
        f"ip link add inside address 02:00:00:00:00:33 type vxlan id 9 dstport {_VXLAN_PORT} local 192.0.2.1 dev {name} &&"
        f"ip addr add {_INNER_NEAR}/24 dev inside && ip link set inside up"
    )
    before = int(guest.check(errors))
    flows = [Flow(_INNER_FAR, _INNER_NEAR, TCP, 1000 + number, 9) for number in range(20)]
    with guest.wire() as wire:
        for flow in flows:
            # The second is joined to the first, so the third comes in the memory that described it.
            wire.send(*(_in_vxlan(guest, flow, number, sum) for number, sum in enumerate(("good", "good", "bad"))))
            wire.receive(0.05)
        wire.receive(0.3)
    found = int(guest.check(errors)) - before
    guest.check(f"ip link del inside; echo 0 >/sys/class/net/{name}/gro_flush_timeout; ethtool -L {name} combined 2; ready 1500")
    same("segments with a wrong checksum that TCP has found", found, len(flows))
