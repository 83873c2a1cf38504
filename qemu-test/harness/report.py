# SPDX-License-Identifier: GPL-2.0
"""Counts tests and prints a line for each as it ends."""

import sys
import time
from collections.abc import Callable


class Report:
    """The state of a whole run. `chosen` is the pattern of T=, a part of a test's name."""

    def __init__(self, chosen: str = ""):
        self.chosen = chosen
        self.passed = 0
        self.failed: list[str] = []
        self.started = time.monotonic()

    def wants(self, name: str) -> bool:
        """Whether a test was asked for."""
        return self.chosen in name

    def heading(self, text: str) -> None:
        """Announces a group of tests."""
        print(f"==> {text}", flush=True)

    def run(self, name: str, function: Callable[[], object]) -> bool:
        """Runs one test, which fails by raising. Returns whether it has passed."""
        begun = time.monotonic()
        try:
            detail = function()
        except KeyboardInterrupt:
            raise
        except Exception as error:  # Any error of a test is that test's failure.
            self.add(name, False, time.monotonic() - begun, _explain(error))
            return False
        self.add(name, True, time.monotonic() - begun, str(detail or ""))
        return True

    def add(self, name: str, good: bool, seconds: float, detail: str = "") -> None:
        """Records a result that is already known."""
        if good:
            self.passed += 1
        else:
            self.failed.append(name)
        word = "ok  " if good else "FAIL"
        line = detail.strip().splitlines()[-1] if good and detail.strip() else ""
        print(f"{word} {name} ({seconds:.1f} s){'  ' + line if line else ''}", flush=True)
        if not good:
            print("".join(f"     | {part}\n" for part in detail.strip().splitlines()), end="")
            sys.stdout.flush()

    def finish(self) -> int:
        """Prints the closing line. Returns the exit status of the run."""
        if self.failed:
            print("failed: " + ", ".join(self.failed))
        if not self.passed and not self.failed:
            print(f"no test has a name with {self.chosen!r} in it")
        print(f"took {time.monotonic() - self.started:.0f} s")
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def _explain(error: Exception) -> str:
    text = str(error)
    return text if text else type(error).__name__
