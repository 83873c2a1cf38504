# SPDX-License-Identifier: GPL-2.0
"""Counts instructions, calls, interrupts and register accesses per packet."""

import base64
import gzip
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import paths
from harness.vm import Guest, Spec

from . import build, counts, emulator, workloads
from .counts import Function, Symbol, Symbols
from .nics import Link, Nic, bring_up
from .workloads import Workload

# Names of a driver's entry points that the stack calls for an interrupt.
INTERRUPT = re.compile(r"msix|irq|interrupt|handler", re.IGNORECASE)
HELPER = "rust_helper_"
# Functions of the kernel that read a device for a driver that does not do so by itself.
READ = re.compile(r"^(rust_helper_)?(__raw_)?(read[bwlq]|ioread(8|16|32|64)(be)?)(_relaxed)?$")
# Functions of the kernel that tell how a driver gets its receive pages: every allocation, those
# that found the pool's own cache empty, and those that had to go to the page allocator.
POOL_ALLOC = "page_pool_alloc_netmems"
POOL_REFILL = "page_pool_refill_alloc_cache"
POOL_SLOW = "__page_pool_alloc_netmems_slow"
# Register writes that tell the device of work done or to do.
DOORBELLS = tuple(
    f"mmio_writes_by.{name}" for name in ("twq_tail", "tcq_head", "rcq_head", "bdq_tail", "cq_rearm")
)
# How long interrupts are held back, in microseconds: for longer than a burst of packets takes. How many
# packets one poll handles would depend on how fast everything around the driver is otherwise.
MODERATION = 16000
# Length of a measurement without packets, in turns of the driver's periodic work, which comes once in a second.
IDLE = 10


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
    """A guest whose kernel instructions are counted. With one vCPU the counts are exact."""

    def __init__(
        self,
        name: str,
        nics: list[Nic],
        emulator_path: Path,
        modules: dict[str, Path],
        cpus: int = 1,
        memory: str = "1G",
    ):
        self._directory = Path(tempfile.mkdtemp(prefix="fbnic-bench-"))
        self._reports = self._directory / "counts"
        self._offset = 0
        self._kernel = ""
        needs_fbnic = any(nic.under_test for nic in nics)
        self.guest = Guest(
            Spec(
                name=name,
                modules=modules,
                emulator=emulator_path if needs_fbnic else None,
                files=[build.MARK, build.XDP],
                cpus=cpus,
                memory=memory,
                boot_timeout=120 + 4 * cpus,
                cmdline="nokaslr",
                qemu_args=[
                    *("-plugin", f"file={build.PLUGIN},out={self._reports}"),
                    *(arg for nic in nics for arg in nic.qemu_args()),
                ],
            )
        )

    def __enter__(self) -> "CountingGuest":
        try:
            self.guest.start()
            # Without IPv6 nothing but the workload sends packets.
            self.guest.check("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done")
            self._kernel = kernel_symbols(self.guest)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.guest.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def measure(self, nic: Nic, chosen: list[Workload]) -> Iterator[tuple[str, Sample | str]]:
        """Loads a driver, runs workloads, unloads it. Yields the name of each with its sample, or
        with the reason why the driver has none."""
        with self.loaded(nic) as bench:
            # One of QEMU's own NICs is only measured as it is.
            if not nic.model and not bench.link.prepare(MODERATION):
                raise counts.CountError(f"{nic.name} cannot hold interrupts back")
            for workload in chosen:
                try:
                    yield workload.name, bench.idle() if workload.idle else bench.sample(workload)
                except workloads.Unsupported as error:
                    yield workload.name, str(error)

    @contextmanager
    def loaded(self, nic: Nic) -> Iterator["Bench"]:
        """A driver that is loaded and up for the length of the block."""
        link = bring_up(self.guest, nic)
        link.forget_neighbours()
        # Whatever is loaded later lies behind the driver and would be taken for its last function.
        self.guest.check("modprobe pktgen")
        modules = self.guest.check("""awk '/\\[/ && $2 ~ /[tT]/ {print $1, $3, $4}' /proc/kallsyms""")
        yield Bench(self, link, Symbols(self._kernel + modules))
        link.down()
        self.guest.check_healthy()

    def next_report(self) -> counts.Report:
        """The one report that the plugin has written since the last call."""
        reports, self._offset = counts.read_reports(self._reports, self._offset)
        if len(reports) != 1:
            raise counts.CountError(f"{len(reports)} reports from one workload")
        return reports[0]


