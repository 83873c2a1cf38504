# SPDX-License-Identifier: GPL-2.0
"""The generic netlink family "netdev": queues, NAPI contexts and their statistics. And a bit of "ethtool".

Requests are put together here and travel through socat in the guest, so the guest needs no program
of its own for them. Numbers are those of include/uapi/linux/netdev.h. The same way goes what the
guest's ethtool is too old for, in the family "ethtool" of ethtool_netlink_generated.h.
"""

import base64
import struct
from dataclasses import dataclass, field

from .vm import Guest

_GENERIC, _CONTROLLER = 16, 16
_ERROR, _DONE = 2, 3
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_DEV_GET, _QUEUE_GET, _NAPI_GET, _QSTATS_GET, _NAPI_SET = 1, 10, 11, 12, 14
_XDP_FEATURES = 3
# Of the family "ethtool", in include/uapi/linux/ethtool_netlink.h.
_RINGS_GET, _RINGS_SET, _RINGS_HEADER, _HDS_THRESH, _NESTED = 15, 16, 1, 17, 0x8000
_TYPES = ("rx", "tx")
_NAPI_ID, _DEFER_HARD_IRQS, _GRO_FLUSH_TIMEOUT = 2, 5, 6
_STATISTICS = dict(
    enumerate(
        "rx_packets rx_bytes tx_packets tx_bytes rx_alloc_fail rx_hw_drops rx_hw_drop_overruns"
        " rx_csum_complete rx_csum_unnecessary rx_csum_none rx_csum_bad rx_hw_gro_packets"
        " rx_hw_gro_bytes rx_hw_gro_wire_packets rx_hw_gro_wire_bytes rx_hw_drop_ratelimits"
        " tx_hw_drops tx_hw_drop_errors tx_csum_none tx_needs_csum tx_hw_gso_packets"
        " tx_hw_gso_bytes tx_hw_gso_wire_packets tx_hw_gso_wire_bytes tx_hw_drop_ratelimits"
        " tx_stop tx_wake".split(),
        start=8,
    )
)


class NetlinkError(Exception):
    """The kernel has refused a request; `errno` says why."""

    def __init__(self, errno: int):
        super().__init__(f"errno {errno}")
        self.errno = errno


@dataclass(frozen=True)
class Napi:
    """A NAPI context."""

    id: int
    irq: int
    defer_hard_irqs: int
    gro_flush_timeout: int


@dataclass
class Netdev:
    """What the family says of one interface."""

    queues: dict[tuple[str, int], int]
    """The NAPI context of each queue, 0 if it has none. A queue is ("rx" or "tx", number)."""
    napis: dict[int, Napi]
    """By number."""
    queue_stats: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    """Counters of each queue."""
    stats: dict[str, int] = field(default_factory=dict)
    """Counters of the whole interface."""


def read(guest: Guest) -> Netdev:
    """Asks for everything there is about the interface under test."""
    index, family = _index(guest), _family(guest)
    this = _attribute(1, index)
    by_queue = this + _attribute(4, 1, "Q")
    replies = _ask(
        guest,
        (family, _DUMP, _QUEUE_GET, _attribute(2, index)),
        (family, _DUMP, _NAPI_GET, this),
        (family, _DUMP, _QSTATS_GET, by_queue),
        (family, _DUMP, _QSTATS_GET, this),
    )
    queues, napis, by_queue, whole = ([_attributes(body[4:]) for body in part] for part in replies)
    return Netdev(
        {(_TYPES[_int(q[3])], _int(q[1])): _int(q.get(4, b"")) for q in queues},
        {n.id: n for n in map(_napi, napis)},
        {(_TYPES[_int(q[2])], _int(q[3])): _counters(q) for q in by_queue},
        _counters(whole[0]),
    )


def totals(guest: Guest) -> dict[str, int]:
    """Only the counters of the whole interface under test."""
    (reply, *_), = _ask(guest, (_family(guest), _DUMP, _QSTATS_GET, _attribute(1, _index(guest))))
    return _counters(_attributes(reply[4:]))


