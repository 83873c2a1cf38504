# SPDX-License-Identifier: GPL-2.0
"""Tests of how results are counted and told. Run: python3 -m unittest discover qemu-test/harness/tests"""

import contextlib
import io
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import accel, hostchecks, paths, suite  # noqa: E402
from harness.report import EXPLAINED, FAILED, PASSED, Report  # noqa: E402
from harness.vm import GuestError  # noqa: E402

CARGO = """\
     Running tests/tlv.rs (target/debug/deps/tlv-0123456789abcdef)
test good ... ok
test bad ... FAILED
test later ... ignored
"""


def finished(report: Report) -> tuple[int, str]:
    """The exit status of a run, and its closing lines."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = report.finish()
    return status, said.getvalue()


class ReportTest(unittest.TestCase):
    """What becomes of results."""

    def setUp(self):
        self.report = Report()
        silence = contextlib.redirect_stdout(io.StringIO())
        silence.__enter__()
        self.addCleanup(silence.__exit__, None, None, None)

    def test_a_run_of_nothing_fails(self):
        self.assertEqual(finished(self.report)[0], 1)

    def test_all_passed(self):
        self.report.run("fine", lambda: None)
        status, said = finished(self.report)
        self.assertEqual((status, said.splitlines()[-1]), (0, "1 passed, 0 failed"))

    def test_a_failure_is_told_at_the_end_with_its_reason(self):
        self.report.run("wrong", lambda: self.fail("the reason"))
        status, said = finished(self.report)
        self.assertEqual(status, 1)
        self.assertIn("FAIL wrong\n     | the reason\n", said)

    def test_an_expected_failure_is_explained_and_an_unexpected_success_is_not(self):
        self.report.run("known", lambda: self.fail("so"), "a fault of C")
        self.report.run("repaired", lambda: None, "a fault of C")
        self.assertEqual(self.report.outcomes, {"known": EXPLAINED, "repaired": FAILED})

    def test_a_failed_test_of_cargo_has_a_reason(self):
        logs = mock.patch.object(paths, "LOGS", paths.PROJECT / "build" / "logs")
        with logs, mock.patch.object(hostchecks, "call", return_value=mock.Mock(stdout=CARGO, returncode=101)):
            paths.LOGS.mkdir(parents=True, exist_ok=True)
            hostchecks._cargo_test(self.report, "of-a-test", Path())
        (paths.LOGS / "of-a-test-tests.log").unlink()
        self.assertEqual(self.report.outcomes, {"of-a-test/tlv::good": PASSED, "of-a-test/tlv::bad": FAILED})
        status, said = finished(self.report)
        self.assertEqual(status, 1)
        self.assertIn("FAIL of-a-test/tlv::bad\n     | see build/logs/of-a-test-tests.log\n", said)

    def test_an_error_of_the_harness_is_a_failure(self):
        with (
            mock.patch.object(sys, "argv", ["test", "--unit"]),
            mock.patch.object(hostchecks, "run", side_effect=RuntimeError("broken")),
            mock.patch.object(suite.status, "write") as write,
            mock.patch.dict("os.environ", {"KERNEL": "", "T": "", "DRIVER": ""}),
        ):
            self.assertEqual(suite.main(), 1)
        outcomes, whole = write.call_args.args
        self.assertEqual((outcomes, whole), ({"harness": FAILED}, False))


class AcceleratorTest(unittest.TestCase):
    """What is believed about KVM."""

    def record_after(self, guest: mock.Mock) -> mock.Mock:
        """What is done to the record when that guest has been tried."""
        record = mock.MagicMock()
        record.exists.return_value = False
        prefix = mock.MagicMock()
        prefix.__truediv__.return_value = record
        with (
            mock.patch.object(paths, "PREFIX", prefix),
            mock.patch.object(accel, "_Trial", return_value=guest),
            mock.patch.object(accel.os, "access", return_value=True),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            self.assertEqual(accel.choose("auto"), "tcg")
        return record.with_suffix.return_value

    def guest(self, qemu: object) -> mock.MagicMock:
        """A guest that does not boot."""
        guest = mock.MagicMock(qemu=qemu)
        guest.__enter__.side_effect = GuestError("nothing boots")
        return guest

    def test_a_guest_that_dies_is_remembered(self):
        self.record_after(self.guest(object())).write_text.assert_called_once_with("no")

    def test_a_host_without_room_for_the_guest_says_nothing_about_kvm(self):
        self.record_after(self.guest(None)).write_text.assert_not_called()


if __name__ == "__main__":
    unittest.main()
