# SPDX-License-Identifier: GPL-2.0
"""A device that lies. Whatever it does, the driver must not take the kernel with it."""

import re
from collections.abc import Callable
from typing import Any

from campaign.runner import Campaign
from harness import hostile
from harness.case import case
from harness.hostile import ALLOWED
from harness.vm import Guest

# A lie: the fault and its fields. Missing values are random.
Lie = tuple[str, dict[str, Any]]

# What brings a NIC back after a lie; whether it did.
Help = Callable[[Guest], bool]

# How often an activity is repeated until a lie is told during it.
_TRIES = 4
_RANDOMLY = {"one_in": 4}
# The vectors: of the firmware, of the link, and of the first pair of queues.
_FIRMWARE, _LINK, _FIRST_QUEUE = range(3)


def _suffer(
    guest: Guest, lies: list[Lie], *activities: str, when: dict | None = None, help: Help | None = None
) -> None:
    """Each lie in turn during each activity; after each, packets pass again.

    `help` is what they may need for that: when the device has stopped a queue for good, nobody can
    tell that from a queue with nothing to do, and the interface has to go down and up.
    """
    hostile.prepare(guest)
    for fault, fields in lies:
        for activity in activities:
            with guest.fault(fault, when, **fields) as number:
                # On a busy machine few packets may pass while the work lasts.
                for _ in range(_TRIES):
                    hostile.work(guest, activity)
                    struck = guest.struck(number)
                    if struck:
                        break
            print(f"{fault} {fields} {activity}: {struck}")
            assert struck, f"{fault} {fields} never struck during {activity}"
            passes = hostile.recovers(guest, 3) or help(guest) if help else hostile.recovers(guest)
            assert passes, f"no packet passes after {fault} {fields} during {activity}"
        guest.check_healthy(ALLOWED)
    hostile.leaves_cleanly(guest)


@case(drivers=("rust",), allowed=ALLOWED, rows=(14, 17))
def hostile_receive_fields(guest: Guest) -> None:
    """Receive completions with a wrong buffer, offset, length, kind, or all of it."""
    kinds = ("header", "payload")
    lies: list[Lie] = [
        ("rcd", {"kind": kind, "field": name}) for kind in kinds for name in ("buffer", "offset", "length")
    ]
    lies += [("rcd", {"field": name}) for name in ("type", "any")]
    lies += [("rcd", {"kind": "header", "field": "length", "value": value}) for value in (0, 1, 0x1FFF)]
    lies += [("rcd", {"kind": "meta", "field": "error", "value": 7})]
    _suffer(guest, lies, "jumbo", when=_RANDOMLY)


@case(drivers=("rust",), allowed=ALLOWED, rows=(14, 17))
def hostile_receive_order(guest: Guest) -> None:
    """Receive completions that are missing, twice there, out of order, or of the wrong phase."""
    kinds = ("header", "payload", "meta")
    lies: list[Lie] = [("rcd_omitted", {"kind": kind}) for kind in kinds]
    lies += [("rcd_duplicated", {"kind": kind}) for kind in kinds]
    lies += [("rcd_swapped", {})]
    _suffer(guest, lies, "jumbo", when=_RANDOMLY)
    _suffer(guest, [("rcd_phase", {})], "jumbo", when=_RANDOMLY, help=hostile.restarts)


@case(drivers=("rust",), allowed=ALLOWED, rows=(14, 17))
def bad_values_are_counted(guest: Guest) -> None:
    """A receive completion that comes twice is counted where users can see it."""
    guest.check("ready 1500")
    with guest.fault("rcd_duplicated", {"times": 2}, kind="meta"):
        guest.run("ping -n -q -c 5 -i 0.2 -W 1 $FAR4", 20)
    bad = guest.check("cat /sys/kernel/debug/fbnic/*/bad_values")
    assert re.search(r"^rx_completions: [1-9]", bad, re.MULTILINE), f"nothing was counted: {bad}"


# Datagrams wait in a socket, as its program is stopped. The device says of the first that it was so long that the
# next one comes to lie where the kernel might keep what it knows of the first. Prints what is read that was not sent.
_WAITING = """
socat -u UDP4-RECV:7777 OPEN:/run/got,creat,trunc 2>/dev/null & listener=$!
wait_for 5 eval "ss -Hlun 'sport = :7777' | grep -q ."
kill -STOP $listener
for letter in A B C; do
	head -c 600 /dev/zero | tr '\\0' $letter | far socat -u -b 600 - UDP4:$NEAR4:7777,sp=7778
done
kill -CONT $listener
wait_for 5 eval '[ "$(stat -c %s /run/got)" -ge 600 ]'
kill $listener
tr -d A-C </run/got
"""


