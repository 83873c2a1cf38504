# SPDX-License-Identifier: GPL-2.0
"""The host's end of the command channel (the guest's end is guest/init)."""

import os
import secrets
import select
import socket
import sys
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class AgentError(Exception):
    """The guest did not answer in time, or is gone."""


@dataclass(frozen=True)
class Result:
    """What a command in the guest left behind."""

    status: int
    output: str


class Agent:
    """Sends commands over QEMU's socket for the guest's second serial port.

    `alive` is asked while waiting and raises when the guest cannot answer any more.
    """

    def __init__(self, path: Path, alive: Callable[[], None]):
        self._alive = alive
        self._buffer = b""
        self._serial = 0
        self._socket = self._connect(path)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def wait_ready(self, timeout: float) -> None:
        """Waits until the guest's agent has started."""
        self._answer("ready", time.monotonic() + timeout)

    def run(self, command: str, timeout: float) -> Result:
        """Runs a piece of bash. The guest ends it after `timeout` seconds, with status 124."""
        text = command.replace("\\", "\\\\").replace("\n", "\\n")
        number = self._send(f"{max(1, round(timeout))} {text}")
        # The guest's own limit comes first; the margin covers a slow host.
        end = time.monotonic() + timeout + 30
        status = self._answer(number, end)
        output = self._until(f"\0{number}\n".encode(), end)
        return Result(int(status), output.decode(errors="replace"))

    def request(self, word: str) -> None:
        """Sends a request that has no answer: poweroff, reboot."""
        self._send(word)

    def shell(self) -> None:
        """Connects the terminal to a shell in the guest until that shell ends."""
        number = self._send("shell -")
        self._answer(number, time.monotonic() + 10)
        end = f"\0{number} 0 -".encode()
        saved = termios.tcgetattr(sys.stdin)
        try:
            tty.setraw(sys.stdin)
            self._relay(end)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)

    def _connect(self, path: Path) -> socket.socket:
        end = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
                return connection
            except OSError as error:
                connection.close()
                self._alive()
                if time.monotonic() > end:
                    raise AgentError(f"QEMU does not open {path}") from error
                time.sleep(0.02)

    def _send(self, request: str) -> str:
        self._serial += 1
        # Nothing that a command prints can be taken for the end of its output.
        number = f"{self._serial}-{secrets.token_hex(4)}"
        try:
            self._socket.sendall(f"{number} {request}\n".encode())
        except OSError as error:
            raise AgentError(f"QEMU has closed the command channel: {error}") from error
        return number

    def _answer(self, number: str, end: float) -> str:
        """Waits for the line that answers a request; other lines are noise of the line's start."""
        while True:
            line = self._until(b"\n", end).decode(errors="replace").split()
            if len(line) >= 2 and line[0] == number:
                return line[1]

    def _until(self, mark: bytes, end: float) -> bytes:
        """Waits for a mark. Returns what comes before it."""
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark))
            self._receive_more(end)
        before, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return before

    def _receive_more(self, end: float) -> None:
        """Waits for more bytes of the guest, or raises when its time is over or it has ended."""
        if time.monotonic() > end:
            raise AgentError("the guest does not answer in time")
        if not select.select([self._socket], [], [], 0.5)[0]:
            self._alive()
            return
        chunk = self._receive()
        if not chunk:
            time.sleep(0.2)
            self._alive()
            raise AgentError("QEMU has closed the command channel")
        self._buffer += chunk

    def _receive(self) -> bytes:
        """The next bytes, none when the connection is over."""
        try:
            return self._socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def _relay(self, end: bytes) -> None:
        """Copies bytes between terminal and guest until `end` has come from the guest."""
        held = self._buffer
        self._buffer = b""
        while True:
            cut = held.find(end)
            if cut >= 0:
                os.write(sys.stdout.fileno(), held[:cut])
                return
            # What could be the start of `end` is held back until more has come.
            keep = max((n for n in range(len(end)) if held.endswith(end[:n])), default=0)
            os.write(sys.stdout.fileno(), held[: len(held) - keep])
            held = held[len(held) - keep :]
            ready = select.select([self._socket, sys.stdin], [], [])[0]
            if sys.stdin in ready:
                self._socket.sendall(os.read(sys.stdin.fileno(), 4096))
            if self._socket in ready:
                chunk = self._receive()
                if not chunk:
                    return
                held += chunk
