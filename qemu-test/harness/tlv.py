# SPDX-License-Identifier: GPL-2.0
"""Messages of the firmware, put together byte by byte, so that they can also break the rules."""

import struct


def attribute(word: int, data: bytes = b"", length: int | None = None) -> bytes:
    """An attribute as it is on the wire: number with flags, length with header, value, padding."""
    size = 4 + len(data) if length is None else length
    return struct.pack("<HH", word, size) + data + bytes(-len(data) % 4)


def message(number: int, *attributes: bytes, flags: int = 1 << 15, words: int | None = None) -> bytes:
    """A message as it is on the wire; its length counts words of four bytes."""
    body = b"".join(attributes)
    size = 1 + len(body) // 4 if words is None else words
    return struct.pack("<HH", number | flags, size) + body
