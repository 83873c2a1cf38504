# SPDX-License-Identifier: GPL-2.0
"""What a hostile session does, as a function of its seed and of nothing else."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.hostile import ACTIVITIES

Fields = dict[str, Any]
Chooser = Callable[[random.Random], Fields]

_KINDS = ("header", "payload", "meta")
_MANGLINGS = ("truncated", "oversized", "wrong_id", "nested", "duplicate", "random")
# Requests of the host: capabilities, ownership, heartbeat, core dump, QSFP, sensors, logs.
_MESSAGES = (0x10, 0x12, 0x14, 0x18, 0x38, 0x3C, 0x43)
# Blocks of registers that a driver reads back, dword indices: interrupts, queue manager, receive
# buffer, classifier, PCS and MAC, counters of the bus, queue sets.
_BLOCKS = (
    (0x000, 0x062),
    (0x800, 0x873),
    (0x4000, 0x4050),
    (0x8000, 0x81B1),
    (0x8400, 0x856B),
    (0x8800, 0x8F1F),
    (0x10000, 0x10668),
    (0x11800, 0x11A5F),
    (0x40000, 0x40FFF),
)


def _nothing(_: random.Random) -> Fields:
    return {}


def _block(rng: random.Random) -> Fields:
    first, last = rng.choice(_BLOCKS)
    if rng.random() < 0.5:
        first = last = rng.randint(first, last)
    return {"first": first, "last": last}


def _read(rng: random.Random) -> Fields:
    value: Fields = rng.choice(({}, {"value": 0}, {"value": 0xFFFF_FFFF}))
    return _block(rng) | value


def _rcd(rng: random.Random) -> Fields:
    name = rng.choice(("buffer", "offset", "length", "type", "error", "any"))
    fields: Fields = {"field": name} | _kind(rng)
    if rng.random() < 0.3:
        fields["value"] = rng.choice((0, 1, 0xFFF, 0xFFFF, 0x7FFF_FFFF_FFFF_FFFF))
    return fields


def _kind(rng: random.Random) -> Fields:
    return rng.choice(({}, *({"kind": kind} for kind in _KINDS)))


def _tcd(rng: random.Random) -> Fields:
    fields: Fields = {"field": rng.choice(("head", "type", "any"))}
    if rng.random() < 0.3:
        fields["value"] = rng.choice((0, 1, 0xFFFF, 0xFFFF_FFFF))
    return fields


def _message(rng: random.Random) -> Fields:
    return {"message": rng.choice(_MESSAGES)} if rng.random() < 0.5 else {}


def _replaced(rng: random.Random) -> Fields:
    length = rng.choice((0, 1, 4, 8, 16, 64, 512, 4096))
    return {"message": rng.choice(_MESSAGES), "hex": rng.randbytes(length).hex()}


def _descriptor(rng: random.Random) -> Fields:
    fields: Fields = {"field": rng.choice(("length", "address", "eom", "error"))}
    if rng.random() < 0.5:
        fields["value"] = rng.choice((0, 1, 3, 4, 4095, 4096, 4097, 0xFFFF))
    return fields


# Faults that lie in wait: how often each is chosen, and with which fields. Writes to the wrong place
# are not among them: without an IOMMU no driver can survive those.
FAULTS: dict[str, tuple[int, Chooser]] = {
    "rcd": (8, _rcd),
    "rcd_omitted": (3, _kind),
    "rcd_duplicated": (3, _kind),
    "rcd_swapped": (2, _nothing),
    "rcd_phase": (1, _nothing),
    "rcd_after_disable": (1, _nothing),
    "rx_stall": (1, _nothing),
    "tcd": (5, _tcd),
    "tcd_omitted": (2, _nothing),
    "tcd_duplicated": (2, _nothing),
    "tcd_phase": (1, _nothing),
    "tx_stall": (1, _nothing),
    "msix_lost": (2, _nothing),
    "msix_storm": (2, lambda rng: {"period_us": rng.choice((100, 1000, 10000))}),
    "link_down": (1, _nothing),
    "link_flap": (2, lambda rng: {"period_ms": rng.choice((3, 20, 200))}),
    "dma_refused": (2, lambda rng: rng.choice(({}, {"dir": "read"}, {"dir": "write"}))),
    "csr_read": (5, _read),
    "csr_write_lost": (3, _block),
    "fw_window_read": (2, lambda rng: {"first": 0x6000, "last": rng.choice((0x6000, 0x603F))}),
    "config_read": (1, lambda rng: {"offset": 4 * rng.randrange(0x60)}),
    "never_idle": (1, _nothing),
    "unplugged": (2, lambda rng: {"config": rng.random() < 0.5}),
    "fw_dead": (1, _nothing),
    "fw_silent": (1, _message),
    "fw_delay": (1, lambda rng: {"ms": rng.choice((1, 100, 3000))} | _message(rng)),
    "fw_refused": (1, _message),
    "fw_mangled": (4, lambda rng: {"how": rng.choice(_MANGLINGS)} | _message(rng)),
    "fw_replaced": (3, _replaced),
    "fw_descriptor": (3, _descriptor),
}

# Things that happen at once.
DEEDS: dict[str, Chooser] = {
    "reset": _nothing,
    "flr": _nothing,
    "fw_restart": lambda rng: {"mailbox": rng.random() < 0.3, "tcam": rng.random() < 0.5},
    "fw_send": lambda rng: {"hex": rng.randbytes(rng.choice((0, 4, 8, 64, 1024))).hex()},
    "csr_write": lambda rng: {"csr": rng.randint(*rng.choice(_BLOCKS)), "value": 0xFFFF_FFF0},
    "msix": lambda rng: {"vector": rng.randrange(256)},
}


# How often an activity is chosen. A dump reads each of a hundred thousand registers, which takes as long as
# ten other activities.
_USUAL = 4
_WEIGHTS = {"registers": 1}


@dataclass(frozen=True)
class Session:
    """One session: what the device does, in requests of its control socket, and what the host does."""

    seed: int
    requests: tuple[str, ...]
    activities: tuple[str, ...]

    def __str__(self) -> str:
        return f"seed {self.seed}: {' + '.join(self.activities)} with {'; '.join(self.requests)}"


def session(seed: int) -> Session:
    """The session of a seed."""
    rng = random.Random(seed)
    requests = [f"seed {seed}"]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        requests.append(_request(rng))
    weights = [_WEIGHTS.get(name, _USUAL) for name in ACTIVITIES]
    activities = rng.choices(tuple(ACTIVITIES), weights=weights, k=rng.choice((1, 1, 2)))
    return Session(seed, tuple(requests), tuple(activities))


def _request(rng: random.Random) -> str:
    if rng.random() < 0.15:
        name = rng.choice(tuple(DEEDS))
        return f"do {json.dumps({name: DEEDS[name](rng)})}"
    name = rng.choices(tuple(FAULTS), weights=[weight for weight, _ in FAULTS.values()])[0]
    armed: Fields = {"fault": {name: FAULTS[name][1](rng)}}
    when = _when(rng)
    if when:
        armed["when"] = when
    return f"arm {json.dumps(armed)}"


def _when(rng: random.Random) -> Fields:
    return rng.choice(
        (
            {},
            {"one_in": rng.choice((2, 4, 16, 64))},
            {"times": rng.choice((1, 2, 8))},
            {"after": rng.randrange(200), "times": rng.choice((1, 3))},
            {"for_ms": rng.choice((20, 200))},
            {"delay_ms": rng.choice((10, 200))},
        )
    )
