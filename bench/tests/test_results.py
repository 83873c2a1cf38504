# SPDX-License-Identifier: GPL-2.0
"""Tests of what is kept, compared and drawn. Run: python3 -m unittest discover bench/tests"""

import json
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "bench"), str(PROJECT / "qemu-test")]

from fbnic_bench import plot, report  # noqa: E402
from fbnic_bench.counting import Sample  # noqa: E402
from fbnic_bench.results import Results, worse  # noqa: E402


def results(instructions: float, calls: float = 3.0) -> Results:
    """Results with one row, one curve and one rate."""
    new = Results("abc", "today", "7.3", "QEMU")
    figures = {"instructions": instructions, "calls out of the driver": calls}
    for _ in range(2):
        new.count("tx-small", "rust", Sample(100, dict(figures), {"xmit": instructions}))
        new.draw("tx-size", 60, "rust", {"instructions": instructions, "frames lost": 0.0})
        new.draw("tx-size", 1514, "rust", {"instructions": instructions, "frames lost": 0.5})
        new.time("tcp-tx", "rust", 100.0)
    return new


class Shown(unittest.TestCase):
    """Tables say what the values do."""

    def test_rates_are_compared_within_their_round(self) -> None:
        new = Results("abc", "today", "7.3", "QEMU")
        # The ratios are 1.0, 1.0 and 0.5; those of the medians would be 0.5.
        for rust, c in ((200.0, 200.0), (50.0, 50.0), (50.0, 100.0)):
            new.time("tcp-tx", "rust", rust)
            new.time("tcp-tx", "c", c)
        self.assertEqual(report.rates(new).split()[-1], "1.00")

    def test_the_pair_is_compared_with_nics_that_have_such_a_cable(self) -> None:
        new = Results("abc", "today", "7.3", "QEMU")
        for nic, rate in (("rust", 80.0), ("pair", 120.0), ("e1000e", 100.0)):
            new.time("tcp-tx", nic, rate)
        lines = report.rates(new).splitlines()
        self.assertEqual(lines[0].split()[-2:], ["rust/e1000e", "pair/e1000e"])
        self.assertEqual(lines[-1].split()[-2:], ["0.80", "1.20"])


class Kept(unittest.TestCase):
    """Results survive a file, and are compared by the figures that count."""

    def test_a_file_holds_everything(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "bench.json"
            results(100).save(path)
            self.assertEqual(Results.load(path), results(100))
            self.assertIn('"instructions": [ 100, 100 ]', path.read_text().replace(".0", ""))
            json.loads(path.read_text())

    def test_three_percent_are_allowed_and_no_more(self) -> None:
        self.assertEqual(worse(results(102.9), results(100)), [])
        self.assertEqual(worse(results(90), results(100)), [])
        self.assertEqual(len(worse(results(103.1), results(100))), 1)
        self.assertEqual(len(worse(results(100, calls=3.2), results(100))), 1)

    def test_the_least_of_several_rounds_counts(self) -> None:
        noisy = results(110)
        noisy.count("tx-small", "rust", Sample(100, {"instructions": 101.0}))
        self.assertEqual(worse(noisy, results(100)), [])

    def test_a_row_that_has_gone_is_worse(self) -> None:
        gone = Results("abc", "today", "7.3", "QEMU", missing={"tx-small, rust": "no"})
        self.assertEqual(len(worse(gone, results(100))), 1)

    def test_taking_over_renews_what_was_measured_and_keeps_the_rest(self) -> None:
        kept = results(100)
        kept.missing["xdp-tx, rust"] = "no"
        new = Results("def", "tomorrow", "7.3", "QEMU")
        new.count("xdp-tx", "rust", Sample(100, {"instructions": 50.0}))
        kept.take_over(new)
        self.assertEqual(set(kept.counted), {"tx-small", "xdp-tx"})
        self.assertEqual((kept.missing, kept.commit), ({}, "def"))
        self.assertEqual(kept.taken, {"counted": "def, tomorrow"})

    def test_tables_and_pictures_show_it(self) -> None:
        text = report.text(results(100))
        for part in ("Tx 60 B", "100.0", "1514: frames lost", "TCP out, 1 stream"):
            self.assertIn(part, text)
        for picture in (plot.bars(results(100)), plot.lines(results(100))):
            ElementTree.fromstring(picture)


if __name__ == "__main__":
    unittest.main()
