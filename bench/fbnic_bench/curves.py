# SPDX-License-Identifier: GPL-2.0
"""How the cost of a packet changes as work grows: frame size, ring size, flows, queues."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import workloads
from .counting import MODERATION, Bench, CountingGuest
from .nics import Link, Nic
from .workloads import Bursts, Sender, Workload

# Bursts of one point.
BURSTS = 12
# The longest burst, in packets and in bytes.
LENGTH, BYTES = 128, 150_000
# Processors of the guest for the curve over queues: a driver gets one vector for each, and queues
# beyond share them.
QUEUE_CPUS = 4
QUEUE_MEMORY = "2G"
FLOWS_OF_QUEUES = 1024
# The longest burst there: with more processors than the machine has, each packet takes longer.
LENGTH_OF_QUEUES = 64

# The figures that a point keeps.
FIGURES = ("instructions", "calls out of the driver", "doorbells", "interrupts")


@dataclass(frozen=True)
class Curve:
    """One curve: what changes, and what is counted at each value."""

    name: str
    title: str
    axis: str
    points: tuple[int, ...]
    # Makes the NIC ready for the whole curve, and for one point.
    begin: Callable[[Link], None]
    prepare: Callable[[Link, int], None]
    workload: Callable[[int], Workload]


def _work(run: Sender, receive: bool, length: int = LENGTH) -> Workload:
    return Workload("", "", Bursts(min(length, LENGTH), BURSTS), run, "rx_packets" if receive else "")


def _jumbo(link: Link) -> None:
    """Lets frames of 9,014 bytes pass."""
    link.guest.check(f"far_up 9000 && ip link set {link.near} mtu 9000")
    _settle(link)
    _moderate(link)


def _standard(link: Link) -> None:
    link.guest.check(f"far_up 1500 && ip link set {link.near} mtu 1500")
    _settle(link)
    _moderate(link)


def _moderate(link: Link) -> None:
    """Holds interrupts back as for the table of rows."""
    if not link.prepare(MODERATION):
        raise workloads.Unsupported("cannot hold interrupts back")


def _settle(link: Link) -> None:
    link.guest.check(f"sleep 0.2; wait_for 20 has_carrier {link.near}", 40)


def _rings(options: str) -> Callable[[Link, int], None]:
    """Sets ring sizes; every `%` in the options stands for the value of the point."""

    def prepare(link: Link, entries: int) -> None:
        sizes = options.replace("%", str(entries))
        done = link.guest.run(f"ethtool -G {link.near} {sizes} 2>&1", 40)
        # Asking for what is set already is an error to ethtool and none here.
        if done.status and "no ring parameters changed" not in done.output:
            raise workloads.Unsupported(done.output.strip())
        _settle(link)

    return prepare


def _as_it_is(_link: Link, _value: int) -> None:
    """The workload alone makes the difference."""


SIZES = (60, 256, 512, 1514, 4096, 9014)
RINGS = (64, 256, 1024, 4096)
FLOWS = (1, 10, 100, 1000, 10000)

CURVES = [
    Curve(
        name="tx-size",
        title="Tx, by size of the frame",
        axis="bytes",
        points=SIZES,
        begin=_jumbo,
        prepare=_as_it_is,
        workload=lambda size: _work(workloads.tx(size), receive=False, length=BYTES // size),
    ),
    Curve(
        name="rx-size",
        title="Rx, by size of the frame",
        axis="bytes",
        points=SIZES,
        begin=_jumbo,
        prepare=_as_it_is,
        workload=lambda size: _work(workloads.rx(size), receive=True, length=BYTES // size),
    ),
    Curve(
        name="tx-ring",
        title="Tx 60 B, by size of the ring",
        axis="entries",
        points=RINGS,
        begin=_standard,
        prepare=_rings("tx %"),
        workload=lambda _: _work(workloads.tx(60), receive=False),
    ),
    Curve(
        name="rx-ring",
        title="Rx 60 B, by size of the rings",
        axis="entries",
        points=RINGS,
        begin=_standard,
        prepare=_rings("rx % rx-mini % rx-jumbo %"),
        # Nobody empties a ring meanwhile, and one that fills up is looked after at once.
        workload=lambda entries: _work(workloads.rx(60), receive=True, length=entries // 4),
    ),
    Curve(
        name="rx-flows",
        title="Rx 60 B, by number of UDP flows",
        axis="flows",
        points=FLOWS,
        begin=_standard,
        prepare=_as_it_is,
        workload=lambda number: _work(workloads.rx(60, number), receive=True),
    ),
]
QUEUES = Curve(
    name="queues",
    title="Rx 60 B, 1,024 flows, by number of queues on four vectors",
    axis="queues",
    points=(1, 2, 4, 8, 16, 32, 64, 128),
    begin=_standard,
    prepare=_as_it_is,
    workload=lambda _: _work(workloads.rx(60, FLOWS_OF_QUEUES), receive=True, length=LENGTH_OF_QUEUES),
)
BY_NAME = {curve.name: curve for curve in (*CURVES, QUEUES)}


def _point(bench: Bench, workload: Workload) -> dict[str, float]:
    sample = bench.sample(workload)
    kept = {name: sample.figures.get(name, 0.0) for name in FIGURES}
    kept["frames lost"] = max(0.0, 1 - sample.packets / workload.bursts.packets)
    return kept


def measure(guest: CountingGuest, nic: Nic, chosen: list[Curve]) -> Iterator[tuple[str, int, dict]]:
    """Loads a driver and goes through curves. Yields curve, point and figures."""
    with guest.loaded(nic) as bench:
        for curve in chosen:
            curve.begin(bench.link)
            for point in curve.points:
                curve.prepare(bench.link, point)
                yield curve.name, point, _point(bench, curve.workload(point))


def measure_queues(guest: CountingGuest, nic: Nic) -> Iterator[tuple[int, dict]]:
    """As `measure`, for queues: with the time to open the interface and the memory it takes."""
    with guest.loaded(nic) as bench:
        # Rings keep their sizes: those that the other rows have would take 2 GB for 128 queues.
        bench.link.hold_back(MODERATION)
        for point in QUEUES.points:
            yield point, _queues(bench, point)


def _queues(bench: Bench, number: int) -> dict[str, float]:
    opened = bench.link.reopen(number)
    return _point(bench, QUEUES.workload(number)) | opened


def queue_guest(nics: list[Nic], emulator: Path, modules: dict[str, Path]) -> CountingGuest:
    """A guest with several processors, and memory for the most queues."""
    return CountingGuest("bench-queues", nics, emulator, modules, QUEUE_CPUS, QUEUE_MEMORY)
