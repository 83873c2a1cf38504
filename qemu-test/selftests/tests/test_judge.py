# SPDX-License-Identifier: GPL-2.0
"""Tests of how output becomes a verdict. Run: python3 -m unittest discover qemu-test/selftests/tests"""

import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selftests import judge, ktap, table  # noqa: E402
from selftests.results import FAIL, PASS, SKIP, XFAIL, Outcome, Run, Store  # noqa: E402

OUTPUT = """\
10 # Interface: eth0, driver: fbnic
20 TAP version 13
20 1..4
2020 ok 1 ping.test_default_v4
2100 # Exception| CMD: ethtool --json -l eth0
2100 # Exception|   STDERR: ethtool: bad command line argument(s)
2520 not ok 2 ping.test_b.variant
2600 ok 3 ping.test_c # SKIP device does not support native-XDP
2700 ok 4 ping.test_d # XFAIL too old
2710 # Totals: pass:1 fail:1 xfail:1 xpass:0 skip:1 error:0
"""


class Parsing(unittest.TestCase):
    """What programs print."""

    def test_ktap(self):
        """Names lose the program's, times are differences, reasons are found."""
        output = ktap.parse(OUTPUT, "ping.py")
        self.assertEqual(output.planned, 4)
        self.assertEqual(
            output.cases,
            {
                "test_default_v4": Outcome(PASS, "", 2.0),
                "test_b.variant": Outcome(FAIL, "STDERR: ethtool: bad command line argument(s)", 0.5),
                "test_c": Outcome(SKIP, "device does not support native-XDP", 0.1),
                "test_d": Outcome(XFAIL, "too old", 0.1),
            },
        )

    def test_forwarding(self):
        """Lines of net/forwarding/lib.sh, whose reason comes after the result."""
        text = "100 TEST: loopback      [SKIP]\n100 \tno loopback\n200 TEST: loopback      [ OK ]\n"
        cases = ktap.parse(text, "loopback.sh").cases
        self.assertEqual(cases["loopback"], Outcome(SKIP, "no loopback", 0.1))
        self.assertEqual(cases["loopback (2)"].result, PASS)

    def test_noise(self):
        """Lines without a time, or of no known form, are no results."""
        self.assertEqual(ktap.parse("ok 1 x.y\n5 okay 1 x.y\n7 not okay\n", "x.py").cases, {})


def _bad(rust: dict | None, c: dict | None) -> list[str]:
    runs = [
        {"p.py": Run({name: Outcome(result) for name, result in cases.items()})} if cases is not None else {}
        for cases in (rust, c)
    ]
    return [row.case for row in judge.rows(*runs) if row.bad]


class Verdicts(unittest.TestCase):
    """Which results make a run fail."""

    def test_behind_c(self):
        """Whatever C passes has to pass, and what C skips must not fail."""
        self.assertEqual(_bad({"a": PASS, "b": SKIP, "c": FAIL}, {"a": PASS, "b": PASS, "c": XFAIL}), ["b", "c"])
        self.assertEqual(_bad({"a": FAIL, "b": PASS}, {"a": FAIL, "b": FAIL}), [])

    def test_short_form(self):
        """Where all is known to pass, a failure of both drivers is one as well."""
        runs = {"p.py": Run({"a": Outcome(FAIL), "b": Outcome(SKIP)})}
        rows = judge.rows(runs, runs)
        self.assertEqual([row.failed for row in rows], [True, False])
        self.assertEqual([row.bad for row in rows], [False, False])

    def test_missing(self):
        """A case that only C got to counts as failed."""
        self.assertEqual(_bad({"a": PASS}, {"a": PASS, "b": PASS}), ["b"])
        self.assertEqual(_bad({"a": PASS}, {"a": PASS, "(program)": FAIL}), [])

    def test_alone(self):
        """With one driver, what fails is bad."""
        self.assertEqual(_bad({"a": FAIL, "b": SKIP}, None), ["a"])
        self.assertEqual(_bad(None, {"a": FAIL, "b": PASS}), ["a"])

    def test_notes(self):
        """A case that waits is excused until it passes; what cannot pass is excused always."""
        waits = (judge.Note("p.py", "w*", "XDP"),)
        lacks = (judge.Note("p.py", "l", "no model"),)
        with mock.patch.object(judge, "WAITS", waits), mock.patch.object(judge, "LACKS", lacks):
            self.assertEqual(_bad({"w1": SKIP, "w2": PASS, "l": FAIL}, {"w1": PASS, "w2": PASS, "l": PASS}), ["w2"])

    def test_bug_of_c(self):
        """What is wrong with C is told where it fails, and excuses nobody."""
        with mock.patch.object(judge, "C_BUGS", (judge.Note("p.py", "*", "bug"),)):
            self.assertEqual(_bad({"a": FAIL, "b": FAIL}, {"a": PASS, "b": FAIL}), ["a"])
            runs = [{"p.py": Run({"a": Outcome(result)})} for result in (PASS, FAIL)]
            self.assertEqual([judge.rows(*runs)[0].remark, judge.rows(*reversed(runs))[0].remark], ["bug", ""])

    def test_page(self):
        """Cases that share their reason share a line of the page; those that pass have their own."""
        cases = {"a": Outcome(PASS), "b": Outcome(XFAIL, "no"), "c": Outcome(XFAIL, "no")}
        runs = {"p.py": Run(cases, 3.0)}
        page = table.page(judge.rows(runs, runs), runs, runs)
        self.assertIn("| p.py | a | pass | 0.0 | pass | 0.0 |  |", page)
        self.assertIn("| p.py | b and 1 more | xfail | 0.0 | xfail | 0.0 | no |", page)

    def test_page_of_several_runs(self):
        """The page names the programs that have run at another time than most."""
        rust = {"p.py": Run({}, 1.0, "now"), "q.py": Run({}, 1.0, "then")}
        c = {"p.py": Run({}, 1.0, "now"), "q.py": Run({}, 1.0, "now")}
        page = table.page([], rust, c)
        self.assertIn("Run at now.\nAt then: q.py with Rust.\n", page)


class Keeping(unittest.TestCase):
    """Results outlive the command."""

    def test_store(self):
        """A program that runs again replaces its own results only."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "rust.json"
            self.assertEqual(Store(path).load(), {})
            first, second = Run({"a": Outcome(FAIL, "x", 0.5)}, 2.0, "then"), Run({}, 1.0, "now")
            for name, run in (("p.py", second), ("q.py", first), ("p.py", first), ("p.py", second)):
                Store(path).put(name, run)
            self.assertEqual(Store(path).load(), {"p.py": second, "q.py": first})


if __name__ == "__main__":
    unittest.main()
