# SPDX-License-Identifier: GPL-2.0
"""Tests of the tap on the cable. Run: python3 -m unittest discover qemu-test/harness/tests"""

import socket
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import wire  # noqa: E402


class WireTest(unittest.TestCase):
    """What is told of frames, and of their end."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "tap"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen()
        self.wire = wire.Wire(path)
        self.addCleanup(self.wire.__exit__)
        self.qemu = listener.accept()[0]
        self.addCleanup(self.qemu.close)

    def test_frames_are_told_apart(self):
        self.qemu.sendall(b"\0\0\0\3abc\0\0\0\2d")
        self.assertEqual(self.wire.receive(0.01), [b"abc"])
        self.qemu.sendall(b"e")
        self.assertEqual(self.wire.receive(0.01), [b"de"])

    def test_frames_of_an_action_are_seen(self):
        self.assertEqual(self.wire.during(lambda: self.qemu.sendall(b"\0\0\0\1a"), 0.01), [b"a"])

    def test_a_tap_that_closes_during_an_action_is_an_error(self):
        with self.assertRaisesRegex(OSError, "QEMU has closed"):
            self.wire.during(self.qemu.close, 0.01)

    def test_the_error_of_an_action_comes_first(self):
        with self.assertRaises(ZeroDivisionError):
            self.wire.during(lambda: (self.qemu.close(), 1 / 0), 0.01)

    def test_frames_without_end_are_an_error(self):
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.001):
                self.qemu.sendall(b"\0\0\0\1a")

        sender = threading.Thread(target=send)
        sender.start()
        try:
            with mock.patch.object(wire, "_LONGEST", 0), self.assertRaisesRegex(OSError, "not quiet"):
                self.wire.receive(0.1)
        finally:
            over.set()
            sender.join()


if __name__ == "__main__":
    unittest.main()
