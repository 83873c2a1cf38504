# SPDX-License-Identifier: GPL-2.0
"""The command bench/bench."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import paths
from harness.vm import GuestError

from . import annotate, build, counting, curves, nics, plot, report, sizes, throughput, workloads
from .counts import CountError
from .results import Results, worse

COMMITTED = paths.PROJECT / "Documentation" / "bench.json"
LATEST = build.OUTPUT / "latest.json"
# Further rounds for a row that seems worse than the committed one.
RETRIES = 2
PARTS = ("counts", "curves", "queues", "throughput")

EPILOG = """\
Counted figures come from a QEMU plugin in a guest with one vCPU and do not depend on how busy the
machine is. Throughput does; compare only figures of one run. Every run writes build/bench/latest.json.

  bench/bench                                  everything, 5 rounds
  bench/bench --only counts --rows tx-small,rx-small --rounds 1
  bench/bench --only curves,queues             cost as work grows
  bench/bench --only throughput --drivers rust,c,e1000e,igb --rows tcp-tx,tcp-rx
  bench/bench --quick --check                  the short form for the tests
  bench/bench --show Documentation/bench.json  print the tables of an earlier run
"""


def main() -> int:
    """Entry point. Returns the exit status."""
    options = _parse()
    if options.show:
        print(report.text(Results.load(options.show)))
        return 0
    build.build()
    results = Results.new()
    status = 0
    try:
        _measure(options, results)
        if options.check:
            _measure_again(options, results)
    except (GuestError, CountError) as error:
        print(f"bench: {error}", file=sys.stderr)
        status = 1
    if results.counted or results.curves or results.throughput:
        print(report.text(results, functions=not options.quick), flush=True)
        results.save(LATEST)
    if status == 0 and options.save:
        _save(results)
    if status == 0 and options.check:
        status = _check(results)
    return status


def _save(results: Results) -> None:
    """Replaces those parts of the committed figures that were measured, and draws all of them."""
    kept = Results.load(COMMITTED) if COMMITTED.exists() else results
    kept.take_over(results)
    kept.save(COMMITTED)
    COMMITTED.with_suffix(".svg").write_text(plot.bars(kept))
    COMMITTED.with_name("bench-curves.svg").write_text(plot.lines(kept))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/bench",
        description="Measures the Rust driver beside the C driver and QEMU's own NICs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--drivers", default="", help=f"comma list of {','.join(nics.ALL)} (default: those built)")
    add("--only", default="", help=f"comma list of {','.join(PARTS)}: leave the others out")
    add("--rows", default="", help="comma list of rows; --help-rows names them")
    add("--rounds", type=int, default=0, help="default 5, with --quick 1")
    add("--seconds", type=int, default=2, help="length of one throughput measurement")
    add("--minutes", type=float, default=0, help="start no further round after this long")
    add("--quick", action="store_true", help="counted rows of Rust only, one round")
    add("--check", action="store_true", help="fail when a figure is worse than the committed one")
    add("--save", action="store_true", help="write Documentation/bench.json and bench.svg")
    add("--show", type=Path, help="only print the tables of a JSON file")
    add("--source", action="store_true", help="instructions by source function and line, too")
    add("--listing", metavar="REGEX", help="disassembly of matching functions with executions")
    add("--help-rows", action="store_true", help="list the rows")
    add("--emu", type=Path, default=paths.EMULATOR, help="the fbnic-emu to run")
    add("--ko", action="append", default=[], metavar="NAME=PATH", help="another module for NAME")
    options = parser.parse_args()
    if options.help_rows:
        for row in (*workloads.COUNTED, *curves.BY_NAME.values(), *throughput.ROWS):
            print(f"{row.name:10} {row.title}")
        raise SystemExit(0)
    options.modules = dict(paths.MODULES)
    for pair in options.ko:
        name, _, path = pair.partition("=")
        options.modules[name] = Path(path)
    if options.quick:
        options.only, options.drivers = "counts", options.drivers or "rust"
    options.only = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(options.only) - set(PARTS):
        raise SystemExit(f"bench: no such part: {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def _chosen(options: argparse.Namespace) -> list[nics.Nic]:
    if options.drivers:
        names = options.drivers.split(",")
    else:
        names = [n for n in ("rust", "c") if options.modules[n].exists()]
    unknown = set(names) - set(nics.ALL)
    if unknown:
        raise SystemExit(f"bench: no such driver: {', '.join(sorted(unknown))}")
    return [nics.ALL[name] for name in names]


def _measure(options: argparse.Namespace, results: Results) -> None:
    chosen = _chosen(options)
    under_test = [nic for nic in chosen if nic.under_test]
    rows = options.rows.split(",") if options.rows else []
    started = time.monotonic()

    def stopped() -> bool:
        return bool(options.minutes) and time.monotonic() - started > options.minutes * 60

    counted = [w for w in workloads.COUNTED if not rows or w.name in rows]
    drawn = [c for c in curves.CURVES if not rows or c.name in rows]
    timed = [r for r in throughput.ROWS if not rows or r.name in rows]
    results.sizes = sizes.of_modules({nic.name: options.modules[nic.name] for nic in under_test})
    if "counts" in options.only and counted:
        _count(options, results, under_test or [nic for nic in chosen if nic.model], counted, stopped)
    if "curves" in options.only and drawn and under_test:
        _draw(options, results, under_test, drawn, stopped)
    if "queues" in options.only and under_test and (not rows or curves.QUEUES.name in rows):
        _draw_queues(options, results, under_test, stopped)
    if "throughput" in options.only and timed:
        yardsticks = [n for n in (nics.PAIR, nics.E1000E, nics.IGB, nics.VIRTIO) if not options.drivers]
        everything = chosen + yardsticks
        for row, nic, value in throughput.run(
            everything, timed, options.rounds, options.seconds, options.emu, options.modules, stopped
        ):
            _progress(f"{nic}: {row} {value:.0f}")
            results.time(row, nic, value)


def _turns(rounds: int, chosen: list[nics.Nic], stopped: Callable[[], bool]):
    """Rounds in which the NICs take turns, in an order that turns around from one to the next."""
    for number in range(rounds):
        for nic in chosen if number % 2 == 0 else chosen[::-1]:
            if stopped():
                return
            yield number, nic


def _count(
    options: argparse.Namespace,
    results: Results,
    chosen: list[nics.Nic],
    rows: list[workloads.Workload],
    stopped: Callable[[], bool],
) -> None:
    with counting.CountingGuest("bench-counts", chosen, options.emu, options.modules) as guest:
        for number, nic in _turns(options.rounds, chosen, stopped):
            for row, sample in guest.measure(nic, rows):
                if isinstance(sample, str):
                    results.missing[f"{row}, {nic.name}"] = sample
                    continue
                figure = sample.figures["instructions"]
                _progress(f"{nic.name}: {row}, round {number + 1}: {figure:.1f} per packet")
                results.count(row, nic.name, sample)
                if number == 0:
                    _detail(options, f"{nic.name} {row}", sample, options.modules.get(nic.name))


def _draw(
    options: argparse.Namespace,
    results: Results,
    chosen: list[nics.Nic],
    drawn: list[curves.Curve],
    stopped: Callable[[], bool],
) -> None:
    with counting.CountingGuest("bench-curves", chosen, options.emu, options.modules) as guest:
        for number, nic in _turns(options.rounds, chosen, stopped):
            for curve, point, figures in curves.measure(guest, nic, drawn):
                what = f"{nic.name}: {curve} {point}, round {number + 1}"
                _progress(f"{what}: {figures['instructions']:.1f} per packet")
                results.draw(curve, point, nic.name, figures)


def _draw_queues(
    options: argparse.Namespace,
    results: Results,
    chosen: list[nics.Nic],
    stopped: Callable[[], bool],
) -> None:
    with curves.queue_guest(chosen, options.emu, options.modules) as guest:
        for number, nic in _turns(options.rounds, chosen, stopped):
            for point, figures in curves.measure_queues(guest, nic):
                what = f"{nic.name}: {point} queues, round {number + 1}"
                _progress(f"{what}: {figures['instructions']:.1f} per packet")
                results.draw(curves.QUEUES.name, point, nic.name, figures)


def _detail(
    options: argparse.Namespace, title: str, sample: counting.Sample, module: Path | None
) -> None:
    if module and options.source:
        print(f"\n{title}: {annotate.by_source(sample, module)}", flush=True)
    if module and options.listing:
        print(f"\n{title}:\n{annotate.listing(sample, module, options.listing)}", flush=True)


def _progress(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _measure_again(options: argparse.Namespace, results: Results) -> None:
    """Gives rows that seem worse than the committed ones further rounds."""
    for _ in range(RETRIES):
        rows = {row for row, _ in _worse(results)}
        if rows:
            options.rows, options.only = ",".join(rows), ["counts"]
            _measure(options, results)


def _worse(results: Results) -> list[tuple[str, str]]:
    return worse(results, Results.load(COMMITTED)) if COMMITTED.exists() else []


def _check(results: Results) -> int:
    if not COMMITTED.exists():
        print(f"bench: nothing committed to compare with ({COMMITTED.name})")
    found = _worse(results)
    for row, why in found:
        print(f"bench: worse: {row}: {why}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
