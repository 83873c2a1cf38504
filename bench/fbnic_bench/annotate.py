# SPDX-License-Identifier: GPL-2.0
"""Credits instructions to lines of source, by the debug information of the module."""

import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .counting import Sample
from .counts import demangle

_SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INLINED = re.compile(r"^(\S+)\(\):$")
_LOCATION = re.compile(r"^(/\S+:\d+)")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(.*)$")


@dataclass(frozen=True)
class Place:
    """Where an instruction comes from."""

    # The function of the source, which the compiler may have put into another one.
    function: str
    # FILE:LINE
    line: str
    text: str


def places(module: Path) -> dict[tuple[str, int], Place]:
    """All instructions of a module by symbol and offset in it."""
    done = subprocess.run(
        ["objdump", "-d", "-l", "--no-show-raw-insn", str(module)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[tuple[str, int], Place] = {}
    symbol, start, function, line = "", -1, "", ""
    for text in done.stdout.splitlines():
        if match := _SYMBOL.match(text):
            symbol, start, function, line = match[1], -1, match[1], ""
        elif match := _INLINED.match(text):
            function = match[1]
        elif match := _LOCATION.match(text):
            line = match[1]
        elif match := _INSTRUCTION.match(text):
            address = int(match[1], 16)
            start = address if start < 0 else start
            found[symbol, address - start] = Place(function, line, match[2])
    return found


def by_source(sample: Sample, module: Path, limit: int = 60) -> str:
    """Instructions per packet by function of the source and by line, the costliest first."""
    known = places(module)
    functions: dict[str, float] = defaultdict(float)
    lines: dict[tuple[str, str], float] = defaultdict(float)
    for key, count in sample.addresses.items():
        place = known.get(key, Place(key[0], "?", ""))
        functions[place.function] += count
        lines[place.function, place.line] += count
    names = demangle(list(functions))
    out = ["instructions per packet by function of the source:"]
    for name in sorted(functions, key=functions.__getitem__, reverse=True)[:limit]:
        out.append(f"{functions[name]:9.2f}  {names[name]}")
    out.append("by line:")
    for key in sorted(lines, key=lines.__getitem__, reverse=True)[:limit]:
        out.append(f"{lines[key]:9.2f}  {'/'.join(key[1].split('/')[-3:])}  {names[key[0]]}")
    return "\n".join(out)


def listing(sample: Sample, module: Path, pattern: str) -> str:
    """The disassembly of the functions that match, with executions per packet."""
    known = places(module)
    wanted = {name for name, _ in sample.addresses if re.search(pattern, name)}
    out = []
    line = ""
    for (symbol, offset), place in known.items():
        if symbol not in wanted:
            continue
        if offset == 0:
            out.append(f"\n{symbol}:")
        if place.line != line:
            line = place.line
            out.append(f"{'':11}{'/'.join(line.split('/')[-3:])}")
        count = sample.addresses.get((symbol, offset), 0)
        out.append(f"{count:9.3f}  {offset:5x}  {place.text}")
    return "\n".join(out)
