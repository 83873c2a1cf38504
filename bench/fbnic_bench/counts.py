# SPDX-License-Identifier: GPL-2.0
"""Reads the plugin's reports and credits their counts to functions."""

import bisect
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# Names of the entry points that the stack calls for a poll. One poll may handle thousands of
# packets, so these belong to the data path however rarely they are called.
POLL = re.compile(r"poll", re.IGNORECASE)


# The plugin's target of a call through a pointer.
THROUGH_POINTER = 0


class CountError(Exception):
    """A report or a symbol table that cannot be used."""


@dataclass(frozen=True)
class Report:
    """What the guest's kernel executed between two markers, by address of the instruction."""

    counts: dict[int, int]
    # Destination of those instructions that may be calls.
    targets: dict[int, int]
    # How often an instruction of a module has read a device.
    reads: dict[int, int] = field(default_factory=dict)


def read_reports(path: Path, offset: int) -> tuple[list[Report], int]:
    """Reads the whole reports from byte `offset` on. Returns them and the offset after them."""
    data = path.read_bytes()[offset:]
    end = data.rfind(b"end\n") + 4
    if end < 4:
        return [], offset
    reports: list[Report] = []
    for line in data[:end].decode().splitlines():
        words = line.split()
        if words[0] == "mark":
            if words[2] != "0":
                raise CountError(f"{words[2]} instructions found no counter: raise MAX_SLOTS")
            reports.append(Report({}, {}))
        elif words[0] != "end":
            address = int(words[0], 16)
            reports[-1].counts[address] = int(words[1], 16)
            for word in words[2:]:
                if word.startswith("r"):
                    reports[-1].reads[address] = int(word[1:], 16)
                else:
                    reports[-1].targets[address] = int(word, 16)
    return reports, offset + end


@dataclass(frozen=True, order=True)
class Symbol:
    """A function of the kernel or of a module."""

    address: int
    name: str
    # Empty for the kernel's own.
    module: str = ""


POINTER = Symbol(THROUGH_POINTER, "(through a pointer)")


class Symbols:
    """Functions by address, from the text of /proc/kallsyms (`ADDRESS NAME [MODULE]`)."""

    def __init__(self, text: str):
        found: dict[int, Symbol] = {}
        for line in text.splitlines():
            words = line.split()
            # __pfx_ symbols name the padding in front of a function, which never runs.
            if len(words) < 2 or words[1].startswith(("__pfx_", "__cfi_")):
                continue
            address = int(words[0], 16)
            module = words[2].strip("[]") if len(words) > 2 else ""
            found.setdefault(address, Symbol(address, words[1], module))
        self._symbols = sorted(found.values())
        self._addresses = [s.address for s in self._symbols]

    def at(self, address: int) -> Symbol:
        """The function that holds `address`."""
        index = bisect.bisect_right(self._addresses, address) - 1
        return self._symbols[index] if index >= 0 else Symbol(0, "?")


@dataclass
class Function:
    """One function during one measurement."""

    symbol: Symbol
    instructions: int = 0
    calls: int = 0
    # Reads of a device by this function itself, if it is a module's.
    reads: int = 0
    # Calls by this function, by callee; calls through pointers all go to POINTER.
    callees: dict[Symbol, int] = field(default_factory=lambda: defaultdict(int))


def by_function(report: Report, symbols: Symbols) -> dict[Symbol, Function]:
    """Credits every counted instruction to its function."""
    functions: dict[Symbol, Function] = {}
    for address, count in report.counts.items():
        symbol = symbols.at(address)
        function = functions.setdefault(symbol, Function(symbol))
        function.instructions += count
        function.reads += report.reads.get(address, 0)
        if address == symbol.address:
            function.calls = count
        target = report.targets.get(address)
        if target == THROUGH_POINTER:
            function.callees[POINTER] += count
        elif target is not None:
            callee = symbols.at(target)
            # A jump to the start of another function is a call in tail position.
            if callee.address == target and callee != symbol:
                function.callees[callee] += count
    return functions


def data_path(functions: dict[Symbol, Function], module: str, least: float) -> set[Symbol]:
    """The module's functions that handle packets: those called from outside more than `least`
    times, which the driver's periodic work is not, polls, and all that they call within the module.
    """
    own = {s: f for s, f in functions.items() if s.module == module}
    inside: dict[Symbol, int] = defaultdict(int)
    for function in own.values():
        for callee, count in function.callees.items():
            inside[callee] += count
    outside = {s: f.calls - inside[s] for s, f in own.items()}
    todo = [s for s, n in outside.items() if n > least or n > 0 and POLL.search(s.name)]
    reached: set[Symbol] = set()
    while todo:
        symbol = todo.pop()
        if symbol not in reached:
            reached.add(symbol)
            todo += [c for c in own[symbol].callees if c in own]
    return reached


def demangle(names: list[str]) -> dict[str, str]:
    """Readable forms of Rust's symbol names, without the hashes of their crates."""
    done = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    plain = re.sub(r"\[[0-9a-f]{8,16}\]", "", done.stdout).replace("fbnic_main::", "")
    return dict(zip(names, plain.splitlines(), strict=True))
