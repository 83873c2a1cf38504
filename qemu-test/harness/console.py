# SPDX-License-Identifier: GPL-2.0
"""The guest's console log, and what in it means that a test has failed."""

import re
from collections.abc import Iterator
from pathlib import Path

# Lines of a healthy run never match one of these.
_TROUBLE = re.compile(
    "|".join(
        (
            r"WARNING:",
            r"\bBUG\b",
            r"\bOops\b",
            r"Kernel panic",
            r"panicked at",
            r"general protection fault",
            r"Unable to handle",
            r"Call Trace:",
            r"possible (recursive|circular) locking|inconsistent lock state|suspicious RCU usage",
            r"blocked for more than",
            r"(soft|hard) lockup|hard LOCKUP|detected stalls|self-detected stall",
            r"nobody cared",
            r"UBSAN:|KFENCE:|KASAN:",
            r"refcount_t:|list_(add|del) corruption|pagealloc: ",
            r"unregister_netdevice: waiting",
            r"NETDEV WATCHDOG",
            r"page_pool_release_retry|stalled pool shutdown",
            r"DMA-API:|DMAR: .*fault",
            r"\bleak(ed)?\b",
            r"Object .* in use|remaining on __kmem_cache_shutdown",
        )
    )
)

# The kernel's first line (where loglevel lets it through) and the first word of guest/init. What lies between them is the kernel's
# own affair: under emulation a debug kernel now and then complains about itself before any module.
_BOOT = re.compile(r"\bLinux version \d")
READY = "guest: the tests begin"

# The kernel puts a breakpoint where it changes its code. Under TCG a processor may still run it when it is
# gone, and then nobody knows it. That is QEMU's fault; whoever sees it does what he did once more.
STALE_BREAKPOINT = "Oops: int3: 0000"


def excerpt(text: str, lines: int = 12) -> list[str]:
    """What a report of a failure shows of a console: the first sign of trouble with what follows it, and the end."""
    every = text.splitlines()
    first = next((number for number, line in enumerate(every) if _TROUBLE.search(line)), len(every))
    shown = {*range(first, first + lines), *range(len(every) - lines, len(every))}
    return [line for number, line in enumerate(every) if number in shown]


class Console:
    """The log file that QEMU writes the guest's console to."""

    def __init__(self, path: Path):
        self.path = path
        self._accepted = 0

    def text(self) -> str:
        """All of the console so far."""
        try:
            return self.path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self, text: str) -> None:
        """Adds a line of the host's own. QEMU appends too, so neither overwrites the other."""
        with self.path.open("a") as file:
            file.write(f"\n# {text}\n")

    def tail(self, lines: int = 30) -> str:
        """The last lines, for a report of a failure."""
        return "\n".join(self.text().splitlines()[-lines:])

    def accept(self) -> None:
        """What is there by now is no trouble any more: who was to judge it has done so."""
        self._accepted = len(self.text())

    def unjudged(self) -> str:
        """All that has come since `accept`."""
        return self.text()[self._accepted :]

    def trouble(self, allowed: tuple[str, ...] = ()) -> list[str]:
        """Lines since `accept` that no healthy run prints, but for those that match a pattern in `allowed`."""
        return [
            line
            for line in self._judged()
            if _TROUBLE.search(line) and not any(re.search(p, line) for p in allowed)
        ]

    def _judged(self) -> Iterator[str]:
        """All lines but those of a boot that has got as far as its init."""
        pending: list[str] = []
        booting = False
        for line in self.unjudged().splitlines():
            if _BOOT.search(line):
                booting = True
            if booting and READY in line:
                booting = False
                pending.clear()
            if booting:
                pending.append(line)
            else:
                yield line
        # This boot never got there, so its lines are the reason.
        yield from pending
