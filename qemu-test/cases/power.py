# SPDX-License-Identifier: GPL-2.0
"""Sleep, and a reset of the PCI function."""

import json

from harness import traffic
from harness.case import case
from harness.vm import Guest

# ethtool's standard counters, too: they come from registers, which a reset may clear.
_COUNTERS = """
dev=$(near_if)
cat /sys/class/net/$dev/statistics/{rx,tx}_{packets,bytes}
ethtool --json -S $dev --groups eth-mac >/tmp/eth-mac; cat /tmp/eth-mac
"""


def _counters(guest: Guest) -> dict[str, int]:
    lines = guest.check(_COUNTERS)
    numbers, _, document = lines.partition("[")
    counters = dict(zip(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"), map(int, numbers.split())))
    return counters | json.loads("[" + document)[0]["eth-mac"]


def _survives(guest: Guest, action: str) -> None:
    """Runs `action` under traffic; afterwards packets pass and no counter has gone back."""
    guest.check("ready 1500; start_traffic; sleep 1")
    before = _counters(guest)
    guest.check(action, 60)
    guest.check("wait_for 20 has_carrier $(near_if) && wait_for 20 ping -n -q -c 1 -W 1 $FAR4", 60)
    guest.check("stop_traffic")
    traffic.ping(guest, 1000)
    after = _counters(guest)
    back = {name: (before[name], after[name]) for name in before if after[name] < before[name]}
    assert not back, f"counters went back: {back}"
    assert after["rx_packets"] > before["rx_packets"], "no packet was counted"


@case(rows=(4,))
def suspend_and_resume(guest: Guest) -> None:
    """Suspend to idle, as far as the devices, with traffic running, twice; then once while down."""
    sleep = "echo devices >/sys/power/pm_test && echo freeze >/sys/power/state"
    guest.check("ready 1500; echo 1 >/sys/module/suspend/parameters/pm_test_delay; true")
    _survives(guest, sleep)
    _survives(guest, sleep)
    guest.check(f'ip link set "$(near_if)" down; {sleep}', 60)
    guest.check("ready 1500", 60)
    traffic.ping(guest, 56)


@case(drivers=("rust",), rows=(4, 6))
def function_reset(guest: Guest) -> None:
    """A reset through sysfs under traffic."""
    _survives(guest, 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"')
    _survives(guest, 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"')


@case(rows=(4,))
def resume_with_fewer_processors(guest: Guest) -> None:
    """After a sleep from which one processor less wakes up, every flow finds a queue."""
    sleep = "echo devices >/sys/power/pm_test && echo freeze >/sys/power/state"
    guest.check("ready 1500; echo 1 >/sys/module/suspend/parameters/pm_test_delay; true")
    cpu = "/sys/devices/system/cpu/cpu1/online"
    try:
        guest.check(f"echo 0 >{cpu} && {sleep}", 60)
        guest.check("ready 1500", 60)
        # Only TCP is spread by its ports. Nobody listens there, and every attempt is told so.
        attempt = "far socat -u OPEN:/etc/hosts TCP:$NEAR4:$port,connect-timeout=5 2>&1"
        guest.check(f"for port in {{7000..7029}}; do {attempt} | grep -q refused || fail no answer from $port; done", 200)
    finally:
        guest.check(f"echo 1 >{cpu}; {sleep}", 60)
        guest.run('ethtool -L "$(near_if)" combined "$(nproc)"')
    guest.check("ready 1500", 60)
