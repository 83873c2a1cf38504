# SPDX-License-Identifier: GPL-2.0
"""Counts tests and prints a line for each as it ends."""

import multiprocessing
import time
import traceback
from collections.abc import Callable


PASSED, FAILED, EXPLAINED = "passed", "failed", "explained"
_WORDS = {PASSED: "ok  ", FAILED: "FAIL", EXPLAINED: "expl"}


class Report:
    """The state of a whole run. `chosen` is the pattern of T=, a part of a test's name."""

    def __init__(self, chosen: str = ""):
        self.chosen = chosen
        self.outcomes: dict[str, str] = {}
        """What became of each test: PASSED, FAILED or EXPLAINED."""
        self._reasons: dict[str, str] = {}
        """What is known of each failure, indented."""
        self.started = time.monotonic()

    def wants(self, name: str) -> bool:
        """Whether a test was asked for."""
        return self.chosen in name

    def heading(self, text: str) -> None:
        """Announces a group of tests."""
        print(f"==> {text}", flush=True)

    def run(self, name: str, function: Callable[[], object], expected: str = "") -> bool:
        """Runs one test, which fails by raising. Returns whether all went as it should.

        With `expected`, the reason why the test cannot pass, it has to fail.
        """
        begun = time.monotonic()
        try:
            detail, outcome = str(function() or ""), PASSED
        except KeyboardInterrupt:
            raise
        except Exception as error:  # Any error of a test is that test's failure.
            detail, outcome = str(error) or type(error).__name__, FAILED
        if expected:
            detail, outcome = _turned(detail, outcome, expected)
        self.add(name, outcome, time.monotonic() - begun, detail)
        return outcome != FAILED

    def add(self, name: str, outcome: str, seconds: float, detail: str = "") -> None:
        """Records a result that is already known."""
        lines = detail.strip().splitlines()
        last = f"  {lines[-1]}" if lines and outcome != FAILED else ""
        print(f"{_WORDS[outcome]} {name} ({seconds:.1f} s){last}", flush=True)
        self.count(name, outcome, detail)
        if outcome == FAILED:
            print(self._reasons[name], end="", flush=True)

    def count(self, name: str, outcome: str, detail: str = "") -> None:
        """Takes a result without a line of its own, one of many of another program."""
        self.outcomes[name] = outcome
        if outcome == FAILED:
            self._reasons[name] = "".join(f"     | {line}\n" for line in detail.strip().splitlines())

    def broken(self, error: BaseException) -> None:
        """The harness itself has gone wrong, so that tests may be missing."""
        self.add("harness", FAILED, 0, "".join(traceback.format_exception(error)))

    def names(self, outcome: str) -> list[str]:
        """The tests that ended in this way."""
        return [name for name, is_so in self.outcomes.items() if is_so == outcome]

    def finish(self) -> int:
        """Prints the closing lines, with the failures once more, for they are far up by then.

        Returns the exit status of the run.
        """
        passed, failed, explained = (
            self.names(outcome) for outcome in (PASSED, FAILED, EXPLAINED)
        )
        for name in failed:
            print(f"FAIL {name}\n{self._reasons[name]}", end="")
        if failed:
            print("failed: " + ", ".join(failed))
        if explained:
            print("failed by a fault of the upstream driver: " + ", ".join(explained))
        if not self.outcomes:
            print(f"no test has a name with {self.chosen!r} in it")
        print(f"took {time.monotonic() - self.started:.0f} s")
        print(f"{len(passed)} passed, {len(failed)} failed", flush=True)
        return 1 if failed or not self.outcomes else 0


class Relay(Report):
    """A report in another process, which hands its results on to the real one."""

    def __init__(self, results: multiprocessing.Queue):
        super().__init__()
        self._results = results

    def add(self, name: str, outcome: str, seconds: float, detail: str = "") -> None:
        """Hands a result on."""
        self._results.put((name, outcome, seconds, detail))


def _turned(detail: str, outcome: str, expected: str) -> tuple[str, str]:
    """The verdict on a test that was expected to fail."""
    if outcome == FAILED:
        return expected, EXPLAINED
    return f"passed, although it was said to fail for: {expected}", FAILED
