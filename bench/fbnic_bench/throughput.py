# SPDX-License-Identifier: GPL-2.0
"""Throughput, latency and start-up time of each NIC, between the two ends of its cable.

These are times on whatever the machine has left, so only ratios between NICs of the same round
mean something. NICs take turns within a round, and the order turns around from one to the next.
Beside each rate stands the CPU time that QEMU and the emulated NIC spent per gigabyte: it moves far
less than the rate when the machine has other work.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.vm import Guest, GuestError, Spec

from . import build
from .nics import FAR4, PAIR, Link, Nic, bring_up
from .pair import Pair

RR = build.in_guest(build.RR)
RR_PORT = 5210


@dataclass(frozen=True)
class Row:
    """One measured quantity."""

    name: str
    title: str
    # Returns values by what their names end with, "" for the row's own; PAYLOAD stands for the bytes
    # that arrived.
    measure: Callable[[Link, int], dict[str, float]]


PAYLOAD = "payload"
# What a row's name gets for the CPU time of QEMU and the emulated NIC, for that of the emulated NIC
# alone, for the share of datagrams that did not reach the program at the far end, and of those that
# did not even reach the NIC there. The difference was lost in the receiving socket: a flood has no
# pace, and both ends share the guest's processors.
CPU, MODEL_CPU, LOST, CABLE_LOST = "-cpu", "-model-cpu", "-lost", "-cable-lost"


def _iperf(options: str) -> Callable[[Link, int], dict[str, float]]:
    """Megabits per second that the receiver of an iperf3 run saw."""

    def measure(link: Link, seconds: int) -> dict[str, float]:
        server = f"ip netns exec {link.nic.netns}"
        link.guest.check(
            f"{server} ss -Hltn 'sport = :5201' | grep -q . || {server} iperf3 -s -D\n"
            f"wait_for 5 eval \"{server} ss -Hltn 'sport = :5201' | grep -q .\""
        )
        sent, arrived = link.statistic("tx_packets"), link.arrived()
        result = link.guest.run(f"iperf3 -J -c {FAR4} -t {seconds} {options} 2>/dev/null", seconds + 30)
        sent, arrived = link.statistic("tx_packets") - sent, link.arrived() - arrived
        try:
            received = json.loads(result.output)["end"]["sum_received"]
            figures = {"": received["bits_per_second"] / 1e6, PAYLOAD: received["bytes"]}
            if "lost_percent" in received:
                figures[LOST] = received["lost_percent"]
                figures[CABLE_LOST] = 100 * max(0.0, 1 - arrived / max(1, sent))
            return figures
        except (ValueError, KeyError) as error:
            raise GuestError(f"{link.nic.name}: iperf3 {options}: {result.output[-300:]}") from error

    return measure


def _ping(link: Link, seconds: int) -> dict[str, float]:
    """Median of the round-trip times in microseconds."""
    output = link.guest.check(f"ping -n -i 0.01 -w {seconds} {FAR4}", seconds + 10)
    times = sorted(float(t) * 1000 for t in re.findall(r"time=([0-9.]+) ms", output))
    if not times:
        raise GuestError(f"{link.nic.name}: ping: {output[-300:]}")
    return {"": times[len(times) // 2]}


def _round_trips(protocol: str) -> Callable[[Link, int], dict[str, float]]:
    """Round trips a second of one byte each way, one after the other."""

    def measure(link: Link, seconds: int) -> dict[str, float]:
        server = f"ip netns exec {link.nic.netns}"
        link.guest.check(
            f"{server} ss -Hltn 'sport = :{RR_PORT}' | grep -q . || {server} {RR} serve {RR_PORT}"
        )
        output = link.guest.check(f"{RR} {protocol} {FAR4} {RR_PORT} {seconds}", seconds + 10)
        return {"": json.loads(output)["count"] / seconds}

    return measure


def _cpu_seconds(process: subprocess.Popen | None) -> float:
    """User and system time of a process so far."""
    if not process:
        return 0
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    # The name in parentheses may hold blanks; the times are fields 14 and 15.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(link: Link, row: Row, seconds: int) -> Iterator[tuple[str, float]]:
    guest = link.guest
    before = _cpu_seconds(guest.qemu), _cpu_seconds(link.emulator)
    figures = row.measure(link, seconds)
    qemu, model = _cpu_seconds(guest.qemu) - before[0], _cpu_seconds(link.emulator) - before[1]
    gigabytes = figures.pop(PAYLOAD, 0) / 1e9
    for suffix, value in figures.items():
        yield f"{row.name}{suffix}", value
    if gigabytes:
        yield f"{row.name}{CPU}", (qemu + model) / gigabytes
        if not link.nic.model:
            yield f"{row.name}{MODEL_CPU}", model / gigabytes


ROWS = [
    Row("tcp-tx", "TCP out, 1 stream, Mb/s", _iperf("")),
    Row("tcp-rx", "TCP in, 1 stream, Mb/s", _iperf("-R")),
    Row("tcp-tx4", "TCP out, 4 streams, Mb/s", _iperf("-P 4")),
    Row("tcp-rx4", "TCP in, 4 streams, Mb/s", _iperf("-P 4 -R")),
    Row("udp-64", "UDP out 64 B, Mb/s", _iperf("-u -b 0 -l 64")),
    Row("udp-1472", "UDP out 1472 B, Mb/s", _iperf("-u -b 0 -l 1472")),
    Row("tcp-rr", "TCP request/response, per s", _round_trips("tcp")),
    Row("udp-rr", "UDP request/response, per s", _round_trips("udp")),
    Row("latency", "ping round trip, us (low is good)", _ping),
]
# The time from loading a driver until there is a carrier; measured whatever the rows.
START = "probe-to-carrier"
TITLES = {START: "insmod to carrier, ms (low is good)"} | {
    f"{row.name}{suffix}": row.title if not suffix else f"{row.title.rpartition(',')[0]}, {unit}"
    for row in ROWS
    for suffix, unit in (
        ("", ""),
        (CPU, "CPU s/GB (low is good)"),
        (MODEL_CPU, "of it emulated NIC (low is good)"),
        (LOST, "% lost, receiver included (low is good)"),
        (CABLE_LOST, "% lost between the NICs (low is good)"),
    )
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
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(Pair(emulator)) if PAIR in nics else None
        spec = Spec(
            name="bench-throughput",
            modules=modules,
            emulator=emulator if any(not nic.model for nic in nics) else None,
            files=[build.RR],
            qemu_args=[arg for nic in (*nics, *([pair] if pair else [])) for arg in nic.qemu_args()],
        )
        guest = stack.enter_context(Guest(spec))
        if pair:
            pair.keep_apart(guest)
        for number in range(rounds):
            for nic in nics if number % 2 == 0 else nics[::-1]:
                if stopped():
                    return
                with _up(guest, nic, pair) as link:
                    if link.probe_ms:
                        yield START, nic.name, link.probe_ms
                    time.sleep(0.5)
                    for row in rows:
                        for name, value in _measure(link, row, seconds):
                            yield name, nic.name, value
                guest.check_healthy()


@contextlib.contextmanager
def _up(guest: Guest, nic: Nic, pair: Pair | None) -> Iterator[Link]:
    """A NIC whose turn it is."""
    if nic == PAIR and pair:
        link = pair.bring_up(guest)
        yield link
        pair.take_down(link)
    else:
        link = bring_up(guest, nic)
        yield link
        link.down()