@case(drivers=("rust",), allowed=ALLOWED, rows=(12, 17))
def hostile_longer_than_received(guest: Guest) -> None:
    """The device goes on writing to memory of which it said that it belongs to an earlier packet."""
    guest.check("ready 1500; ethtool -L $(near_if) combined 1; ready 1500")
    for _ in range(8):
        with guest.fault("rcd", {"times": 1}, kind="header", field="length", value=1400):
            said = guest.check(_WAITING)
        assert not said, f"read what nobody sent: {said[:60]!r}"
    guest.check("ethtool -L $(near_if) combined 2; ready 1500")


# A page that a ring of receive buffers holds, far from its first ones.
_FAR_PAGE = 200
# Packets lost around a lie beside those that the device has lied about.
_MISTRUST = 3


def _lost(guest: Guest, size: int, count: int) -> int:
    """Sends pings one after another; how many got no answer."""
    printed = guest.run(f"ping -n -q -i 0.02 -W 1 -c {count} -s {size} $FAR4", 60 + count).output
    answered = re.search(r"(\d+) received", printed)
    return count - int(answered[1] if answered else 0)


@case(drivers=("rust",), allowed=ALLOWED, rows=(14, 17))
def wrong_buffer_costs_a_packet(guest: Guest) -> None:
    """One completion with a page far ahead takes one packet with it, not all until the device gets there."""
    for kind, mtu, size in (("header", 1500, 64), ("payload", 9000, 8900)):
        # The rings begin at their first page again.
        guest.check(f'ready {mtu}; ethtool -L "$(near_if)" combined 1; ready {mtu}', 60)
        with guest.fault("rcd", {"times": 1}, kind=kind, field="buffer", value=_FAR_PAGE) as number:
            lost = _lost(guest, size, 20)
            assert guest.struck(number) == 1, f"no {kind} was lied about"
        print(f"{kind} ahead: {lost} of 20 lost")
        assert lost <= 1, f"{lost} of 20 packets lost to one wrong {kind}"
        with guest.fault("rcd_omitted", {"times": 30}, kind=kind) as number:
            lost = _lost(guest, size, 60)
            struck = guest.struck(number)
            assert struck == 30, f"{struck} times a {kind} was left out"
        print(f"{kind} left out: {lost} of 60 lost")
        assert lost <= 30 + _MISTRUST, f"{lost} of 60 packets lost to 30 left out"
        assert not _lost(guest, size, 5), f"packets are lost after a {kind} was left out"
        guest.check('ethtool -L "$(near_if)" combined 2', 30)
    guest.check("ready 1500", 60)


@case(drivers=("rust",), allowed=ALLOWED, rows=(13,))
def hostile_transmit_completions(guest: Guest) -> None:
    """Transmit completions with a wrong head or kind, missing, twice there, of the wrong phase."""
    lies: list[Lie] = [("tcd", {"field": name}) for name in ("head", "type", "any")]
    lies += [("tcd", {"field": "head", "value": 0xFFFF}), ("tcd_omitted", {}), ("tcd_duplicated", {})]
    lies += [("tcd_phase", {})]
    # When the last completion is lost, what it was for counts as under way for good, and the stack
    # may hold back all that would bring another.
    _suffer(guest, lies, "ping", when=_RANDOMLY, help=hostile.restarts)


@case(drivers=("rust",), allowed=ALLOWED, rows=(13, 14))
def hostile_stalls(guest: Guest) -> None:
    """Queues that stand still, that are never idle, or that write after they were disabled."""
    _suffer(guest, [("tx_stall", {}), ("rx_stall", {})], "tcp-out", help=hostile.restarts)
    _suffer(guest, [("never_idle", {})], "down-up", "rings", "reload")
    _suffer(guest, [("rcd_after_disable", {})], "down-up", "rings")


@case(drivers=("rust",), allowed=ALLOWED, rows=(12,))
def hostile_interrupts(guest: Guest) -> None:
    """Interrupts that get lost, and such without a cause."""
    _suffer(guest, [("msix_lost", {})], "ping", when={"one_in": 2})
    _suffer(guest, [("msix_storm", {"period_us": 200})], "ping", "down-up", "reload")


@case(drivers=("rust",), rows=(12,))
def late_interrupt_is_awaited(guest: Guest) -> None:
    """An interrupt counts as lost only at the second look, a second after the first: it may be late."""
    guest.check('ready 1500; ethtool -L "$(near_if)" combined 1 && cable_up 1500')
    times = []
    for _ in range(3):
        with guest.fault("msix_lost", {"times": 1}, vector=_FIRST_QUEUE) as number:
            output = guest.check('far ping -n -c 1 -W 20 "$NEAR4"', 40)
            assert guest.struck(number) == 1, "no interrupt was lost"
        answer = re.search(r"time=([0-9.]+)", output)
        times.append(float(answer[1]) / 1000 if answer else 0.0)
    print(f"answers after {times} s")
    # Some other packet may have been the one whose interrupt was lost.
    # The first look is up to a second after the packet, and in most tries nearly that.
    assert sorted(times)[1] > 1.02, f"polled at the first look: {times} s"


