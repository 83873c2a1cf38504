# SPDX-License-Identifier: GPL-2.0
"""Tests of how a guest's console is judged and shown. Run: python3 -m unittest discover qemu-test/harness/tests"""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.console import READY, Console, excerpt  # noqa: E402

BOOT = "[    0.000000] Linux version 7.3.4"
BUG = "[    5.000000] BUG: sleeping function called from invalid context"
TRACE = "[    5.000001] Call Trace:"


def harmless(count: int, first: int = 0) -> list[str]:
    """So many lines of which none is trouble and none is like another."""
    return [f"[    1.{number:06}] fbnic: all is well" for number in range(first, first + count)]


class ExcerptTest(unittest.TestCase):
    """What a report shows of a console."""

    def shown(self, *lines: str) -> list[str]:
        """An excerpt of at most three lines from each place."""
        return excerpt("\n".join(lines), 3)

    def test_a_short_console_is_shown_whole(self):
        self.assertEqual(self.shown(), [])
        self.assertEqual(self.shown(*harmless(2)), harmless(2))
        self.assertEqual(self.shown(BUG), [BUG])

    def test_without_trouble_the_end_is_shown(self):
        self.assertEqual(self.shown(*harmless(9)), harmless(9)[-3:])

    def test_the_first_trouble_is_shown_with_what_follows(self):
        before, after = harmless(5), harmless(9, 100)
        expected = [BUG, TRACE, after[0], *after[-3:]]
        self.assertEqual(self.shown(*before, BUG, TRACE, *after), expected)

    def test_later_trouble_does_not_hide_the_first(self):
        between, after = harmless(5), harmless(5, 100)
        expected = [BUG, *between[:2], *after[-3:]]
        self.assertEqual(self.shown(BUG, *between, TRACE, *after), expected)

    def test_places_that_overlap_show_each_line_once(self):
        lines = [*harmless(4), BUG, *harmless(2, 100)]
        self.assertEqual(self.shown(*lines), [BUG, *harmless(2, 100)])
        lines.append("the last")
        self.assertEqual(self.shown(*lines), [BUG, *harmless(2, 100), "the last"])


class TroubleTest(unittest.TestCase):
    """What counts as trouble."""

    def setUp(self):
        file = tempfile.NamedTemporaryFile("w+")
        self.addCleanup(file.close)
        self.console = Console(Path(file.name))

    def trouble(self, *lines: str, allowed: tuple[str, ...] = ()) -> list[str]:
        """The trouble once these lines have been added."""
        with self.console.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        return self.console.trouble(allowed)

    def test_trouble_is_found_but_for_what_is_allowed(self):
        self.assertEqual(self.trouble(*harmless(3)), [])
        self.assertEqual(self.trouble(BUG, TRACE), [BUG, TRACE])
        self.assertEqual(self.trouble(allowed=("Call Trace",)), [BUG])
        self.assertEqual(self.trouble(allowed=("Call Trace", "sleeping function")), [])

    def test_trouble_that_was_judged_is_not_judged_again(self):
        self.trouble(BUG)
        self.console.accept()
        self.assertEqual(self.trouble(*harmless(2)), [])
        self.assertEqual(self.trouble(TRACE), [TRACE])

    def test_a_boot_is_judged_only_if_it_does_not_end(self):
        self.assertEqual(self.trouble(BOOT, BUG, f"[    6.0] {READY}"), [])
        self.assertEqual(self.trouble(TRACE), [TRACE])
        self.assertEqual(self.trouble(BOOT, BUG), [TRACE, BUG])

    def test_no_console_is_no_trouble(self):
        self.assertEqual(Console(Path("/nowhere/at/all")).trouble(), [])


if __name__ == "__main__":
    unittest.main()
