# SPDX-License-Identifier: GPL-2.0
"""XDP programs, put together from single instructions, so that neither compiler nor ELF is needed.

A program looks at frames of one ethertype and passes all others, so that the tests' own connections
and the kernel's chatter go on beside it.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .packets import EXPERIMENTAL
from .vm import Guest

ABORTED, DROP, PASS, TX, REDIRECT = range(5)
_ADJUST_HEAD, _ADJUST_META, _ADJUST_TAIL = 44, 54, 65
# Errors by number: the kernel's own words for them are printed by the tool in the guest.
NOT_SUPPORTED = 95

# Opcodes of linux/bpf.h, put together: class, size or operation, and source.
_MOVE, _MOVE_REGISTER, _ADD = 0xB7, 0xBF, 0x07
_LOAD_HALF, _LOAD_WORD, _STORE_WORD, _STORE_VALUE = 0x69, 0x61, 0x63, 0x62
_CALL, _EXIT, _GREATER, _EQUAL, _DIFFERENT = 0x85, 0x95, 0x2D, 0x15, 0x55


@dataclass(frozen=True)
class Program:
    """Raw instructions, and whether the program takes frames in several pieces."""

    code: bytes
    frags: bool = True

    def __str__(self) -> str:
        return ("frags:" if self.frags else "one:") + self.code.hex()


def _op(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | destination, offset, value)


def _bounds(bytes_needed: int, otherwise: int) -> bytes:
    """r2 is the frame's first byte; jumps by `otherwise` unless so many bytes are there."""
    return b"".join((
        _op(_LOAD_WORD, 2, 6, 0),
        _op(_LOAD_WORD, 3, 6, 4),
        _op(_MOVE_REGISTER, 4, 2),
        _op(_ADD, 4, value=bytes_needed),
        _op(_GREATER, 4, 3, otherwise),
    ))


def _end(verdict: int) -> bytes:
    return _op(_MOVE, 0, value=verdict) + _op(_EXIT)


def _marked_only(body: bytes, ethertype: int) -> bytes:
    """`body` for frames of `ethertype`; it may use all registers, r6 is the context."""
    count = len(body) // 8
    swapped = struct.unpack("<H", struct.pack(">H", ethertype))[0]
    return b"".join((
        _op(_MOVE_REGISTER, 6, 1),
        _bounds(14, 2 + count),
        _op(_LOAD_HALF, 5, 2, 12),
        _op(_DIFFERENT, 5, 0, count, swapped),
        body,
        _end(PASS),
    ))


def _adjust(function: int, by: int) -> bytes:
    """Moves one end of the frame; the program ends with ABORTED if that is refused."""
    return b"".join((
        _op(_MOVE_REGISTER, 1, 6),
        _op(_MOVE, 2, value=by),
        _op(_CALL, value=function),
        _op(_EQUAL, 0, 0, 2, 0),
        _end(ABORTED),
    ))


def verdict(value: int, frags: bool = True, ethertype: int = EXPERIMENTAL) -> Program:
    """The same verdict for every frame of `ethertype`."""
    return Program(_marked_only(_end(value), ethertype), frags)


def adjusted(head: int = 0, tail: int = 0, meta: int = 0, value: int = TX, frags: bool = True) -> Program:
    """Moves the ends of frames, or makes room for metadata in front, then gives a verdict."""
    body = b""
    for function, by in ((_ADJUST_HEAD, head), (_ADJUST_TAIL, tail), (_ADJUST_META, meta)):
        if by:
            body += _adjust(function, by)
    return Program(_marked_only(body + _end(value), EXPERIMENTAL), frags)


def without_tag(ethertype: int) -> Program:
    """Takes the four bytes of a VLAN tag out of a frame and passes it."""
    write = b"".join(_op(_STORE_WORD, 2, 7 + word, 4 * word) for word in range(3))
    body = b"".join((
        *(_op(_LOAD_WORD, 7 + word, 2, 4 * word) for word in range(3)),
        _adjust(_ADJUST_HEAD, 4),
        _bounds(14, len(write) // 8),
        write,
    ))
    return Program(_marked_only(body, ethertype))


def written(first: bytes) -> Program:
    """Puts four bytes in the place of the first ones of a frame and sends it back."""
    write = _op(_STORE_VALUE, 2, value=int.from_bytes(first, "little"))
    return Program(_marked_only(_bounds(14, len(write) // 8) + write + _end(TX), EXPERIMENTAL))


@contextmanager
def attached(guest: Guest, program: Program) -> Iterator[None]:
    """The driver under test runs `program` meanwhile. Fails if it is refused."""
    guest.check(
        f'setsid /guest/files/frames xdp "$(near_if)" 0 {program} >/run/xdp.log 2>&1 & echo $! >/run/xdp.pid\n'
        "wait_for 10 grep -q . /run/xdp.log; grep -q attached /run/xdp.log || { cat /run/xdp.log; exit 1; }"
    )
    try:
        yield
    finally:
        detach(guest)


def detach(guest: Guest) -> None:
    """Ends what `attached` has begun."""
    guest.run(
        "kill $(cat /run/xdp.pid) && wait_for 10 eval '! kill -0 $(cat /run/xdp.pid)'; rm -f /run/xdp.*"
    )


def refused(guest: Guest, program: Program) -> str:
    """What the kernel says when `program` is attached; fails if it is taken."""
    result = guest.run(f'/guest/files/frames xdp "$(near_if)" 1 {program}')
    assert result.status == 2, f"taken, or not tried: {result}"
    return result.output.strip()


def counters(guest: Guest) -> dict[str, int]:
    """The sums over all queues of what programs have sent back: packets, bytes, dropped."""
    report = guest.check('ethtool -S "$(near_if)" | sed -n "s/^ *xdp_tx_queue_[0-9]*_//p"')
    sums = {"packets": 0, "bytes": 0, "dropped": 0}
    for line in report.splitlines():
        name, value = line.split(": ")
        sums[name] += int(value)
    return sums
