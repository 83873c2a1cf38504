# SPDX-License-Identifier: GPL-2.0
"""Throughput and latency between the two ends of each NIC's cable.

These are times on whatever the machine has left, so only ratios between NICs of the same round
mean something. NICs take turns within a round, and the order turns around from one to the next.
Beside each rate stands the CPU time that QEMU and the emulated NIC spent per gigabyte: it moves far
less than the rate when the machine has other work.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.vm import Guest, GuestError, Spec

from .nics import FAR4, Link, Nic, bring_up


@dataclass(frozen=True)
class Row:
    """One measured quantity."""

    name: str
    title: str
    # Returns the value and, for a transfer, the payload bytes that arrived.
    measure: Callable[[Link, int], tuple[float, int]]


def _iperf(options: str) -> Callable[[Link, int], tuple[float, int]]:
    """Megabits per second that the receiver of an iperf3 run saw."""

    def measure(link: Link, seconds: int) -> tuple[float, int]:
        server = f"ip netns exec {link.nic.netns}"
        link.guest.check(
            f"{server} ss -Hltn 'sport = :5201' | grep -q . || {server} iperf3 -s -D\n"
            f"wait_for 5 eval \"{server} ss -Hltn 'sport = :5201' | grep -q .\""
        )
        result = link.guest.run(f"iperf3 -J -c {FAR4} -t {seconds} {options} 2>/dev/null", seconds + 30)
        try:
            received = json.loads(result.output)["end"]["sum_received"]
            return received["bits_per_second"] / 1e6, received["bytes"]
        except (ValueError, KeyError) as error:
            raise GuestError(f"{link.nic.name}: iperf3 {options}: {result.output[-300:]}") from error

    return measure


def _ping(link: Link, seconds: int) -> tuple[float, int]:
    """Median of the round-trip times in microseconds."""
    output = link.guest.check(f"ping -n -i 0.01 -w {seconds} {FAR4}", seconds + 10)
    times = sorted(float(t) * 1000 for t in re.findall(r"time=([0-9.]+) ms", output))
    if not times:
        raise GuestError(f"{link.nic.name}: ping: {output[-300:]}")
    return times[len(times) // 2], 0


def _cpu_seconds(guest: Guest) -> float:
    """User and system time of QEMU and of the emulated NIC so far."""
    total = 0
    for process in (guest.qemu, guest.emulator):
        if process:
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            # The name in parentheses may hold blanks; the times are fields 14 and 15.
            fields = stat.rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _measure(link: Link, row: Row, seconds: int) -> Iterator[tuple[str, float]]:
    before = _cpu_seconds(link.guest)
    value, received = row.measure(link, seconds)
    yield row.name, value
    if received:
        yield f"{row.name}{CPU}", (_cpu_seconds(link.guest) - before) / (received / 1e9)


ROWS = [
    Row("tcp-tx", "TCP out, 1 stream, Mb/s", _iperf("")),
    Row("tcp-rx", "TCP in, 1 stream, Mb/s", _iperf("-R")),
    Row("tcp-tx4", "TCP out, 4 streams, Mb/s", _iperf("-P 4")),
    Row("tcp-rx4", "TCP in, 4 streams, Mb/s", _iperf("-P 4 -R")),
    Row("udp-64", "UDP out 64 B, Mb/s", _iperf("-u -b 0 -l 64")),
    Row("udp-1472", "UDP out 1472 B, Mb/s", _iperf("-u -b 0 -l 1472")),
    Row("latency", "ping round trip, us (low is good)", _ping),
]
# What a row's name gets for its CPU time.
CPU = "-cpu"
TITLES = {row.name: row.title for row in ROWS} | {
    f"{row.name}{CPU}": f"{row.title.rpartition(',')[0]}, CPU s/GB (low is good)" for row in ROWS
}


def run(
    nics: list[Nic],
    rows: list[Row],
    rounds: int,
    seconds: int,
    emulator: Path,
    modules: dict[str, Path],
    stopped: Callable[[], bool],
) -> Iterator[tuple[str, str, float]]:
    """Yields row, NIC and value of each measurement, round by round."""
    spec = Spec(
        name="bench-throughput",
        modules=modules,
        emulator=emulator if any(not nic.model for nic in nics) else None,
        qemu_args=[arg for nic in nics for arg in nic.qemu_args()],
    )
    with Guest(spec) as guest:
        for number in range(rounds):
            for nic in nics if number % 2 == 0 else nics[::-1]:
                if stopped():
                    return
                link = bring_up(guest, nic)
                time.sleep(0.5)
                for row in rows:
                    for name, value in _measure(link, row, seconds):
                        yield name, nic.name, value
                link.down()
                guest.check_healthy()
