# SPDX-License-Identifier: GPL-2.0
"""The command `make fuzz`: hostile sessions by seed, the same ones for both drivers."""

import argparse
import os
import sys

from harness import accel, paths
from harness.case import DRIVERS
from harness.vm import Spec

from . import ledger
from .runner import Campaign, Verdict, run_together
from .sessions import session
from .shrink import shrink


def main() -> int:
    """Entry point. Returns the exit status: 0 when our driver came through unharmed."""
    options = _parse()
    if options.show:
        for seed in range(options.first or 1, (options.first or 1) + options.count):
            print(session(seed))
        return 0
    if options.shrink:
        return _shrink(options)
    if options.ledger:
        print("\n".join(ledger.table(ledger.load())))
        return 0
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    verdicts = [_run(driver, options) for driver in options.drivers]
    short = [verdict for verdict in verdicts if verdict.sessions < _least(options)]
    for verdict in short:
        print(f"fuzz: only {verdict.sessions} of {options.count} sessions with driver {verdict.driver}", file=sys.stderr)
    clean = all(verdict.clean for verdict in verdicts if verdict.driver == "rust")
    return 0 if clean and not short else 1


def _least(options: argparse.Namespace) -> int:
    """How many sessions of a driver there have to be: all, or with a limit of time at least one."""
    return options.count if options.seconds == float("inf") else min(options.count, 1)


def _run(driver: str, options: argparse.Namespace) -> Verdict:
    """The campaign of one driver, with its report."""
    spec = Spec(name=f"fuzz-{driver}", driver=driver, accel=accel.choose())
    slices = ledger.load() if options.save else []
    first = options.first or ledger.next_seed(slices, driver, spec.kernel.name)
    seeds = list(range(first, first + options.count))

    def keep(verdict: Verdict) -> None:
        if options.save and ledger.run_of(verdict, first):
            ledger.save(now := [*slices, ledger.slice_of(verdict, spec, first)])
            ledger.publish(now)

    if options.coverage:
        return _covered(spec, seeds, options.seconds)
    verdict = run_together(spec, seeds, options.guests, options.seconds, _say, keep)
    print("\n".join(verdict.lines(spec.unstripped())), flush=True)
    return verdict


def _shrink(options: argparse.Namespace) -> int:
    """Finds what of a session does the harm. Returns the exit status: 0 when something does."""
    driver = options.drivers[0]
    spec = Spec(name=f"fuzz-{driver}", driver=driver, accel=accel.choose())
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    found = shrink(spec, session(options.shrink), _say)
    if not found:
        print(f"{driver}: nothing of seed {options.shrink} did any harm this time")
        return 1
    part, verdict = found
    print("\n".join([f"{driver}: enough is {part}", *verdict.lines(spec.unstripped())]))
    return 0


def _covered(spec: Spec, seeds: list[int], seconds: float) -> Verdict:
    """The same in one guest, with the lines of the driver that have run."""
    # The bench's part of the tree is only there for those who ask for it, see qemu-test/fuzz.
    from . import coverage as coverages  # noqa: PLC0415

    coverage = coverages.of_module(spec.unstripped())
    coverage.watch(spec)
    verdict = Campaign(spec, _say, coverage=coverage.take).run(iter(seeds), seconds)
    print("\n".join(verdict.lines(spec.unstripped())), flush=True)
    file = paths.PROJECT / "build" / f"coverage-{spec.driver}.info"
    coverage.save(file)
    print("\n".join(coverage.table()), f"\nline by line, for genhtml: {file}", flush=True)
    return verdict


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    add = parser.add_argument
    add("--first", type=int, default=0, metavar="SEED", help="the first seed (default 1, see --save)")
    add("--count", type=int, default=200, metavar="N", help="how many seeds (default 200)")
    add("--seconds", type=float, default=float("inf"), help="at the most, for each driver")
    add("--guests", type=int, default=os.cpu_count() or 1, metavar="N", help="at once (default: one per processor)")
    add("--save", action="store_true", help="go on after the last seed in Documentation/campaign.json, and add to it")
    add("--ledger", action="store_true", help="only print what is in there")
    add("--shrink", type=int, default=0, metavar="SEED", help="find the least of this session that does harm")
    add("--coverage", action="store_true", help="tell which lines of the driver have run; in one guest, slower")
    add("--show", action="store_true", help="only print what the sessions do")
    options = parser.parse_args()
    wish = os.environ.get("DRIVER")
    if wish and wish not in DRIVERS:
        raise SystemExit(f"DRIVER={wish}: use one of {', '.join(DRIVERS)}")
    options.drivers = [wish] if wish else list(DRIVERS)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # The guests, which other threads have, end with the sandbox that ends with this process.
        print("fuzz: interrupted; --save has kept what its last line about progress says", file=sys.stderr)
        sys.exit(130)
