# SPDX-License-Identifier: GPL-2.0
"""Tests of what is said before a guest runs. Run: python3 -m unittest discover qemu-test/harness/tests"""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import boot, initramfs, soak  # noqa: E402
from harness.kernels import Kernel  # noqa: E402
from harness.vm import Guest, GuestError, Spec  # noqa: E402

STOCK = Kernel("stock", Path(), {})


class GuestTest(unittest.TestCase):
    """A guest that cannot be started."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def start(self, **options: object) -> str:
        """Why a guest does not start."""
        console = self.directory / "console.log"
        console.write_text("of the last run")
        guest = Guest(Spec(kernel=STOCK, console=console, **options))
        with self.assertRaises(GuestError) as raised, guest:
            pass
        self.assertEqual(guest.console.text(), "")
        return str(raised.exception)

    def test_a_driver_that_is_not_built(self):
        missing = self.directory / "fbnic.ko"
        self.assertIn(f"no {missing}, the module of DRIVER=rust; run: make", self.start(modules={"rust": missing}))

    def test_a_host_without_room(self):
        with mock.patch.object(initramfs, "build", side_effect=initramfs.PackError("cpio: No space left")):
            with mock.patch("harness.paths.BASE_INITRAMFS", Path(__file__)):
                self.assertRegex(self.start(modules={}), "No space left: the guest's files need 50 MB free")

    def test_cpio_without_room(self):
        with open("/dev/full", "wb") as full, self.assertRaisesRegex(initramfs.PackError, "whole archive"):
            initramfs._append(full.fileno(), Path(__file__).parent)


class CommandLineTest(unittest.TestCase):
    """Wishes that nobody can fulfil."""

    def refused(self, function: object, **environment: str) -> str:
        """What a command says to a wish in the environment, having ended."""
        says = io.StringIO()
        with (
            mock.patch.dict("os.environ", {"T": "", "SEED": "", "DRIVER": "", "ACCEL": "tcg"} | environment),
            mock.patch.object(sys, "argv", ["command"]),
            contextlib.redirect_stderr(says),
            self.assertRaises(SystemExit) as raised,
        ):
            function()
        return says.getvalue() + str(raised.exception)

    def test_soak_with_a_seed_that_is_no_number(self):
        self.assertIn("invalid int value: 'abc'", self.refused(soak._parse, SEED="abc"))

    def test_soak_with_an_unknown_driver(self):
        self.assertIn("DRIVER=foo: use one of", self.refused(soak._parse, DRIVER="foo"))

    def test_boot_with_an_unknown_driver(self):
        self.assertIn("--driver foo: use one of", self.refused(lambda: boot._spec(boot._parse()), DRIVER="foo"))

    def test_boot_with_a_module_that_is_not_there(self):
        def spec() -> None:
            sys.argv += ["--ko", "mine=/nowhere/fbnic.ko"]
            boot._spec(boot._parse())

        self.assertIn("there is no /nowhere/fbnic.ko", self.refused(spec))


if __name__ == "__main__":
    unittest.main()
