# SPDX-License-Identifier: GPL-2.0
"""Tests of how counts become figures. Run: python3 -m unittest discover bench/tests"""

import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "bench"), str(PROJECT / "qemu-test")]

from fbnic_bench import counts  # noqa: E402

SYMBOLS = """\
1000 core_call
2000 __pfx_xmit [nic]
2010 xmit [nic]
2100 helper [nic]
2200 service [nic]
"""


class Counts(unittest.TestCase):
    """A driver with a data path of two functions and one periodic function."""

    def setUp(self) -> None:
        self.symbols = counts.Symbols(SYMBOLS)
        report = counts.Report(
            {0x2010: 1000, 0x2014: 1000, 0x2020: 500, 0x2100: 1000, 0x2200: 1, 0x2204: 900},
            {0x2014: 0x2100, 0x2020: 0x1000, 0x2204: counts.THROUGH_POINTER},
        )
        self.functions = counts.by_function(report, self.symbols)

    def function(self, address: int) -> counts.Function:
        """What was counted for the function at an address."""
        return self.functions[self.symbols.at(address)]

    def test_counts_go_to_functions(self) -> None:
        xmit = self.function(0x2010)
        self.assertEqual((xmit.calls, xmit.instructions), (1000, 2500))
        self.assertEqual({s.name: n for s, n in xmit.callees.items()}, {"helper": 1000, "core_call": 500})
        self.assertEqual(self.function(0x2200).callees, {counts.POINTER: 900})

    def test_periodic_work_is_no_data_path(self) -> None:
        path = counts.data_path(self.functions, "nic", 5)
        self.assertEqual({s.name for s in path}, {"xmit", "helper"})

    def test_a_poll_is_on_the_data_path_however_rare(self) -> None:
        symbols = counts.Symbols("1000 core\n2000 nic_poll [nic]\n2100 clean [nic]\n2200 probe [nic]")
        report = counts.Report({0x2000: 2, 0x2010: 2, 0x2100: 2, 0x2200: 2}, {0x2010: 0x2100})
        path = counts.data_path(counts.by_function(report, symbols), "nic", 5)
        self.assertEqual({s.name for s in path}, {"nic_poll", "clean"})

    def test_reports_are_read_once_and_whole(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            path = Path(file.name)
            path.write_text("mark 1 0\n10 a\n20 2 30\n24 3 r1\n28 4 40 r2\nend\nmark 1 0\n10")
            reports, offset = counts.read_reports(path, 0)
            self.assertEqual(len(reports), 1)
            self.assertEqual(reports[0].counts, {0x10: 10, 0x20: 2, 0x24: 3, 0x28: 4})
            self.assertEqual(reports[0].targets, {0x20: 0x30, 0x28: 0x40})
            self.assertEqual(reports[0].reads, {0x24: 1, 0x28: 2})
            self.assertEqual(counts.read_reports(path, offset)[0], [])

    def test_overflow_is_an_error(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            path = Path(file.name)
            path.write_text("mark 1 7\nend\n")
            with self.assertRaises(counts.CountError):
                counts.read_reports(path, 0)


if __name__ == "__main__":
    unittest.main()
