# SPDX-License-Identifier: GPL-2.0
"""Compares what two drivers have shown, and knows why results may be what they are."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .results import FAIL, PASS, Outcome, Run


@dataclass(frozen=True)
class Note:
    """Why cases do not pass. Patterns are those of fnmatch, over the names in the table."""

    program: str
    case: str
    text: str

    def covers(self, program: str, case: str) -> bool:
        """Whether it speaks of this case."""
        return fnmatchcase(program, self.program) and fnmatchcase(case, self.case)


# What passes with C and waits for a feature of the Rust driver. An entry whose cases pass is a
# failure of the run, so that it goes when the feature comes.
WAITS: tuple[Note, ...] = ()

# What does not pass, or not each time, for a reason outside of the drivers.
LACKS: tuple[Note, ...] = (
    Note("gro.py", "test.sw_*_large_*", "an emulated processor needs longer for 64 KiB than the test waits for"),
    Note("hw/rss_ctx.py", "test_hitless_key_update", "the time it measures is that of an emulated processor"),
    Note("hw/ntuple.py", "queue.udp*", "a busy processor puts what should be two datagrams into one, and each one counts"),
    Note("napi_threaded.py", "*", "ethtool of Debian trixie (6.14) has no JSON for -l"),
    Note("hw/ethtool_std_stats.sh", "eth-ctrl-*", "the emulated MAC does not count MAC control frames"),
    Note("hw/ethtool_std_stats.sh", "pause-rx_*", "the emulated MAC does not count pause frames it receives"),
)


@dataclass(frozen=True)
class Row:
    """One case, on both drivers. A driver that was not run has None."""

    program: str
    case: str
    rust: Outcome | None
    c: Outcome | None

    @property
    def wait(self) -> str:
        """The feature the case waits for."""
        return _find(WAITS, self)

    @property
    def lack(self) -> str:
        """What keeps the case from passing whatever the driver does."""
        return _find(LACKS, self)

    @property
    def worse(self) -> bool:
        """Whether Rust is behind C for no known reason. One driver alone must not fail."""
        if self.wait or self.lack:
            return False
        if self.rust is None or self.c is None:
            return _fails(self.rust or self.c)
        return (_passes(self.c) and not _passes(self.rust)) or (
            _fails(self.rust) and not _fails(self.c)
        )

    @property
    def stale(self) -> bool:
        """Whether the case passes that is said to wait for something."""
        return bool(self.wait) and _passes(self.rust)

    @property
    def failed(self) -> bool:
        """Whether a driver fails for no known reason."""
        return not self.wait and not self.lack and (_fails(self.rust) or _fails(self.c))

    @property
    def bad(self) -> bool:
        """Whether this case makes the run a failure."""
        return self.worse or self.stale

    @property
    def remark(self) -> str:
        """What the table says beside the results."""
        parts = [f"waits for {self.wait}"] if self.wait and not self.stale else []
        parts += [self.lack] if self.lack and not (_passes(self.rust) and _passes(self.c)) else []
        reasons = {side: o.reason for side, o in (("Rust", self.rust), ("C", self.c)) if o and o.reason}
        if len(set(reasons.values())) == 1 and len(reasons) == 2:
            parts.append(next(iter(reasons.values())))
        else:
            parts += [f"{side}: {reason}" for side, reason in reasons.items()]
        return "; ".join(parts)


def rows(rust: dict[str, Run], c: dict[str, Run]) -> list[Row]:
    """All cases of the programs that have run, in the order they ran in."""
    found = []
    for program in {**rust, **c}:
        ours, theirs = rust.get(program), c.get(program)
        for case in {**(ours.cases if ours else {}), **(theirs.cases if theirs else {})}:
            found.append(Row(program, case, _outcome(ours, case), _outcome(theirs, case)))
    return found


def _outcome(run: Run | None, case: str) -> Outcome | None:
    """A case that only the other driver got to has failed here."""
    if run is None:
        return None
    if case in run.cases:
        return run.cases[case]
    # That the program itself has nothing to say is no failure.
    return Outcome(PASS) if case.startswith("(") else Outcome(FAIL, "did not run")


def _passes(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.result == PASS


def _fails(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.result == FAIL


def _find(notes: tuple[Note, ...], row: Row) -> str:
    return next((note.text for note in notes if note.covers(row.program, row.case)), "")
