# SPDX-License-Identifier: GPL-2.0
"""The link: every speed, lanes and error correction, and its coming and going."""

import re
import time

from harness import traffic
from harness.case import case, same
from harness.vm import Guest

# What firmware announces, and what ethtool shall make of it: Mb/s, lanes, active correction.
MODES = {
    ("25", "none"): (25000, 1, "Off"),
    ("25", "rs"): (25000, 1, "RS"),
    ("25", "baser"): (25000, 1, "BaseR"),
    ("50r2", "none"): (50000, 2, "Off"),
    ("50r2", "rs"): (50000, 2, "RS"),
    ("50r2", "baser"): (50000, 2, "BaseR"),
    ("50r1", "rs"): (50000, 1, "RS"),
    ("100", "rs"): (100000, 2, "RS"),
}

# Seconds the link has to be stable before it is used, and how much later that may be noticed.
TRAINING, SLACK = 4, 6

# Registers, numbered in 32-bit words.
MAC_COMMAND_CONFIG, PAUSE_DROP_CTRL = 0x11002, 0x8008
TX_PAUSE_DIS, RX_PAUSE_DIS = 1 << 28, 1 << 29
PAUSE_ENABLE, STORM_ENABLE = 0xFF << 8, 0xF << 24
SIG_MAC_IN0, MAC_RESETS = 0x11800, 0xF << 11

_REPORTS = 'dev=$(near_if); ethtool "$dev"; ethtool --show-fec "$dev"; ethtool -a "$dev"; ethtool --json -a "$dev"'
_CARRIER = 'cat /sys/class/net/$(near_if)/carrier'
_CHANGES = 'cat /sys/class/net/$(near_if)/carrier_changes'


def _reports(guest: Guest, driver: str) -> str:
    guest.check(f"! is_loaded || unload_fbnic; load_fbnic {driver}; cable_up 1500", 60)
    return guest.check(_REPORTS)


def _carrier(guest: Guest) -> bool:
    return guest.run(_CARRIER).output.strip() == "1"


def _changes(guest: Guest) -> int:
    return int(guest.check(_CHANGES))


def _down_events(guest: Guest) -> int:
    found = re.search(r"Link Down Events: (\d+)", guest.check('ethtool -I "$(near_if)"'))
    assert found, "ethtool does not count link losses"
    return int(found[1])


def _seconds_until(guest: Guest, carrier: bool, limit: float) -> float:
    """How long the carrier takes to become as wanted."""
    begun = time.monotonic()
    while _carrier(guest) != carrier:
        passed = time.monotonic() - begun
        assert passed < limit, f"carrier {not carrier} for {passed:.1f} s"
        time.sleep(0.1)
    return time.monotonic() - begun


@case(rows=(15,))
def link_modes(guest: Guest) -> None:
    """25, 50 and 100 Gb/s on one and two lanes with each correction: shown as is, and carrying packets."""
    try:
        for (speed, fec), (megabits, lanes, active) in MODES.items():
            guest.check("! is_loaded || unload_fbnic")
            guest.do("firmware", link_speed=speed, fec=fec)
            report = _reports(guest, guest.spec.driver)
            for pattern in (
                rf"Speed: {megabits}Mb/s",
                rf"Lanes: {lanes}\n",
                r"Duplex: Full",
                r"Port: Direct Attach Copper",
                r"Link detected: yes",
                rf"Active FEC encoding: {active}\n",
            ):
                assert re.search(pattern, report), f"{speed} {fec}: no {pattern!r} in:\n{report}"
            traffic.ping(guest, 1000)
            if guest.spec.driver == "rust":
                same(f"reports at {speed} {fec}", report, _reports(guest, "c"))
    finally:
        guest.check("! is_loaded || unload_fbnic")
        guest.do("firmware", link_speed="100", fec="rs")
    guest.check("ready 1500", 60)


