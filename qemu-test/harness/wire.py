# SPDX-License-Identifier: GPL-2.0
"""A tap on the cable: puts whole frames onto it and sees every frame that passes.

QEMU joins the two ends of the cable in a hub, and the hub has a third port. Frames on it have four
bytes in front, their length, most significant byte first.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LENGTH = 4
# Seconds after which a cable on which frames never cease is a fault.
_LONGEST = 300


class Wire:
    """The third port of the hub, to be used in a `with` statement.

    The guest stops while nobody reads what it sends, so this is open only while it is needed.
    """

    def __init__(self, path: Path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._buffer = bytearray()

    def __enter__(self) -> "Wire":
        # The hub forwards to this port once QEMU has seen the connection.
        time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Puts frames on the cable, without their check sequence, for both ends to see."""
        self._socket.sendall(b"".join(len(f).to_bytes(_LENGTH, "big") + f for f in frames))

    def receive(self, seconds: float) -> list[bytes]:
        """All frames that come until there are none for `seconds`."""
        frames = []
        end = time.monotonic() + seconds + _LONGEST
        while select.select([self._socket], [], [], seconds)[0]:
            chunk = self._socket.recv(1 << 20)
            if not chunk:
                raise OSError("QEMU has closed the tap on the cable")
            if time.monotonic() > end:
                raise OSError(f"the cable is not quiet for {seconds} s within {_LONGEST} s")
            self._buffer += chunk
            frames += self._complete()
        return frames

    def during(self, action: Callable[[], object], seconds: float = 0.3) -> list[bytes]:
        """All frames that pass while `action` runs, and until the cable is quiet afterwards."""
        over = threading.Event()

        def collect() -> list[bytes]:
            frames = []
            while not over.is_set():
                frames += self.receive(0.05)
            return frames + self.receive(seconds)

        # Leaving the block waits for the reader, whose error is then raised where its frames are asked for.
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(collect)
            try:
                action()
            finally:
                over.set()
        return reader.result()

    def _complete(self) -> list[bytes]:
        frames = []
        while len(self._buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._buffer[:_LENGTH], "big")
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[_LENGTH:end]))
            del self._buffer[:end]
        return frames
