# SPDX-License-Identifier: GPL-2.0
"""The command `make fuzz`: hostile sessions by seed, the same ones for both drivers."""

import argparse
import os
import sys

from harness import accel, paths
from harness.case import DRIVERS
from harness.vm import Spec

from .runner import Campaign
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
        verdict = Campaign(spec, lambda text: print(f"  {text}", flush=True)).run(seeds, options.seconds)
        print("\n".join(verdict.lines()), flush=True)
        verdicts.append(verdict)
    return 0 if all(verdict.clean for verdict in verdicts if verdict.driver == "rust") else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    add = parser.add_argument
    add("--first", type=int, default=1, metavar="SEED", help="the first seed (default 1)")
    add("--count", type=int, default=200, metavar="N", help="how many seeds (default 200)")
    add("--seconds", type=float, default=float("inf"), help="at the most, for each driver")
    add("--show", action="store_true", help="only print what the sessions do")
    options = parser.parse_args()
    wish = os.environ.get("DRIVER")
    if wish and wish not in DRIVERS:
        raise SystemExit(f"DRIVER={wish}: use one of {', '.join(DRIVERS)}")
    options.drivers = [wish] if wish else list(DRIVERS)
    return options


if __name__ == "__main__":
    sys.exit(main())
