# SPDX-License-Identifier: GPL-2.0
"""Reads the counters of fbnic-emu, which sees every register access and every interrupt."""

from harness.vm import Guest, GuestError


def read(guest: Guest) -> dict[str, int] | None:
    """All counters since the emulator's start, flat; nested groups as GROUP.NAME. Nothing when
    there is no emulated NIC."""
    try:
        return flatten(guest.control("stats")) if guest.emulator else None
    except (GuestError, OSError):
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
