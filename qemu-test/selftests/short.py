# SPDX-License-Identifier: GPL-2.0
"""The part of the kernel's selftests that `make test` runs."""

from harness.report import FAILED, PASSED, Report

from . import judge, programs, table
from .results import Run
from .runner import run_drivers


def wanted(report: Report) -> list[str]:
    """The programs that were asked for."""
    # A part of another test's name does not ask for these, which need to be prepared.
    asked = not report.chosen or report.chosen.startswith("selftest")
    return [name for name in programs.SHORT if asked and report.wants(f"selftest-{name}")]


def run(report: Report, drivers: list[str], accelerator: str) -> None:
    """Adds one result for each program. These are chosen to be stable: no case may fail, with C neither."""
    names = wanted(report)
    if not names:
        return
    report.heading("The kernel's own selftests of network drivers, short form")
    if not programs.installed():
        report.add("selftest", FAILED, 0, "they are not prepared; run: qemu-test/setup selftest")
        return
    chosen = [program for program in programs.find() if program.name in names]
    for name in set(names) - {program.name for program in chosen}:
        report.add(f"selftest-{name}", FAILED, 0, "the kernel's source has no such program any more")
    results = run_drivers(drivers, accelerator, chosen)
    for program in chosen:
        runs = {driver: {program.name: done[program.name]} for driver, done in results.items()}
        _add(report, program.name, runs)


def _add(report: Report, name: str, runs: dict[str, dict[str, Run]]) -> None:
    rows = judge.rows(runs.get("rust", {}), runs.get("c", {}))
    seconds = sum(run.seconds for done in runs.values() for run in done.values())
    bad = [row for row in rows if row.bad or row.failed]
    detail = table.cases(bad) if bad else f"{len(rows)} cases"
    report.add(f"selftest-{name}", FAILED if bad else PASSED, seconds, detail)
