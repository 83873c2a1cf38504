# SPDX-License-Identifier: GPL-2.0
"""The command `make selftest`."""

import argparse
import os
import sys
import time

from harness import accel, case, paths

from . import judge, programs, table
from .results import Run
from .runner import run_drivers, store

PAGE = paths.PROJECT / "Documentation" / "selftests.md"


def main() -> int:
    """Entry point. Returns the exit status."""
    options = _parse()
    chosen = programs.find(options.filter)
    if options.list or not chosen:
        print(*(program.name for program in chosen), sep="\n")
        return 0 if chosen else 1
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    if options.stored:
        results = {driver: store(driver).load() for driver in options.drivers}
    else:
        accelerator = accel.choose()
        results = run_drivers(options.drivers, accelerator, chosen, _about(accelerator))
    names = [program.name for program in chosen]
    rust, c = (_in_order(results.get(driver, {}), names) for driver in ("rust", "c"))
    rows = judge.rows(rust, c)
    print(f"\n{table.cases(rows)}\n")
    if not options.filter and len(options.drivers) == len(case.DRIVERS):
        PAGE.write_text(table.page(rows, rust, c))
        print(f"written: {PAGE.relative_to(paths.PROJECT)}")
    bad = [row for row in rows if row.bad]
    print(f"{len(rows)} cases, {len(bad)} of them worse than with C or no longer waiting")
    return 1 if bad else 0


def _in_order(runs: dict[str, Run], names: list[str]) -> dict[str, Run]:
    """The runs of these programs, as far as there are any."""
    return {name: runs[name] for name in names if name in runs}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qemu-test/selftest", description=__doc__)
    parser.add_argument("--filter", default=os.environ.get("T", ""), help="a part of the name (T=)")
    parser.add_argument("--list", action="store_true", help="only name the programs")
    parser.add_argument(
        "--stored",
        action="store_true",
        help="run nothing: show, and write the page of, the newest run of each program",
    )
    options = parser.parse_args()
    wish = os.environ.get("DRIVER")
    if wish and wish not in case.DRIVERS:
        raise SystemExit(f"DRIVER={wish}: use one of {', '.join(case.DRIVERS)}")
    options.drivers = [wish] if wish else list(case.DRIVERS)
    return options


def _about(accelerator: str) -> str:
    commit = os.environ.get("SELFTEST_COMMIT", "unknown")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return f"commit {commit}, {date}, kernel {paths.kernel_release()}, {accelerator.upper()}"


if __name__ == "__main__":
    sys.exit(main())
