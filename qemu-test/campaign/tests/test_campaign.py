# SPDX-License-Identifier: GPL-2.0
"""Tests of what a campaign makes of seeds and consoles. Run: python3 -m unittest discover qemu-test/campaign/tests"""

import contextlib
import io
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from campaign import __main__ as command, ledger  # noqa: E402
from campaign.findings import findings  # noqa: E402
from campaign.runner import RECOVERED, Campaign, Verdict, run_together  # noqa: E402
from campaign.sessions import session  # noqa: E402
from campaign.shrink import parts  # noqa: E402
from harness.agent import Result  # noqa: E402
from harness.faults import ControlError  # noqa: E402
from harness.kernels import Kernel  # noqa: E402
from harness.vm import GuestError, Spec  # noqa: E402

DEBUG = Kernel("debug", Path(), {})

CONSOLE = """\
[   12.345678] BUG: KASAN: slab-use-after-free in poll+0x123/0x400 [fbnic]
[   12.345678] Read of size 8 at addr ffff888012345678 by task ksoftirqd/0/14
[   12.345678] Call Trace:
[   12.345678]  dump_stack_lvl+0x5d/0x80
[   12.345678]  poll+0x123/0x400 [fbnic]
[   12.345678]  ? guess+0x1/0x2 [fbnic]
[   12.345678]  irq+0x4/0x10 [fbnic]
"""


class Findings(unittest.TestCase):
    """A console with trouble in it."""

    def test_the_same_place_is_one_finding(self) -> None:
        again = CONSOLE.replace("ffff888012345678", "ffff888087654321").replace("12.345678", "99.000001")
        found = findings(CONSOLE + again)
        self.assertEqual([finding.frames for finding in found], [("poll", "irq")])
        self.assertEqual(found[0].offsets, ("poll+0x123/0x400", "irq+0x4/0x10"))

    def test_where_the_kernel_tree_lies_is_not_told(self) -> None:
        (found,) = findings("WARNING: /some/where/linux/include/net/helpers.h:297 at f+0x1/0x2 [fbnic]\n")
        self.assertEqual(found.headline, "WARNING: include/net/helpers.h:* at f+0x1/0x2 [fbnic]")

    def test_another_place_is_another_finding(self) -> None:
        self.assertEqual(len(findings(CONSOLE + CONSOLE.replace("poll", "clean"))), 2)

    def test_what_is_fatal_is_one_finding(self) -> None:
        oops = """\
BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor write access in kernel mode
KASAN: null-ptr-deref in range [0x0000000000000010-0x0000000000000017]
Oops: Oops: 0002 [#1] SMP
RIP: 0010:build+0x10/0x20
Call Trace:
 poll+0x1/0x2 [fbnic]
Kernel panic - not syncing: Fatal exception in interrupt
"""
        self.assertEqual([finding.frames for finding in findings(oops)], [("build", "poll")])

    def test_a_quiet_console_has_none(self) -> None:
        self.assertEqual(findings("[    1.0] fbnic 0000:01:00.0: link up\n"), [])


class Sessions(unittest.TestCase):
    """What seeds stand for."""

    def test_a_seed_always_stands_for_the_same(self) -> None:
        self.assertEqual(session(17), session(17))
        self.assertNotEqual(session(17).requests, session(18).requests)

    def test_parts_begin_small_and_end_whole(self) -> None:
        for seed in range(1, 50):
            whole = session(seed)
            tried = list(parts(whole))
            sizes = [len(part.requests) + len(part.activities) for part in tried]
            self.assertEqual(sizes, sorted(sizes))
            self.assertEqual(tried[-1], whole)
            self.assertTrue(all(part.requests[0] == f"seed {seed}" for part in tried))


class Leaving(unittest.TestCase):
    """What is looked at when the sessions of a guest are over."""

    def test_a_clean_driver_leaves_nothing(self) -> None:
        self.assertTrue(self.verdict(self.guest()).clean)

    def test_memory_that_is_left_is_a_finding(self) -> None:
        guest = self.guest()
        guest.run.return_value = Result(1, "unreferenced object 0xffff888012345678 (size 64):\n  open+0x1/0x2 [fbnic]\n")
        self.assertEqual([finding.frames for finding in self.verdict(guest).found], [("open",)])

    def test_a_driver_that_stays_is_a_finding(self) -> None:
        guest = self.guest()
        guest.check.side_effect = GuestError("no answer")
        self.assertFalse(self.verdict(guest).clean)

    def test_what_the_kernel_says_of_an_unload_is_a_finding(self) -> None:
        self.assertFalse(self.verdict(self.guest(["", "", "", CONSOLE])).clean)

    def guest(self, consoles: list[str] | None = None) -> mock.Mock:
        """A guest that says these on its console: twice in a session, twice when it ends."""
        guest = mock.Mock()
        guest.console.text.side_effect = consoles or [""] * 4
        guest.run.return_value = Result(0, "")
        return guest

    def verdict(self, guest: mock.Mock) -> Verdict:
        """The verdict of one session without harm in that guest."""
        campaign = Campaign(Spec(driver="rust", kernel=DEBUG), lambda _: None)
        with mock.patch.multiple(campaign, _boot=lambda: guest, _suffer=lambda *_: RECOVERED):
            return campaign.run(iter([1]), 60)


