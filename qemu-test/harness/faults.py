# SPDX-License-Identifier: GPL-2.0
"""Speaks with the control socket of fbnic-emu: counters, and faults on purpose.

device-model/fbnic_emu/src/control.rs lists the requests, fbnic_model/src/fault/spec.rs the faults.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# fbnic-emu answers at once; only a wedged one takes this many seconds.
_PATIENCE = 20


class ControlError(Exception):
    """fbnic-emu does not answer, or refuses a request."""


class Control:
    """What can be asked of the emulated NIC behind its guest's back. Mixed into Guest."""

    control_path: Path

    def control(self, request: str) -> Any:
        """Sends one request and returns the answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(str(self.control_path))
                connection.sendall(f"{request}\n".encode())
                with connection.makefile("r") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise ControlError(f"fbnic-emu does not answer {request!r}: {error}") from error
        if "error" in answer:
            raise ControlError(f"fbnic-emu refuses {request!r}: {answer['error']}")
        return answer

    def arm(self, fault: str, when: dict | None = None, **fields: Any) -> int:
        """Arms a fault and returns its number. `when` narrows down its occasions."""
        armed: dict[str, Any] = {"fault": {fault: fields}}
        if when:
            armed["when"] = when
        return self.control(f"arm {json.dumps(armed)}")["id"]

    def disarm(self, fault: int | None = None) -> None:
        """Disarms one fault, or all."""
        self.control("disarm" if fault is None else f"disarm {fault}")

    @contextlib.contextmanager
    def fault(self, fault: str, when: dict | None = None, **fields: Any) -> Iterator[int]:
        """A fault that is armed inside the block only."""
        number = self.arm(fault, when, **fields)
        try:
            yield number
        finally:
            self.disarm(number)

    def do(self, deed: str, **fields: Any) -> None:
        """Makes something happen to the NIC at once."""
        self.control(f"do {json.dumps({deed: fields})}")

    def faults(self) -> dict:
        """The seed, and what is armed: number, occasions seen, times it has struck."""
        return self.control("faults")

    def struck(self, number: int) -> int:
        """How often an armed fault has struck."""
        armed = {entry["id"]: entry["struck"] for entry in self.faults()["armed"]}
        return armed[number]

    def fw_host(self) -> dict:
        """What the host has told the firmware: owned, unicast, multicast, rx_flags."""
        return self.control("fw_host")

    def stats(self) -> dict:
        """Counters of what the guest and the cable did."""
        return self.control("stats")

    def csrs(self, first: int, last: int) -> list[int]:
        """Registers as they are, without the effects of a read by the host."""
        return self.control(f"csr {json.dumps({'first': first, 'last': last})}")["csr"]

    def fw_window(self, first: int, last: int) -> list[int]:
        """The dwords of the firmware window, the mailbox's descriptors among them."""
        return self.control(f"fw_window {json.dumps({'first': first, 'last': last})}")["fw_window"]
