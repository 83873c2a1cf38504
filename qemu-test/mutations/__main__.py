# SPDX-License-Identifier: GPL-2.0
"""The command `make mutate`: breaks the driver in every way of the table and tells what no test sees."""

import argparse
import os
import sys
import time
from collections import Counter

import cases
from harness import accel, kernels

from . import table
from .runner import KILLED, Runner, Verdict

assert cases  # Importing it has filled harness.case.ALL, where the table's tests are looked up.


def main() -> int:
    """Entry point. Returns the exit status: 0 when a test notices each mutation."""
    parser = argparse.ArgumentParser(prog="qemu-test/mutate", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only name the mutations")
    parser.add_argument("parts", nargs="*", help="only those with one of these in their name or test (T=)")
    options = parser.parse_args()
    parts = options.parts or [os.environ.get("T", "")]
    wanted = [m for m in table.load() if any(part in m.name or part in m.test for part in parts)]
    if options.list:
        for mutation in wanted:
            print(f"{mutation.row:2}  {mutation.name:<34}{mutation.test:<34}{mutation.what}")
        return 0
    # The debug kernel's module is another one, which the runner does not build: every mutation would survive.
    if kernels.chosen().name == "debug":
        raise SystemExit("KERNEL=debug: mutations are tried with KERNEL=stock or checked only")
    begun, outcomes = time.monotonic(), Counter[str]()

    def tell(verdict: Verdict) -> None:
        outcomes[verdict.outcome] += 1
        mutation = verdict.mutation
        print(f"{verdict.outcome:<9}{mutation.row:2}  {mutation.name}: {mutation.test}", flush=True)
        for line in verdict.detail.splitlines():
            print(f"         | {line}", flush=True)

    Runner(accel.choose(), tell).run(wanted)
    print(f"took {time.monotonic() - begun:.0f} s")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "no mutation")
    return 0 if wanted and set(outcomes) == {KILLED} else 1


if __name__ == "__main__":
    sys.exit(main())
