# SPDX-License-Identifier: GPL-2.0
"""What a console tells of a kernel in trouble, and which of it is the same trouble again."""

import re
from dataclasses import dataclass

# What the kernel says first when something is wrong, down to what distinguishes one place from another.
_HEADLINE = re.compile(
    r"(WARNING: |BUG: |Oops: |kernel BUG at|Kernel panic|general protection fault|Unable to handle"
    r"|UBSAN: |KFENCE: |KASAN: |INFO: task|unregister_netdevice: waiting|refcount_t: |list_\w+ corruption"
    r"|possible (recursive|circular) locking|inconsistent lock state|suspicious RCU usage|soft lockup"
    r"|panicked at|page_pool_release_retry|nobody cared|DMA-API: |bad page state|Bad page state)"
)
# Addresses, process numbers, times: what differs from one time to the next.
_NOISE = re.compile(r"\b(0x)?[0-9a-f]{8,16}\b|\b(CPU|PID|pid)[:#= ]*\d+|\d+\.\d+s?\b|#\d+|task \S+:\d+|\b\d{2,}\b")
_FRAME = re.compile(r"^\s*(?:\? )?(\w[\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\w+)\])?")
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?")
# Lines after a headline in which its stack is looked for.
_REPORT = 60


@dataclass(frozen=True)
class Finding:
    """One place of trouble."""

    headline: str
    frames: tuple[str, ...]

    def __str__(self) -> str:
        return self.headline + (f" [{' < '.join(self.frames)}]" if self.frames else "")


def findings(console: str) -> list[Finding]:
    """The places of trouble in a piece of console, each once."""
    lines = [_STAMP.sub("", line) for line in console.splitlines()]
    found: dict[Finding, None] = {}
    for number, line in enumerate(lines):
        if not _HEADLINE.search(line) or "Kernel panic" in line and found:
            continue
        headline = _NOISE.sub("*", line).strip()[:160]
        found[Finding(headline, frames(lines[number + 1 : number + _REPORT]))] = None
    return list(found)


def frames(lines: list[str]) -> tuple[str, ...]:
    """The first frames of the driver in a stack, or the first ones of all."""
    frames = [match for line in lines if (match := _FRAME.match(line)) and not line.lstrip().startswith("?")]
    ours = [match[1] for match in frames if match[2] == "fbnic"]
    return tuple((ours or [match[1] for match in frames])[:3])