class Together(unittest.TestCase):
    """Guests at once, of which some do not come up."""

    def campaign(self, error: Exception) -> mock.Mock:
        """Runs a campaign in guests that cannot be prepared. Returns such a guest."""
        with (
            mock.patch("campaign.runner.Guest") as guest,
            mock.patch("campaign.runner.hostile.prepare", side_effect=error),
            self.assertRaises(type(error)),
        ):
            run_together(Spec(driver="rust", kernel=Kernel("stock", Path(), {})), [1, 2, 3], 2, 60, lambda _: None)
        return guest

    def test_any_error_of_a_guest_is_one_of_the_campaign(self) -> None:
        guest = self.campaign(subprocess.CalledProcessError(1, "cpio"))
        self.assertEqual(guest.return_value.stop.call_count, guest.call_count)

    def test_an_emulated_nic_that_refuses_is_tried_again(self) -> None:
        guest = self.campaign(ControlError("no answer"))
        self.assertEqual(guest.return_value.stop.call_count, guest.call_count)
        self.assertEqual(guest.call_count, 2 * 3)

    def test_too_few_sessions_are_a_failure(self) -> None:
        for sessions, limit, status in ((3, "", 0), (2, "", 1), (1, "--seconds=9", 0), (0, "--seconds=9", 1)):
            verdict = Verdict("rust", dict.fromkeys(range(sessions), RECOVERED))
            with (
                self.subTest(sessions=sessions, limit=limit),
                mock.patch.object(sys, "argv", ["fuzz", "--count=3", *filter(None, [limit])]),
                mock.patch.dict("os.environ", {"DRIVER": "rust"}),
                mock.patch.object(command, "_run", return_value=verdict),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                self.assertEqual(command.main(), status)


class Ledger(unittest.TestCase):
    """Slices of a campaign."""

    def test_a_campaign_goes_on_where_it_ended(self) -> None:
        slices = [self.slice(1, 10), self.slice(11, 5)]
        self.assertEqual(ledger.next_seed(slices, "rust", "debug"), 16)
        self.assertEqual(ledger.next_seed(slices, "c", "debug"), 1)
        changed = [one | {"generator": "another"} for one in slices]
        self.assertEqual(ledger.next_seed(changed, "rust", "debug"), 1)

    def test_a_gap_ends_a_slice(self) -> None:
        self.assertEqual(ledger.run_of(Verdict("rust", dict.fromkeys((5, 6, 8), RECOVERED)), 5), 2)
        self.assertEqual(ledger.run_of(Verdict("rust", {6: RECOVERED}), 5), 0)

    def test_what_is_saved_is_read_again(self) -> None:
        slices = [self.slice(1, 3) | {"findings": [{"times": 1, "seeds": [2], "what": "BUG", "at": []}]}]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "campaign.json"
            ledger.save(slices, path)
            self.assertEqual(ledger.load(path), slices)

    def test_the_page_says_what_the_ledger_does(self) -> None:
        self.assertIn(f"\n{ledger.rows(ledger.load())}\n\n", ledger.PAGE.read_text())
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "hardening.md"
            page.write_text(f"before\n\n{ledger.rows([])}\n\nafter\n")
            ledger.publish(ledger.load(), page)
            self.assertEqual(page.read_text(), f"before\n\n{ledger.rows(ledger.load())}\n\nafter\n")

    def test_a_slice_says_what_watched_it(self) -> None:
        verdict = Verdict("rust", dict.fromkeys((1, 2, 4), RECOVERED))
        verdict.watched["lockdep"] |= {2, 4}
        with mock.patch.object(Kernel, "release", return_value="7"):
            one = ledger.slice_of(verdict, Spec(kernel=DEBUG, modules={}), 1)
        self.assertEqual((one["count"], one["lockdep"], one["kmemleak"]), (2, 1, 0))

    def slice(self, first: int, count: int) -> ledger.Slice:
        """A slice without a finding."""
        names = {"driver": "rust", "kernel": "debug", "generator": ledger.generator()}
        return names | {"first": first, "count": count, "findings": []}


if __name__ == "__main__":
    unittest.main()