@dataclass
class Bench:
    """A driver under measurement."""

    guest: CountingGuest
    link: Link
    symbols: Symbols

    def sample(self, workload: Workload) -> Sample:
        """Runs one workload."""
        before = emulator.read(self.guest.guest)

        def moved() -> dict[str, int]:
            return emulator.difference(before, emulator.read(self.guest.guest))

        packets = workloads.run(self.link, workload, moved)
        seen = moved()
        report = self.guest.next_report()
        functions = counts.by_function(report, self.symbols)
        module = self.link.nic.module
        # What is not called once for each burst has nothing to do with packets.
        path = counts.data_path(functions, module, workload.bursts.number * 3 / 4)
        sample = evaluate(functions, module, path, packets)
        for address, count in report.counts.items():
            symbol = self.symbols.at(address)
            if symbol in path:
                sample.addresses[symbol.name, address - symbol.address] = count / packets
        rings = {name: seen[name] / packets for name in DOORBELLS if seen.get(name)}
        sample.figures |= {f"emulator {name}": value for name, value in rings.items()}
        sample.figures["doorbells"] = sum(rings.values())
        return sample

    def idle(self) -> Sample:
        """What a driver does that has nothing to do. Every figure is per turn, once in a second."""
        if self.link.nic.model:
            raise workloads.Unsupported("its device does not tell what is asked of it")
        # From between two turns of the driver's work to between two others: on a busy machine seconds are no measure.
        self._wait_for_turns(1)
        mark = f"{build.in_guest(build.MARK)} report {workloads.TAG}"
        self.guest.guest.check(mark)
        self.guest.next_report()
        before = emulator.read(self.guest.guest)
        self._wait_for_turns(IDLE)
        seen = emulator.difference(before, emulator.read(self.guest.guest))
        self.guest.guest.check(mark)
        functions = counts.by_function(self.guest.next_report(), self.symbols)
        own = [f for s, f in functions.items() if s.module == self.link.nic.module]
        sample = Sample(IDLE)
        sample.figures = {"instructions": sum(f.instructions for f in own) / IDLE} | {
            title: seen[name] / IDLE
            for name, title in (
                ("mmio_reads", "MMIO reads"),
                ("mmio_writes", "MMIO writes"),
                ("fw_writes", "mailbox writes"),
                ("msix_fired", "interrupts sent"),
            )
        }
        _agree(_device_reads(own) / IDLE, sample.figures["MMIO reads"])
        return sample

    def _wait_for_turns(self, number: int) -> None:
        """Returns when the driver has looked after its device so many times, and has ended with it."""
        for _ in range(number):
            self._wait_while(lambda reads, last: reads == last, 5)
            # A turn is over within a tenth of a second, and the next is most of a second away.
            self._wait_while(lambda reads, last: reads != last, 5, pause=0.15)

    def _wait_while(self, condition: Callable[[int, int], bool], seconds: float, pause: float = 0.02) -> None:
        """Waits while the number of reads of the device and the one before are like that."""
        end = time.monotonic() + seconds
        last = self._reads()
        while True:
            time.sleep(pause)
            reads = self._reads()
            if not condition(reads, last):
                return
            if time.monotonic() > end:
                raise counts.CountError("the driver does not look after its device once in a second")
            last = reads

    def _reads(self) -> int:
        seen = emulator.read(self.guest.guest)
        if seen is None:
            raise counts.CountError("the emulated NIC does not tell what is read from it")
        return seen["mmio_reads"]


def kernel_symbols(guest: Guest) -> str:
    """The kernel's own functions. Reading them from the guest is slow, so they are kept."""
    kernel = paths.vmlinuz()
    kept = build.OUTPUT / f"kallsyms-{paths.kernel_release()}-{int(kernel.stat().st_mtime)}.gz"
    if not kept.exists():
        command = """awk '!/\\[/ && $2 ~ /[tTwW]/ {print $1, $3}' /proc/kallsyms | gzip | base64 -w0"""
        kept.write_bytes(base64.b64decode(guest.check(command, 400)))
    return gzip.decompress(kept.read_bytes()).decode()


def evaluate(
    functions: dict[Symbol, Function], module: str, path: set[Symbol], packets: int
) -> Sample:
    """Turns counts into figures per packet."""
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
    sample.figures = {
        "instructions": sum(sample.functions.values()),
        "MMIO reads": _device_reads([own[symbol] for symbol in path]) / packets,
        "calls out of the driver": sum(sample.calls.values()),
        "C helper calls": sum(n for c, n in sample.calls.items() if c.startswith(HELPER)),
        "polls": _entries(own, path, counts.POLL) / packets,
        "interrupts": _entries(own, path, INTERRUPT) / packets,
    } | _page_pool({s.name: f.calls for s, f in functions.items() if not s.module}, packets)
    return sample


def _device_reads(functions: list[Function]) -> int:
    """Reads of a device by these functions, be it by themselves or by one of the kernel's for it."""
    return sum(
        function.reads + sum(count for callee, count in function.callees.items() if READ.match(callee.name))
        for function in functions
    )


def _agree(counted: float, told: float) -> None:
    """What the plugin counts must be what the device sees, or its zero on the data path means nothing."""
    if abs(counted - told) > 0.1 * told + 1:
        raise counts.CountError(f"{counted:.1f} reads are counted in a turn, and {told:.1f} reach the device")


def _page_pool(calls: dict[str, int], packets: int) -> dict[str, float]:
    """How the pages of a receive path were come by; nothing for a path without any."""
    allocated = calls.get(POOL_ALLOC, 0)
    if allocated < packets / 1000:
        return {}
    return {
        "page_pool allocations": allocated / packets,
        "page_pool fast path share": 1 - calls.get(POOL_REFILL, 0) / allocated,
        "page_pool slow path share": calls.get(POOL_SLOW, 0) / allocated,
    }


def _entries(own: dict[Symbol, Function], path: set[Symbol], pattern: re.Pattern) -> int:
    """Calls of the most often called function on the data path whose name matches."""
    return max((own[s].calls for s in path if pattern.search(s.name)), default=0)