def xdp_features(guest: Guest) -> int:
    """What the kernel is told that the driver can do for XDP: NETDEV_XDP_ACT_ bits."""
    body = _attribute(1, _index(guest))
    (reply, *_), = _ask(guest, (_family(guest), _ACKNOWLEDGE, _DEV_GET, body))
    return _int(_attributes(reply[4:])[_XDP_FEATURES])


def set_napi(guest: Guest, napi: int, defer_hard_irqs: int, gro_flush_timeout: int) -> None:
    """Sets what a NAPI context waits for before it unmasks its interrupt; times in ns."""
    body = _attribute(_NAPI_ID, napi) + _attribute(_DEFER_HARD_IRQS, defer_hard_irqs)
    body += _attribute(_GRO_FLUSH_TIMEOUT, gro_flush_timeout, "Q")
    _ask(guest, (_family(guest), _ACKNOWLEDGE, _NAPI_SET, body))


def header_threshold(guest: Guest) -> int:
    """From how many bytes on headers are cut, which the program ethtool cannot tell yet."""
    body = _raw(_RINGS_HEADER | _NESTED, _attribute(1, _index(guest)))
    (reply, *_), = _ask(guest, (_family(guest, "ethtool"), _ACKNOWLEDGE, _RINGS_GET, body))
    return _int(_attributes(reply[4:])[_HDS_THRESH])


def set_header_threshold(guest: Guest, value: int) -> None:
    """Sets it."""
    body = _raw(_RINGS_HEADER | _NESTED, _attribute(1, _index(guest))) + _attribute(_HDS_THRESH, value)
    _ask(guest, (_family(guest, "ethtool"), _ACKNOWLEDGE, _RINGS_SET, body))


def _index(guest: Guest) -> int:
    return int(guest.check('cat "/sys/class/net/$(near_if)/ifindex"'))


def _family(guest: Guest, name: str = "netdev") -> int:
    body = _raw(_FAMILY_NAME, name.encode() + b"\0")
    (reply, *_), = _ask(guest, (_CONTROLLER, _ACKNOWLEDGE, _GET_FAMILY, body))
    return _int(_attributes(reply[4:])[_FAMILY_ID])


def _napi(attributes: dict[int, bytes]) -> Napi:
    return Napi(*(_int(attributes.get(key, b"")) for key in (2, 3, _DEFER_HARD_IRQS, _GRO_FLUSH_TIMEOUT)))


def _counters(attributes: dict[int, bytes]) -> dict[str, int]:
    return {_STATISTICS[key]: _int(value) for key, value in attributes.items() if key in _STATISTICS}


def _ask(guest: Guest, *requests: tuple[int, int, int, bytes]) -> list[list[bytes]]:
    """Sends requests (type, flags, command, attributes), each on a socket of its own.

    Returns the bodies of the replies to each.
    """
    script = "".join(
        # One datagram goes out, whatever comes within the time is the answer.
        f"echo {base64.b64encode(_message(*request)).decode()} | base64 -d |"
        f" socat -b 65536 -t 0.3 - SOCKET-DATAGRAM:16:3:{_GENERIC}:x00000000000000000000 |"
        " base64 -w 0; echo\n"
        for request in requests
    )
    lines = guest.check(script).splitlines()
    assert len(lines) == len(requests), f"netlink: {lines}"
    return [_bodies(base64.b64decode(line)) for line in lines]


def _message(kind: int, flags: int, command: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBH", command, 1, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, 1, 0) + body


def _bodies(data: bytes) -> list[bytes]:
    bodies, complete = [], False
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        assert 16 <= length <= len(data), f"netlink: message of {length} bytes"
        body, data = data[16:length], data[(length + 3) & ~3 :]
        if kind == _ERROR and (errno := struct.unpack_from("=i", body)[0]):
            raise NetlinkError(-errno)
        if kind in (_ERROR, _DONE):
            complete = True
        else:
            bodies.append(body)
    assert complete, "netlink: no end of the answer"
    return bodies


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        assert 4 <= length <= len(data), f"netlink: attribute of {length} bytes"
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _attribute(kind: int, value: int, width: str = "I") -> bytes:
    return _raw(kind, struct.pack(f"={width}", value))


def _raw(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _int(value: bytes) -> int:
    return int.from_bytes(value, "little")
