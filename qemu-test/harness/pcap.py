# SPDX-License-Identifier: GPL-2.0
"""Reads the capture files that fbnic-emu writes."""

import struct
from collections.abc import Iterator
from pathlib import Path

# The magic number of a file whose time stamps are in nanoseconds.
_NANOSECONDS = 0xA1B23C4D
_FILE, _FRAME = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
_ETHERNET = 1


def frames(path: Path) -> Iterator[bytes]:
    """All whole frames in a capture, which may still be written to."""
    data = path.read_bytes()
    magic, major, minor, _, _, longest, kind = _FILE.unpack_from(data)
    assert (magic, major, minor, kind) == (_NANOSECONDS, 2, 4, _ETHERNET), f"header {data[:24].hex()}"
    at = _FILE.size
    while at + _FRAME.size <= len(data):
        _, nanoseconds, captured, length = _FRAME.unpack_from(data, at)
        assert captured == length <= longest and nanoseconds < 10**9, f"at {at}: {captured}, {length}, {nanoseconds}"
        at += _FRAME.size
        if at + captured <= len(data):
            yield data[at : at + captured]
        at += captured
