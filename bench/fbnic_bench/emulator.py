# SPDX-License-Identifier: GPL-2.0
"""Reads the counters of fbnic-emu, which sees every register access and every interrupt."""

import json
import socket
from pathlib import Path


class EmulatorStats:
    """A connection to the emulator's control socket. Without one, everything reads as nothing."""

    def __init__(self, path: Path):
        self._path = path

    def read(self) -> dict[str, int] | None:
        """All counters since the emulator's start, flat; nested groups as GROUP.NAME."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(str(self._path))
                connection.sendall(b"stats\n")
                with connection.makefile("r") as lines:
                    return flatten(json.loads(lines.readline()))
        except (OSError, ValueError):
            return None


def flatten(value: dict, prefix: str = "") -> dict[str, int]:
    """Joins the names of nested groups; leaves lists out."""
    flat: dict[str, int] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            flat |= flatten(item, f"{prefix}{name}.")
        elif isinstance(item, int):
            flat[prefix + name] = item
    return flat


def difference(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int]:
    """What the counters moved by; empty when they cannot be read."""
    if before is None or after is None:
        return {}
    return {name: after[name] - before.get(name, 0) for name in after}
