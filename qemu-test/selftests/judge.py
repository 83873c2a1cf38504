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
WAITS: tuple[Note, ...] = (
    Note("hw/devmem.py", "*", "zero-copy receive"),
    Note("hw/nk_devmem.py", "*", "zero-copy receive"),
    Note("hw/userns_devmem.py", "*", "zero-copy receive"),
    Note("hw/nk_qlease.py", "test_attrs", "zero-copy receive"),
    Note("hw/nic_timestamp.py", "*", "time stamps (PTP)"),
)

_LATE = "an emulated processor needs longer than the test waits"
_SLOW = "an emulated processor takes longer than 0.15 s, or loses traffic, which it does with the old key as well"
_COUNTER = "the device has no such counter"
_ZCRX = (
    "liburing of Debian trixie (2.9) knows no zero-copy receive, so iou-zcrx is not built;"
    " Rust would wait for zero-copy receive as well"
)

# What does not pass, or not each time, for a reason outside of the driver in Rust.
LACKS: tuple[Note, ...] = (
    Note("gro.py", "test.sw_*_large_*", f"{_LATE} for packets of 64 KiB"),
    Note("so_txtime.py", "*", f"{_LATE} until it sends (0.2 s), or for a packet that is due (8 ms)"),
    Note("psp.py", "*", "Debian's kernel is built without PSP"),
    Note("hw/devmem.py", "check_rx_hds", _LATE),
    Note("hw/ethtool.sh", "*", "the speed is the firmware's choice with both drivers, and not one that the far end has"),
    Note("hw/ethtool_extended_state.sh", "No cable", "there is no third interface, without a cable"),
    Note("hw/ethtool_extended_state.sh", "*", "the device does not negotiate, so it has no partner to miss"),
    Note("hw/ethtool_std_stats.sh", "eth-mac-*Coll*", _COUNTER),
    Note("hw/ethtool_std_stats.sh", "eth-mac-FramesWith*", _COUNTER),
    Note("hw/ethtool_std_stats.sh", "eth-mac-CarrierSense*", _COUNTER),
    Note("hw/ethtool_std_stats.sh", "eth-mac-*RangeLength*", _COUNTER),
    Note("hw/iou-zcrx.py", "*", _ZCRX),
    Note("hw/nk_qlease.py", "test_iou_zcrx*", _ZCRX),
    Note("hw/nk_qlease.py", "test_attach_xdp_with_mp", _ZCRX),
    Note("hw/nk_qlease.py", "test_destroy", _ZCRX),
    Note("hw/ntuple.py", "queue.udp*", "a busy processor puts what should be two datagrams into one, and each one counts"),
    Note("hw/rss_ctx.py", "test_hitless_key_update", _SLOW),
    Note("hw/rss_ctx.py", "test_rss_default_context_rule", "neither driver lets the user choose the location of a rule"),
    Note("hw/rss_ctx.py", "test_rss_context_persist_*", "the device has one context, and the test wants two"),
    Note("hw/rss_drv.py", "indir_size_4x.*", "the device's table has 256 entries, and up to 128 queues"),
    Note("hw/rss_flow_label.py", "*", "ethtool of Debian trixie (6.14) knows no flow label"),
    Note("hw/tso.py", "ip6_ipv4", "neither driver has the device cut IPv4 inside of IPv6"),
)

# What does not pass with C because of C. It excuses nothing.
C_BUGS: tuple[Note, ...] = (
    Note("hw/rss_ctx.py", "test_rss_context_flow_hash", "with C a rule keeps the hash of the time it was made"),
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
        parts += [bug] if (bug := _find(C_BUGS, self)) and _fails(self.c) else []
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
