# SPDX-License-Identifier: GPL-2.0
"""Ping and iperf3 between the two ends of the cable, with their results as numbers."""

import json
import re
from dataclasses import dataclass

from .vm import Guest, GuestError

NEAR, FAR = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Iperf:
    """What the receiving end of one iperf3 run has seen."""

    megabits: float
    """Rate in 10^6 bits per second; both directions together when bidirectional."""
    received: int
    """Payload bytes that arrived."""
    lost_percent: float
    """Lost datagrams; 0 for TCP, which repairs losses itself."""
    retransmits: int


def ping(guest: Guest, size: int, count: int = 10, address: str = FAR, extra: str = "") -> str:
    """Sends `count` echoes with `size` bytes of payload, none may be lost. Returns the summary."""
    # ping waits for the last answer no longer than twice the slowest took. The kernel has it in the end.
    script = (
        f"before=$(echoes_unanswered); ping -n -q -i 0.05 -W 2 -c {count} -s {size} {extra} {address};"
        " wait_for 2 eval '[ $(echoes_unanswered) -le $before ]' && echo all answered"
    )
    output = guest.check(script, 20 + count)
    if "all answered" not in output or "errors" in output:
        raise GuestError(f"ping with {size} bytes:\n{output}")
    return output.strip().splitlines()[-3]


def iperf(guest: Guest, options: str, seconds: int = 2, reverse: bool = False) -> Iperf:
    """One run from the near end to the far end, or from far to near with `reverse`."""
    guest.check("far_server")
    direction = "-R" if reverse else ""
    result = guest.run(
        f"iperf3 -J -c {FAR} -t {seconds} {direction} {options}", seconds + 40
    )
    try:
        report = json.loads(result.output)
    except json.JSONDecodeError as error:
        raise GuestError(f"iperf3 {options}: no report:\n{result.output[-500:]}") from error
    if result.status != 0 or "error" in report:
        raise GuestError(f"iperf3 {options}: {report.get('error', result.status)}")
    return _measure(report["end"])


def _measure(end: dict) -> Iperf:
    received = [end[k] for k in ("sum_received", "sum_received_bidir_reverse") if k in end]
    sent = end.get("sum_sent", {})
    return Iperf(
        megabits=sum(part["bits_per_second"] for part in received) / 1e6,
        received=sum(part["bytes"] for part in received),
        lost_percent=max(part.get("lost_percent", 0) for part in received),
        retransmits=sent.get("retransmits", 0),
    )
