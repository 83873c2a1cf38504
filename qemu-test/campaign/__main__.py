# SPDX-License-Identifier: GPL-2.0
"""The command `make fuzz`: hostile sessions by seed, the same ones for both drivers."""

import argparse
import os
import sys

from harness import accel, paths
from harness.case import DRIVERS
from harness.vm import Spec

from .runner import Campaign, Verdict
from .sessions import session


def main() -> int:
    """Entry point. Returns the exit status: 0 when our driver came through unharmed."""
    options = _parse()
    seeds = list(range(options.first, options.first + options.count))
    if options.show:
        for seed in seeds:
            print(session(seed))
        return 0
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for driver in options.drivers:
        spec = Spec(name=f"fuzz-{driver}", driver=driver, accel=accel.choose())
        verdicts.append(_run(spec, seeds, options))
    return 0 if all(verdict.clean for verdict in verdicts if verdict.driver == "rust") else 1


def _run(spec: Spec, seeds: list[int], options: argparse.Namespace) -> Verdict:
    """The campaign of one driver, with its report."""
    coverage = None
    if options.coverage:
        # The bench's part of the tree is only there for those who ask for it, see qemu-test/fuzz.
        from . import coverage as coverages  # noqa: PLC0415

        # Next to a module that was stripped for the guest lies the whole one.
        coverage = coverages.of_module(spec.modules[spec.driver].with_name("fbnic.ko"))
        coverage.watch(spec)
    take = coverage.take if coverage else None
    verdict = Campaign(spec, lambda text: print(f"  {text}", flush=True), coverage=take).run(seeds, options.seconds)
    print("\n".join(verdict.lines()), flush=True)
    if coverage:
        file = paths.PROJECT / "build" / f"coverage-{spec.driver}.info"
        coverage.save(file)
        print("\n".join(coverage.table()), f"\nline by line, for genhtml: {file}", flush=True)
    return verdict


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    add = parser.add_argument
    add("--first", type=int, default=1, metavar="SEED", help="the first seed (default 1)")
    add("--count", type=int, default=200, metavar="N", help="how many seeds (default 200)")
    add("--seconds", type=float, default=float("inf"), help="at the most, for each driver")
    add("--coverage", action="store_true", help="tell which lines of the driver have run; slower")
    add("--show", action="store_true", help="only print what the sessions do")
    options = parser.parse_args()
    wish = os.environ.get("DRIVER")
    if wish and wish not in DRIVERS:
        raise SystemExit(f"DRIVER={wish}: use one of {', '.join(DRIVERS)}")
    options.drivers = [wish] if wish else list(DRIVERS)
    return options


if __name__ == "__main__":
    sys.exit(main())
