# SPDX-License-Identifier: GPL-2.0
"""Runs programs one after the other in a guest, and takes a new guest when one is lost."""

import time
from concurrent.futures import ProcessPoolExecutor

from harness import paths
from harness.vm import Guest, GuestError, Spec

from . import ktap, table
from .programs import ARCHIVE, Program
from .results import FAIL, PASS, SKIP, WHOLE, Outcome, Run, Store

# kselftest's exit status for "skipped", and timeout's for "time is over" and "killed".
_SKIP_STATUS = 4
_OVER = (124, 137)


class Session:
    """The guest that the programs share. A program that leaves it damaged costs it its life."""

    def __init__(self, driver: str, accelerator: str):
        self.driver = driver
        self.accelerator = accelerator
        self._guest: Guest | None = None
        self._boots = 0

    def close(self) -> None:
        """Ends the guest, if there is one."""
        if self._guest:
            self._guest.stop()
            self._guest = None

    def run(self, program: Program) -> Run:
        """Runs one program with a freshly loaded driver, and unloads it afterwards."""
        run, problem, mark, begun = Run(), "", 0, time.monotonic()
        try:
            guest = self._guest or self._boot()
            mark, begun = len(guest.console.text()), time.monotonic()
            run = self._run(guest, program)
            guest.check(". /guest/selftest.sh; selftest_clean", 60)
        except GuestError as error:
            problem = str(error).splitlines()[0]
        problem = self._trouble(program, mark) or problem
        if problem:
            run.cases[WHOLE] = Outcome(FAIL, problem)
            self.close()
        run.seconds = round(time.monotonic() - begun, 1)
        return run

    def _boot(self) -> Guest:
        self._boots += 1
        spec = Spec(
            name=f"selftest-{self.driver}-{self._boots}",
            driver=self.driver,
            accel=self.accelerator,
            memory="2G",
            # Some tests take a third processor for granted.
            cpus=4,
            boot_timeout=300,
            archives=[ARCHIVE],
        )
        self._guest = Guest(spec)
        self._guest.start()
        return self._guest

    def _run(self, guest: Guest, program: Program) -> Run:
        guest.run(f"echo 'selftest: {program.name}' >/dev/kmsg", 10)
        guest.check(f". /guest/selftest.sh; selftest_ready && {program.prepare}", 120)
        together = "near_and_far_together;" if program.together else ""
        arguments = '"$(near_if)" "$FAR_IF"' if program.together else ""
        result = guest.run(
            f". /guest/selftest.sh; {together}"
            f"selftest_run {program.folder} {program.file} {program.limit} {arguments}",
            program.limit + 60,
        )
        log = paths.LOGS / f"selftest-{self.driver}-{program.name.replace('/', '-')}.log"
        log.write_text(f"{result.output}exit status {result.status}\n")
        return _judge(program, result.status, result.output)

    def _trouble(self, program: Program, mark: int) -> str:
        """The first line of the console since `mark` that no healthy run prints."""
        if not self._guest:
            return ""
        console = self._guest.console
        log = paths.LOGS / f"selftest-{self.driver}-{program.name.replace('/', '-')}.console"
        log.write_text(console.text()[mark:])
        # Trouble of an earlier program has ended that program's guest.
        trouble = console.trouble()
        return f"kernel: {trouble[0].strip()}" if trouble else ""


def _judge(program: Program, status: int, text: str) -> Run:
    """The cases of a program, and one more if its end does not fit them."""
    output = ktap.parse(text, program.file)
    run = Run(output.cases)
    missing = (output.planned or 0) - len(run.cases)
    last = output.remarks[-1].lstrip("# ") if output.remarks else ""
    if status in _OVER:
        run.cases[WHOLE] = Outcome(FAIL, f"not done after {program.limit} s")
    elif status == _SKIP_STATUS and not run.cases:
        run.cases[WHOLE] = Outcome(SKIP, last.removeprefix("SKIP:").strip())
    elif missing > 0 and output.planned:
        run.cases[WHOLE] = Outcome(FAIL, f"{missing} cases did not run: {last}")
    elif status not in (0, _SKIP_STATUS) and not run.count(FAIL):
        run.cases[WHOLE] = Outcome(FAIL, f"status {status}: {ktap.explain(output.remarks)}")
    elif not run.cases:
        run.cases[WHOLE] = Outcome(PASS)
    return run


def store(driver: str) -> Store:
    """Where the results of one driver are kept."""
    return Store(paths.LOGS / f"selftest-{driver}.json")


def run_drivers(
    drivers: list[str], accelerator: str, chosen: list[Program], about: str = ""
) -> dict[str, dict[str, Run]]:
    """Runs the programs on all drivers at the same time, one guest each: a test often only waits.

    `about` says what runs and when. Without it the results are not kept.
    """
    with ProcessPoolExecutor(len(drivers)) as pool:
        running = {driver: pool.submit(run_all, driver, accelerator, chosen, about) for driver in drivers}
        return {driver: results.result() for driver, results in running.items()}


def run_all(driver: str, accelerator: str, chosen: list[Program], about: str) -> dict[str, Run]:
    """Runs the programs on one driver and prints a line as each ends. See run_drivers."""
    results = {}
    session = Session(driver, accelerator)
    try:
        for number, program in enumerate(chosen, 1):
            run = session.run(program)
            run.about = about
            results[program.name] = run
            if about:
                store(driver).put(program.name, run)
            print(f"{number:>2}/{len(chosen)} {table.line(program.name, driver, run)}", flush=True)
    finally:
        session.close()
    return results