@case(drivers=("rust",), rows=(9, 15))
def lost_interrupts_of_firmware_and_link(guest: Guest) -> None:
    """An answer of the firmware and a change of the link are noticed although the interrupt is lost."""
    guest.check("ready 1500")
    with guest.fault("msix_lost", {"times": 1}, vector=_FIRMWARE) as number:
        guest.check("timeout 8 cat /sys/bus/pci/devices/$(fbnic_slot)/hwmon/hwmon*/temp1_input", 20)
        assert guest.struck(number) == 1, "no interrupt of the firmware was lost"
    with guest.fault("msix_lost", {"times": 1}, vector=_LINK) as number:
        with guest.fault("link_down"):
            guest.check("wait_for 8 eval '! has_carrier $(near_if)'", 20)
            assert guest.struck(number) == 1, "no interrupt of the link was lost"
        guest.check("wait_for 8 has_carrier $(near_if)", 20)
    guest.check("wait_for 8 ping -nqc 1 -W 1 $FAR4", 20)
    # While the interface comes back, only the one who waits for the firmware can look.
    with guest.fault("msix_lost", vector=_FIRMWARE) as number:
        guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"', 60)
        assert guest.struck(number), "no interrupt of the firmware was lost"
    guest.check("wait_for 20 has_carrier $(near_if) && wait_for 8 ping -nqc 1 -W 1 $FAR4", 40)


@case(drivers=("rust",), allowed=ALLOWED, rows=(13, 14))
def hostile_transfers(guest: Guest) -> None:
    """Transfers that are refused."""
    lies: list[Lie] = [("dma_refused", {"dir": "read"}), ("dma_refused", {"dir": "write"})]
    _suffer(guest, lies, "jumbo", when=_RANDOMLY, help=hostile.restarts)


# Without an IOMMU, which the guest of the debug kernel lacks, nothing keeps a device from writing to memory that
# was a buffer once.
@case(drivers=("rust",), allowed=(*ALLOWED, r"DMAR: "), kernels=("checked",))
def hostile_stray_writes(guest: Guest) -> None:
    """Pieces of frames that arrive late, or where the piece before went."""
    lies: list[Lie] = [("dma_misplaced", {}), ("dma_late", {"ms": 20})]
    _suffer(guest, lies, "jumbo", "down-up", when=_RANDOMLY, help=hostile.restarts)


@case(drivers=("rust",), allowed=ALLOWED, rows=(8, 9))
def hostile_firmware_answers(guest: Guest) -> None:
    """Firmware whose messages are no messages, while the interface is up and while it comes up."""
    how = ("truncated", "oversized", "wrong_id", "nested", "duplicate", "random")
    lies: list[Lie] = [("fw_mangled", {"how": name}) for name in how]
    _suffer(guest, lies, "down-up", when={"times": 2}, help=hostile.restarts)
    lies = [("fw_descriptor", {"field": name}) for name in ("length", "address", "eom", "error")]
    lies += [("fw_descriptor", {"field": "length", "value": value}) for value in (0, 1, 4097)]
    _suffer(guest, lies, "reload", when={"times": 2}, help=hostile.reload)


@case(drivers=("rust",), allowed=ALLOWED)
def hostile_programs(guest: Guest) -> None:
    """XDP programs come and go, and send frames back, while completions lie in either direction."""
    lies: list[Lie] = [("rcd", {"kind": kind, "field": name}) for kind in ("header", "payload") for name in ("buffer", "length")]
    lies += [("rcd", {"field": "any"}), ("rcd_omitted", {"kind": "header"}), ("rcd_duplicated", {"kind": "meta"})]
    lies += [("tcd", {"field": name}) for name in ("head", "type", "any")]
    lies += [("tcd_omitted", {}), ("tcd_duplicated", {}), ("dma_refused", {"dir": "read"})]
    _suffer(guest, lies, "programs", when=_RANDOMLY, help=hostile.restarts)


@case(drivers=("rust",), allowed=ALLOWED, rows=(6,))
def hostile_unplug(guest: Guest) -> None:
    """The device goes away under traffic and comes back; a new load of the driver finds it."""
    for activity in ("ping", "tcp-out", "down-up", "rings", "look", "registers"):
        hostile.prepare(guest)
        with guest.fault("unplugged"):
            hostile.work(guest, activity)
        assert hostile.reload(guest), f"no packet passes after a loss during {activity}"
        guest.check_healthy(ALLOWED)
    hostile.leaves_cleanly(guest)


@case(drivers=("rust",), allowed=ALLOWED)
def hostile_campaign(guest: Guest) -> None:
    """The first sessions of `make fuzz`, for two minutes: the host notices nothing."""
    hostile.prepare(guest)
    verdict = Campaign(guest.spec, guest=guest).run(iter(range(1, 1000)), 120)
    print("\n".join(verdict.lines(guest.spec.unstripped())))
    assert verdict.clean, "\n".join(verdict.lines(guest.spec.unstripped()))
    assert verdict.sessions >= 3, "hardly a session was run"
