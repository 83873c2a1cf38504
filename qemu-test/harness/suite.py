# SPDX-License-Identifier: GPL-2.0
"""The command `make test`: host checks, then every test in a guest, for each driver."""

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import queue
import subprocess
import sys
from collections.abc import Callable

import cases
from selftests import short

from . import accel, case, hostchecks, kernels, paths, status, terminal
from .console import STALE_BREAKPOINT, excerpt
from .report import FAILED, Relay, Report
from .vm import Guest, GuestError, Spec

assert cases  # Importing it has filled case.ALL.

# Guests of each driver at the same time, if there are processors for them.
_MOST_GUESTS = 4


class Session:
    """A guest that tests of one driver share. A failed test costs it its life."""

    def __init__(self, driver: str, number: int, accelerator: str):
        self.driver = driver
        self.number = number
        self.accelerator = accelerator
        self.guest: Guest | None = None
        self._special: tuple[Callable, Guest] | None = None
        self._boots = 0

    def run(self, test: case.Case) -> str:
        """Runs one test and keeps its part of the console. Returns what the test printed."""
        guest = self._guest_for(test)
        mark = len(guest.console.text())
        printed = io.StringIO()
        try:
            guest.run(f"echo 'test {test.name}' >/dev/kmsg", 10)
            with contextlib.redirect_stdout(printed):
                test.function(guest)
            guest.check_healthy(test.allowed)
            guest.console.accept()
        except Exception:
            self._keep(test, guest, mark)
            self.failed(test)
            raise
        self._keep(test, guest, mark)
        if test.spoils:
            self._end(test)
        return printed.getvalue()

    def failed(self, test: case.Case) -> None:
        """A test has failed: what state it has left its guest in is not known."""
        self._end(test)

    def close(self) -> None:
        """Ends the guests there are."""
        self._end_special()
        if self.guest:
            self.guest.stop()
            self.guest = None

    def _guest_for(self, test: case.Case) -> Guest:
        if self._special and self._special[0] != test.machine:
            self._end_special()
        if not test.machine:
            return self.guest or self._boot()
        if not self._special:
            guest = test.machine(self.driver, self.accelerator)
            self._special = (test.machine, guest.__enter__())
        return self._special[1]

    def _end(self, test: case.Case) -> None:
        if test.machine:
            self._end_special()
        else:
            self.close()

    def _end_special(self) -> None:
        if self._special:
            self._special[1].stop()
            self._special = None

    def _boot(self) -> Guest:
        self._boots += 1
        spec = Spec(
            name=f"guest-{self.driver}-{self.number}-{self._boots}",
            driver=self.driver,
            accel=self.accelerator,
            reboots=True,
            tap=True,
        )
        guest = Guest(spec)
        try:
            guest.start()
            guest.check("forget_leaks")
        except BaseException:
            guest.stop()
            raise
        self.guest = guest
        return guest

    def _keep(self, test: case.Case, guest: Guest, mark: int) -> None:
        log = paths.LOGS / f"{self.driver}-{test.name}.console"
        log.write_text(guest.console.text()[mark:])


def main() -> int:
    """Entry point. Returns the exit status."""
    options = _parse()
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    report = Report(options.filter)
    # Who asks for an accelerator that there is not is told so at once, not after minutes of host checks.
    accelerator = accel.choose() if _needs_guest(report, options) else ""
    # Only a run that left nothing out may say what works.
    stock = kernels.chosen().name == "stock"
    whole = stock and not (options.unit or options.filter or len(options.drivers) < len(case.DRIVERS))
    try:
        # What needs no guest does not depend on the guest's kernel either.
        if stock:
            hostchecks.run(report)
        if not options.unit:
            _in_guests(report, options.drivers, accelerator)
            if stock and "rust" in options.drivers:
                _on_terminal(report)
                _counted(report)
            if stock:
                short.run(report, options.drivers, accelerator)
    except KeyboardInterrupt:
        report.add("interrupted", FAILED, 0)
        whole = False
    except Exception as error:  # What has passed and failed before is told all the same.
        report.broken(error)
        whole = False
    status.write(report.outcomes, whole)
    return report.finish()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qemu-test/test", description=__doc__)
    parser.add_argument("--unit", action="store_true", help="only what needs no guest")
    parser.add_argument("--filter", default=os.environ.get("T", ""), help="a part of the name (T=)")
    parser.add_argument("--list", action="store_true", help="only name the tests in the guest")
    options = parser.parse_args()
    wish = os.environ.get("DRIVER")
    if wish and wish not in case.DRIVERS:
        raise SystemExit(f"DRIVER={wish}: use one of {', '.join(case.DRIVERS)}")
    options.drivers = [wish] if wish else list(case.DRIVERS)
    if options.list:
        for test in case.ALL:
            print(f"{test.name:<30}{(test.function.__doc__ or '').splitlines()[0]}")
        raise SystemExit(0)
    return options


