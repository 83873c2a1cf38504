# SPDX-License-Identifier: GPL-2.0
"""Counts instructions, calls, interrupts and register accesses per packet."""

import base64
import gzip
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness import paths
from harness.vm import Guest, Spec

from . import build, counts, emulator, workloads
from .counts import Function, Symbol, Symbols
from .nics import Link, Nic, bring_up
from .workloads import Workload

# Names of a driver's entry points that the stack calls for a poll and for an interrupt.
POLL = re.compile(r"poll", re.IGNORECASE)
INTERRUPT = re.compile(r"msix|irq|interrupt|handler", re.IGNORECASE)
HELPER = "rust_helper_"
# How many packets one poll handles depends on how fast everything around the driver is. With
# interrupts held back this long, in microseconds, polls are few and their share of the cost small.
MODERATION = 16000


@dataclass
class Sample:
    """One run of one workload on one driver. Every figure is per packet."""

    packets: int
    figures: dict[str, float] = field(default_factory=dict)
    # Instructions of the driver's functions on the data path.
    functions: dict[str, float] = field(default_factory=dict)
    # Calls from the data path out of the module, and of C helpers in it, by callee.
    calls: dict[str, float] = field(default_factory=dict)
    # Instructions of the kernel's own functions, the costliest only.
    kernel: dict[str, float] = field(default_factory=dict)
    # Executions of each instruction on the data path, by symbol and offset. Not kept in results.
    addresses: dict[tuple[str, int], float] = field(default_factory=dict)


class CountingGuest:
    """A guest with one vCPU whose kernel instructions are counted."""

    def __init__(self, name: str, nics: list[Nic], emulator_path: Path, modules: dict[str, Path]):
        self._directory = Path(tempfile.mkdtemp(prefix="fbnic-bench-"))
        self._reports = self._directory / "counts"
        self._offset = 0
        self._kernel = ""
        # Whether interrupts are held back: by all drivers, or by none when one of them cannot be
        # told to.
        self.moderated = False
        self._nics = nics
        control = self._directory / "control"
        self.stats = emulator.EmulatorStats(control)
        needs_fbnic = any(not nic.model for nic in nics)
        self.guest = Guest(
            Spec(
                name=name,
                modules=modules,
                emulator=emulator_path if needs_fbnic else None,
                emulator_args=["--control", str(control)],
                files=[build.MARK],
                cpus=1,
                cmdline="nokaslr",
                qemu_args=[
                    *("-plugin", f"file={build.PLUGIN},out={self._reports}"),
                    *(arg for nic in nics for arg in nic.qemu_args()),
                ],
            )
        )

    def __enter__(self) -> "CountingGuest":
        self.guest.start()
        # Without IPv6 nothing but the workload sends packets.
        self.guest.check("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done")
        self._kernel = kernel_symbols(self.guest)
        self.moderated = all([self._can_moderate(nic) for nic in self._nics])
        return self

    def _can_moderate(self, nic: Nic) -> bool:
        link = bring_up(self.guest, nic)
        can = link.prepare(MODERATION)
        link.down()
        return can

    def __exit__(self, *_: object) -> None:
        self.guest.stop()

    def measure(self, nic: Nic, chosen: list[Workload]) -> Iterator[tuple[str, Sample]]:
        """Loads a driver, runs workloads, unloads it. Yields the name of each with its sample."""
        link = bring_up(self.guest, nic)
        if self.moderated:
            link.prepare(MODERATION)
        modules = self.guest.check("""awk '/\\[/ && $2 ~ /[tT]/ {print $1, $3, $4}' /proc/kallsyms""")
        symbols = Symbols(self._kernel + modules)
        for workload in chosen:
            yield workload.name, self._sample(link, workload, symbols)
        link.down()
        self.guest.check_healthy()

    def _sample(self, link: Link, workload: Workload, symbols: Symbols) -> Sample:
        before = self.stats.read()
        packets = workloads.run(link, workload)
        moved = emulator.difference(before, self.stats.read())
        reports, self._offset = counts.read_reports(self._reports, self._offset)
        if len(reports) != 1:
            raise counts.CountError(f"{len(reports)} reports from one workload")
        functions = counts.by_function(reports[0], symbols)
        sample = evaluate(functions, link.nic.module, packets)
        path = counts.data_path(functions, link.nic.module, packets)
        for address, count in reports[0].counts.items():
            symbol = symbols.at(address)
            if symbol in path:
                sample.addresses[symbol.name, address - symbol.address] = count / packets
        sample.figures |= {f"emulator {name}": n / packets for name, n in moved.items()}
        return sample


def kernel_symbols(guest: Guest) -> str:
    """The kernel's own functions. Reading them from the guest is slow, so they are kept."""
    kernel = paths.vmlinuz()
    kept = build.OUTPUT / f"kallsyms-{paths.kernel_release()}-{int(kernel.stat().st_mtime)}.gz"
    if not kept.exists():
        command = """awk '!/\\[/ && $2 ~ /[tTwW]/ {print $1, $3}' /proc/kallsyms | gzip | base64 -w0"""
        kept.write_bytes(base64.b64decode(guest.check(command, 120)))
    return gzip.decompress(kept.read_bytes()).decode()


def evaluate(functions: dict[Symbol, Function], module: str, packets: int) -> Sample:
    """Turns counts into figures per packet."""
    path = counts.data_path(functions, module, packets)
    sample = Sample(packets)
    own = {s: f for s, f in functions.items() if s.module == module}
    for symbol in path:
        name = symbol.name.removesuffix(".cold")
        share = own[symbol].instructions / packets
        sample.functions[name] = sample.functions.get(name, 0) + share
        for callee, count in own[symbol].callees.items():
            if callee.module != module or callee.name.startswith(HELPER):
                sample.calls[callee.name] = sample.calls.get(callee.name, 0) + count / packets
    core = {s: f.instructions for s, f in functions.items() if not s.module}
    top = sorted(core, key=core.__getitem__, reverse=True)[:60]
    sample.kernel = {s.name: core[s] / packets for s in top}
    total = sum(sample.functions.values())
    everything = sum(f.instructions for f in functions.values())
    sample.figures = {
        "instructions": total,
        "instructions elsewhere in the driver": sum(f.instructions for f in own.values()) / packets
        - total,
        "instructions in all of the kernel": everything / packets,
        "calls out of the driver": sum(sample.calls.values()),
        "C helper calls": sum(n for c, n in sample.calls.items() if c.startswith(HELPER)),
        "polls": _entries(own, path, POLL) / packets,
        "interrupts": _entries(own, path, INTERRUPT) / packets,
    }
    return sample


def _entries(own: dict[Symbol, Function], path: set[Symbol], pattern: re.Pattern) -> int:
    """Calls of the most often called function on the data path whose name matches."""
    return max((own[s].calls for s in path if pattern.search(s.name)), default=0)
