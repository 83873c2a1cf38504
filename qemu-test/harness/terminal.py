# SPDX-License-Identifier: GPL-2.0
"""`make run` as a person sees it, on a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

from . import paths

# Seconds from typing to the start of QEMU when nothing is left to build: the aim, and what a busy
# machine may take.
_AIM, _LIMIT = 5, 30
_PROMPT = "fbnic-guest:/# "
# Escape sequences: colours, and the marks around a paste.
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of its own, to be used in a `with` statement."""

    def __init__(self, command: list[str], **environment: str):
        self._master, self._slave = pty.openpty()
        self._before = termios.tcgetattr(self._slave)
        self._seen = b""
        self.process = subprocess.Popen(
            command,
            cwd=paths.PROJECT,
            env={**os.environ, "TERM": "xterm", **environment},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._master, keys.encode())

    def read(self) -> str:
        """What has been printed since the last `expect`, without colours."""
        while select.select([self._master], [], [], 0)[0]:
            self._seen += os.read(self._master, 1 << 16)
        return _ESCAPE.sub(b"", self._seen).decode(errors="replace").replace("\r", "")

    def expect(self, words: str, seconds: float) -> str:
        """Waits for words. Returns what was printed before them."""
        end = time.monotonic() + seconds
        while words not in (seen := self.read()):
            assert self.process.poll() is None, f"ended with status {self.process.returncode} before {words!r}:\n{seen[-2000:]}"
            assert time.monotonic() < end, f"no {words!r} within {seconds} s after:\n{seen[-2000:]}"
            time.sleep(0.02)
        before, _, rest = seen.partition(words)
        self._seen = rest.encode()
        return before

    def end(self, seconds: float) -> int:
        """Waits for the command's end. Returns its status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < end, f"does not end:\n{self.read()[-2000:]}"
            time.sleep(0.02)
        return self.process.returncode

    def is_as_before(self) -> bool:
        """Whether the terminal has the modes it had at first."""
        return termios.tcgetattr(self._slave) == self._before


def run() -> str:
    """`make run` sums up and leaves a shell, where Ctrl-C ends a command and Ctrl-D all of it."""
    console = paths.LOGS / "run-rust.console"
    console.unlink(missing_ok=True)
    begun = time.monotonic()
    with Terminal(["make", "--no-print-directory", "run"], DRIVER="rust", KERNEL="stock", MAKEFLAGS="") as terminal:
        while not console.exists():
            terminal.read()
            waited = time.monotonic() - begun
            assert waited < _LIMIT, f"QEMU does not start:\n{terminal.read()}"
            time.sleep(0.02)
        terminal.expect("==> Summary\n", 240)
        summary = terminal.expect("==> A shell in the guest", 10)
        for words in ("driver   fbnic, Rust", "carrier  up", " 0% packet loss", "TCP out", "TCP in", "no warning"):
            assert words in summary, f"no {words!r} in the summary:\n{summary}"
        _use_shell(terminal)
        terminal.type("\x04")
        status = terminal.end(60)
        assert status == 0, f"status {status}: {terminal.read()}"
        assert terminal.is_as_before(), "the terminal is not as it was"
    return f"QEMU started after {waited:.1f} s, the aim is {_AIM}"


def _use_shell(terminal: Terminal) -> None:
    terminal.expect(_PROMPT, 30)
    terminal.type("ip -br address show up\n")
    assert "192.0.2.1/24" in terminal.expect(_PROMPT, 30), "no address"
    terminal.type("far ping -c 2 -i 0.1 192.0.2.1\n")
    assert " 0% packet loss" in terminal.expect(_PROMPT, 30), "no answer from the near end"
    terminal.type("sleep 1000\n")
    terminal.expect("sleep 1000\n", 30)
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.expect(_PROMPT, 30)
    terminal.type("echo status $?\n")
    assert "status 130\n" in terminal.expect(_PROMPT, 30), "Ctrl-C did not end the command"