def _needs_guest(report: Report, options: argparse.Namespace) -> bool:
    """Whether anything that was asked for runs in a guest whose accelerator is chosen here."""
    if options.unit:
        return False
    return bool(short.wanted(report)) or any(_wanted(report, driver) for driver in options.drivers)


def _in_guests(report: Report, drivers: list[str], accelerator: str) -> None:
    """Runs the tests of all drivers at the same time, in a guest per driver and processor.

    A guest often only waits, so that makes good use of the processors. One with a slow kernel is busy.
    """
    wanted = {driver: _wanted(report, driver) for driver in drivers}
    if not any(wanted.values()):
        return
    most = _MOST_GUESTS if kernels.chosen().slowness == 1 else 1
    names = " and ".join(driver for driver in drivers if wanted[driver])
    report.heading(f"Tests in the guest, {names} driver, {kernels.chosen().name} kernel ({accelerator.upper()})")
    results: multiprocessing.Queue = multiprocessing.Queue()
    workers = []
    for driver, tests in wanted.items():
        groups = _by_file(tests)
        todo: multiprocessing.Queue = multiprocessing.Queue()
        guests = min(len(groups), os.cpu_count() or 1, most)
        for group in groups + [None] * guests:
            todo.put(group)
        for number in range(1, guests + 1):
            arguments = (Relay(results), Session(driver, number, accelerator), todo)
            workers.append(multiprocessing.Process(target=_in_guest, args=arguments))
    for worker in workers:
        worker.start()
    _collect(report, results, workers)


def _collect(report: Report, results: multiprocessing.Queue, workers: list) -> None:
    """Hands on what the workers say until the last has ended, well or badly."""
    try:
        while True:
            running = any(worker.is_alive() for worker in workers)
            try:
                report.add(*results.get(timeout=0.2))
            except queue.Empty:
                if not running:
                    break
    finally:
        for worker in workers:
            worker.join()
    if any(worker.exitcode for worker in workers):
        report.add("harness", FAILED, 0, "a part of the harness itself has failed, see above")


def _wanted(report: Report, driver: str) -> list[case.Case]:
    kernel = kernels.chosen().name
    return [
        test
        for test in case.ALL
        if driver in test.drivers and kernel in test.kernels and report.wants(f"{driver}-{test.name}")
    ]


def _by_file(tests: list[case.Case]) -> list[list[str]]:
    """The names of the tests, those of a file together: they stay in order, in one guest."""
    files = itertools.groupby(tests, lambda test: test.function.__module__)
    return [[test.name for test in group] for _, group in files]


def _in_guest(report: Report, session: Session, todo: multiprocessing.Queue) -> None:
    """Takes groups of tests until there is none left. The last thing in the queue is a None for each taker."""
    tests = {test.name: test for test in case.ALL}
    try:
        while group := todo.get():
            for test in (tests[name] for name in group):
                expected = test.c_bug if session.driver == "c" else ""
                name = f"{session.driver}-{test.name}"
                report.run(name, lambda test=test: _attempt(session, test), expected)
    except KeyboardInterrupt:
        pass
    finally:
        session.close()


def _on_terminal(report: Report) -> None:
    name = "run-on-a-terminal"
    if report.wants(name):
        report.heading("make run")
        report.run(name, terminal.run)


def _counted(report: Report) -> None:
    """What the Rust driver costs per packet, counted anew, against the committed figures."""
    name = "bench-counted-figures"
    if not report.wants(name):
        return
    report.heading("Instructions per packet, Rust driver")
    modules = f"{paths.PROJECT / 'qemu-test'}:{paths.PROJECT / 'bench'}"
    command = [sys.executable, "-m", "fbnic_bench", "--quick", "--check"]

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": modules}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (paths.LOGS / f"{name}.log").write_text(result.stdout + result.stderr)
        worse = [line for line in result.stdout.splitlines() if line.startswith("bench: ")]
        assert result.returncode == 0, "\n".join(worse or result.stderr.splitlines()[-12:])
        return "within 3 % of the committed figures"

    report.run(name, run)


def _attempt(session: Session, test: case.Case) -> str:
    """Runs a test, and once more when what failed is not what it tests."""
    log = paths.LOGS / f"{session.driver}-{test.name}.console"
    try:
        return session.run(test)
    except (GuestError, AssertionError) as error:
        console = log.read_text(errors="replace") if log.exists() else ""
        why = _excuse(session, test, console)
        if not why:
            raise GuestError("\n".join([str(error), "console:", *excerpt(console)])) from error
        log.with_suffix(".first").write_text(console)
        first = (str(error) or type(error).__name__).splitlines()[0]
    return f"{session.run(test)}\nat the second try, as {why}; at first: {first}"


def _excuse(session: Session, test: case.Case, console: str) -> str:
    """Why a failure may not be the fault of what is tested; empty if it is."""
    if STALE_BREAKPOINT in console:
        return "QEMU had run a breakpoint that was gone"
    if session.driver == "c" and not test.c_bug:
        # It judges the emulated NIC, and does so too when it loses a race of its own once.
        return "the upstream driver has races of its own"
    return ""


if __name__ == "__main__":
    sys.exit(main())
