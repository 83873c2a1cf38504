# SPDX-License-Identifier: GPL-2.0
"""Tests of what `make fuzz FUZZ=--coverage` makes of the plugin's reports."""

import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "bench"), str(PROJECT / "qemu-test")]

from campaign.coverage import Coverage  # noqa: E402

CONSOLE = """
[    3.1] fbnic lies at .init.text=0xffffffffa0010000 .text=0xffffffffa0000000 .
[    9.9] fbnic lies at .init.text=0xffffffffa0030000 .text=0xffffffffa0020000 .
[   12.0] fbnic lies at .init.text=0xffffffffa0050000 .text=0xffffffffa0040000 .
"""
# The guest died before the third report. The second load ran the last instruction only.
REPORTS = """\
mark 1 0
ffffffffa0000000 5
ffffffffa0000004 2
end
mark 1 0
ffffffffa0020008 1
end
"""


class Taken(unittest.TestCase):
    """Reports are credited to lines, wherever the driver lay."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        reports = self.directory / "reports"
        reports.write_text(REPORTS)
        a, b, never = ("fbnic_a.rs", 7), ("fbnic_b.rs", 1), ("fbnic_b.rs", 2)
        known = {
            (".text", 0): {a},
            (".text", 4): {a, b},
            (".text", 8): {b},
            (".text", 12): {never},
            (".init.text", 0): {never},
        }
        self.coverage = Coverage(known, reports)
        self.coverage.take(CONSOLE)

    def test_a_line_counts_as_often_as_its_busiest_instruction(self) -> None:
        file = self.directory / "info"
        self.coverage.save(file)
        want = "SF:fbnic_a.rs\nDA:7,5\nend_of_record\nSF:fbnic_b.rs\nDA:1,3\nDA:2,0\nend_of_record\n"
        self.assertEqual(file.read_text(), want)

    def test_the_table_tells_what_never_ran(self) -> None:
        shares = {line.split()[-1]: line.split()[0] for line in self.coverage.table()}
        self.assertEqual(shares, {"all": "2", "fbnic_a.rs": "1", "fbnic_b.rs": "1"})


if __name__ == "__main__":
    unittest.main()
