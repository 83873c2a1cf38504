# SPDX-License-Identifier: GPL-2.0
"""What programs and their cases have shown."""

from dataclasses import dataclass, field

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

    def count(self, *results: str) -> int:
        """How many cases have one of these results."""
        return sum(outcome.result in results for outcome in self.cases.values())
