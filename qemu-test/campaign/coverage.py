# SPDX-License-Identifier: GPL-2.0
"""Which lines of the driver a campaign has run, by the plugin that the bench counts with.

The plugin reports addresses, and each load of the driver may lie elsewhere. So the guest, whenever it is
about to unload the driver, writes to its console where the driver lies and lets the plugin report.
"""

import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fbnic_bench import build, counts
from harness import paths
from harness.vm import Spec

# Where the kernel puts modules, below everything it puts there.
_MODULES = 0xFFFF_FFFF_A000_0000
_LOADED = re.compile(r"fbnic lies at ((?:\.\S+=0x[0-9a-f]+ )+)")
_SECTION = re.compile(r"^Disassembly of section (\S+):$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t")
_LOCATION = re.compile(r"^(inlined by )?(/\S+):(\d+)")

Line = tuple[str, int]
Known = dict[tuple[str, int], set[Line]]


def lines_of(module: Path) -> Known:
    """The lines of the driver's source that each instruction comes from, by section and offset in it.

    An instruction has several when functions were put into each other. Those of the kernel's headers and
    of Rust's library are left out.
    """
    command = ["objdump", "-d", "-l", "--inlines", "--no-show-raw-insn", str(module)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: Known = {}
    section, innermost, around = "", [], []
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            found[section, int(match[1], 16)] = {place for place in innermost + around if place[0]}
            around = []
        elif match := _LOCATION.match(line):
            place = (_source(match[2]), int(match[3]))
            if match[1]:
                around.append(place)
            else:
                # What stays the same from one instruction to the next is not repeated.
                innermost = [place]
        elif match := _SECTION.match(line):
            section, innermost, around = match[1], [], []
    return found


def of_module(module: Path) -> "Coverage":
    """Nothing has run yet. Builds the plugin."""
    build.build()
    return Coverage(lines_of(module), paths.PROJECT / "build" / "coverage.reports")


def _source(path: str) -> str:
    """The short name of a source file of either driver; of other files none."""
    if path.startswith(f"{paths.PROJECT}/"):
        return path.removeprefix(f"{paths.PROJECT}/")
    name = path.rpartition("/")[2]
    return name if name.startswith("fbnic") else ""


@dataclass
class Coverage:
    """What ran of one driver."""

    known: Known
    reports: Path
    times: dict[Line, int] = field(default_factory=lambda: defaultdict(int))
    """How often each line of the driver has run."""

    def __post_init__(self) -> None:
        self.times.update((line, 0) for places in self.known.values() for line in places)

    def watch(self, spec: Spec) -> None:
        """Has every guest of this specification counted."""
        spec.files = [*spec.files, build.MARK]
        spec.cmdline = "nokaslr COVERAGE=1"
        spec.qemu_args = ["-plugin", f"file={build.PLUGIN},out={self.reports},from={_MODULES:#x}"]

    def take(self, console: str) -> None:
        """Adds what one guest, which has ended, says it has run."""
        loads = [dict(word.split("=") for word in found.split()) for found in _LOADED.findall(console)]
        reports, _ = counts.read_reports(self.reports, 0)
        # A guest that died may have announced a report that it did not come to.
        for sections, report in zip(loads, reports, strict=False):
            bases = {name: int(base, 16) for name, base in sections.items()}
            ran: dict[Line, int] = defaultdict(int)
            for (section, offset), places in self.known.items():
                count = report.counts.get(bases.get(section, 0) + offset, 0)
                for line in places if count else ():
                    # A line has run as often as that instruction of it that ran most.
                    ran[line] = max(ran[line], count)
            for line, count in ran.items():
                self.times[line] += count

    def table(self) -> list[str]:
        """Lines that ran, by file."""
        ran: dict[str, list[bool]] = defaultdict(list)
        for (file, _), times in self.times.items():
            ran[file].append(times > 0)
        ran["all"] = [times > 0 for times in self.times.values()]
        return [
            f"  {sum(hits):5} of {len(hits):5} lines ({sum(hits) / len(hits):4.0%})  {file}"
            for file, hits in sorted(ran.items())
            if hits
        ]

    def save(self, path: Path) -> None:
        """Writes the lines in the form of lcov, for genhtml and editors."""
        files: dict[str, list[str]] = defaultdict(list)
        for (file, number), times in sorted(self.times.items()):
            files[file].append(f"DA:{number},{times}\n")
        path.write_text("".join(f"SF:{file}\n{''.join(lines)}end_of_record\n" for file, lines in files.items()))