@case(rows=(15,))
def link_flaps_under_traffic(guest: Guest) -> None:
    """The cable is pulled and put back: one loss is counted, and the carrier waits for the training."""
    guest.check("ready 1500; start_traffic")
    changes, losses = _changes(guest), _down_events(guest)
    for flap in range(1, 3):
        fault = guest.arm("link_down")
        _seconds_until(guest, False, 2)
        same("MAC is held in reset", guest.csrs(SIG_MAC_IN0, SIG_MAC_IN0)[0] & MAC_RESETS, MAC_RESETS)
        guest.disarm(fault)
        waited = _seconds_until(guest, True, TRAINING + SLACK)
        assert waited > TRAINING - 0.3, f"carrier after {waited:.1f} s, before the end of training"
        same("MAC is held in reset", guest.csrs(SIG_MAC_IN0, SIG_MAC_IN0)[0] & MAC_RESETS, 0)
        same("carrier changes", _changes(guest) - changes, 2 * flap)
        same("link losses", _down_events(guest) - losses, flap)
        guest.check("wait_for 10 ping -n -q -c 1 -W 1 $FAR4")
    guest.check("stop_traffic; sleep 1")
    traffic.ping(guest, 1000)


@case(rows=(15,))
def link_flutters(guest: Guest) -> None:
    """A link that flutters for 3 s, as in training, is one loss, and is up 4 s after it calms down."""
    guest.check("ready 1500")
    changes = _changes(guest)
    with guest.fault("link_flap", period_ms=400):
        _seconds_until(guest, False, 2)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert not _carrier(guest), "carrier while the link flutters"
    waited = _seconds_until(guest, True, TRAINING + SLACK)
    assert waited > TRAINING - 1, f"carrier {waited:.1f} s after the last loss"
    same("carrier changes", _changes(guest) - changes, 2)
    traffic.ping(guest, 56)


@case(rows=(15,))
def link_lost_while_down(guest: Guest) -> None:
    """A cable pulled while the interface is down is missing when it comes up; a good one is used at once."""
    guest.check("ready 1500; ip link set $(near_if) down")
    fault = guest.arm("link_down")
    guest.check("ip link set $(near_if) up; sleep 1")
    assert not _carrier(guest), "carrier without a cable"
    assert "Link detected: no" in guest.check('ethtool "$(near_if)"')
    guest.disarm(fault)
    waited = _seconds_until(guest, True, TRAINING + SLACK)
    assert waited > TRAINING - 0.3, f"carrier after {waited:.1f} s"
    guest.check("ip link set $(near_if) down")
    # It comes and goes unseen; what counts is that it is there when the interface comes up.
    with guest.fault("link_flap", period_ms=200):
        time.sleep(0.7)
    time.sleep(1.5)
    guest.check("ip link set $(near_if) up")
    waited = _seconds_until(guest, True, TRAINING + SLACK)
    assert waited < TRAINING - 1, f"a link that was trained long ago was used after {waited:.1f} s"
    guest.check("ready 1500")
    traffic.ping(guest, 56)


@case(rows=(15, 20))
def pause_reaches_the_mac(guest: Guest) -> None:
    """Pause settings of ethtool are those of the MAC, the FIFOs and the guard against pause storms."""
    guest.check("ready 1500")
    for rx, tx in ((True, False), (False, True), (False, False), (True, True)):
        words = " ".join(f"{name} {'on' if on else 'off'}" for name, on in (("rx", rx), ("tx", tx)))
        guest.run(f'ethtool -A "$(near_if)" autoneg off {words}')
        _seconds_until(guest, True, TRAINING + SLACK)
        report = guest.check('ethtool -a "$(near_if)"')
        for name, on in (("RX", rx), ("TX", tx)):
            assert re.search(rf"{name}:\s+{'on' if on else 'off'}\n", report), f"{words}:\n{report}"
        mac = guest.csrs(MAC_COMMAND_CONFIG, MAC_COMMAND_CONFIG)[0]
        same(f"{words}: pause frames ignored", bool(mac & RX_PAUSE_DIS), not rx)
        same(f"{words}: pause frames not sent", bool(mac & TX_PAUSE_DIS), not tx)
        fifos = guest.csrs(PAUSE_DROP_CTRL, PAUSE_DROP_CTRL)[0]
        same(f"{words}: FIFOs that pause", fifos & PAUSE_ENABLE, 0x14 << 8 if tx else 0)
        same(f"{words}: storm guard", fifos & STORM_ENABLE, 1 << 24 if tx else 0)
        traffic.ping(guest, 56)
