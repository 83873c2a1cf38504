# SPDX-License-Identifier: GPL-2.0
"""What programs and their cases have shown."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

PASS, FAIL, SKIP, XFAIL = "pass", "fail", "skip", "xfail"

# The name of a result that belongs to a program and not to one of its cases.
WHOLE = "(program)"


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    result: str
    """One of PASS, FAIL, SKIP, XFAIL."""
    reason: str = ""
    """One line; empty when the case has passed."""
    seconds: float = 0.0


@dataclass
class Run:
    """What one program has shown on one driver."""

    cases: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    about: str = ""
    """Commit and day; programs of one page may have run at different times."""

    def count(self, *results: str) -> int:
        """How many cases have one of these results."""
        return sum(outcome.result in results for outcome in self.cases.values())


class Store:
    """A file with the newest run of each program on one driver, complete after each program."""

    def __init__(self, path: Path):
        self._path = path

    def load(self) -> dict[str, Run]:
        """What it holds. Nothing, if it was never written."""
        if not self._path.exists():
            return {}
        return {name: _run(stored) for name, stored in json.loads(self._path.read_text()).items()}

    def put(self, program: str, run: Run) -> None:
        """Replaces what is known of one program."""
        runs = {**self.load(), program: run}
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({name: asdict(run) for name, run in runs.items()}, indent=1))
        # Whoever is stopped while it writes leaves the older file.
        part.replace(self._path)


def _run(stored: dict) -> Run:
    cases = {name: Outcome(**outcome) for name, outcome in stored["cases"].items()}
    return Run(cases, stored["seconds"], stored["about"])
