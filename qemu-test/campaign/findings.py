# SPDX-License-Identifier: GPL-2.0
"""What a console tells of a kernel in trouble, and which of it is the same trouble again."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness import paths

# What the kernel says first when something is wrong, down to what distinguishes one place from another.
_HEADLINE = re.compile(
    r"(WARNING: |BUG: |Oops: |kernel BUG at|Kernel panic|general protection fault|Unable to handle"
    r"|UBSAN: |KFENCE: |KASAN: |INFO: task|unregister_netdevice: waiting|refcount_t: |list_\w+ corruption|pagealloc: "
    r"|possible (recursive|circular) locking|inconsistent lock state|suspicious RCU usage|soft lockup"
    r"|panicked at|page_pool_release_retry|nobody cared|DMA-API: |bad page state|Bad page state)"
)
# Addresses, process numbers, times: what differs from one time to the next.
_NOISE = re.compile(r"\b(0x)?[0-9a-f]{8,16}\b|\b(CPU|PID|pid)[:#= ]*\d+|\d+\.\d+s?\b|#\d+|task \S+:\d+|\b\d{2,}\b")
# A module built outside of the kernel's tree names the kernel's headers by where they lie on this machine.
_TREE = re.compile(r"(?<![\w/])/\S*?/(?=include/)")
_FRAME = re.compile(r"^\s*(RIP: \d+:)?((\w[\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+)(?: \[(\w+)\])?")
# What faddr2line says of a frame: the function and its place, after that those it was put into.
_PLACE = re.compile(r"^(?: *\(inlined by\) )?\S+ at (\S+:\d+)", re.MULTILINE)
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")
# Lines after a headline in which its stack is looked for.
_REPORT = 60
# Lines from a bad access to the word that it was fatal.
_FATAL = 10


@dataclass(frozen=True)
class Finding:
    """One place of trouble."""

    headline: str
    frames: tuple[str, ...]
    """Functions, the innermost first: where the processor was, and the first ones of the driver, or of all."""
    offsets: tuple[str, ...] = field(default=(), compare=False)
    """Where in those of the driver, as the kernel prints it."""

    def __str__(self) -> str:
        return self.headline + (f" [{' < '.join(self.frames)}]" if self.frames else "")

    def places(self, module: Path) -> list[str]:
        """FILE:LINE of its frames in the driver, of which `module` is the file with debug information."""
        found = []
        for offset in self.offsets:
            command = ["bash", str(paths.PREFIX / "linux" / "scripts" / "faddr2line"), str(module), offset]
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            places = _PLACE.findall(said)
            # What the kernel's headers put into it says less.
            own = [place for place in places if "fbnic" in place]
            found += [place.rpartition("/")[2] for place in (own or places)[:1]]
        return found


def findings(console: str) -> list[Finding]:
    """The places of trouble in a piece of console, each once."""
    lines = [_STAMP.sub("", line) for line in console.splitlines()]
    heads = _heads(lines)
    found: dict[Finding, None] = {}
    for head, following in zip(heads, [*heads, len(lines)][1:], strict=True):
        headline = _NOISE.sub("*", _TREE.sub("", lines[head])).strip()[:160]
        found[finding(headline, lines[head + 1 : min(following, head + _REPORT)])] = None
    return list(found)


def _heads(lines: list[str]) -> list[int]:
    """Where reports begin. What only says that the last one was fatal, or guesses why, is a part of it."""
    heads: list[int] = []
    for number, line in enumerate(lines):
        if not _HEADLINE.search(line):
            continue
        close = heads and number - heads[-1] < _FATAL
        if heads and "Kernel panic" in line or close and ("Oops: " in line or line.startswith("KASAN: ")):
            continue
        heads.append(number)
    return heads


def finding(headline: str, report: list[str]) -> Finding:
    """What is known from a headline and the lines after it."""
    frames = [match for line in report if (match := _FRAME.match(line))]
    ours = [match for match in frames if match[4] == "fbnic"][:3]
    # Without it a mistake of the driver in what it called looks like one in an interrupt that came by.
    at = [match for match in frames if match[1]][:1]
    shown = [*at, *(match for match in ours if match not in at)] if ours else frames[:3]
    return Finding(headline, tuple(match[3] for match in shown), tuple(match[2] for match in ours))
