# SPDX-License-Identifier: GPL-2.0
"""What hostile tests have in common: work for a driver whose device lies, and what must be true after."""

import contextlib

from . import packets, xdp
from .vm import Guest

# The kernel's own words, no fault of a driver: on a transmit queue that the device has stopped, and on data
# of which the device told another sum, which is "hw csum failure" and where it was noticed. A trace with
# anything worse begins with a line of its own.
ALLOWED = (r"NETDEV WATCHDOG", r"Call Trace:")

# Short work that touches every path a device can lie on. Each may fail, none may hang.
ACTIVITIES = {
    "ping": "ping -n -q -f -w 1 -c 300 -s 1400 $FAR4 & far ping -n -q -f -w 1 -c 300 $NEAR4; wait $!",
    "jumbo": "ip link set $dev mtu 9000; far ip link set $FAR_IF mtu 9000; "
    "ping -n -q -f -w 1 -c 50 -s 8900 $FAR4 & far ping -n -q -f -w 1 -c 50 -s 8900 $NEAR4; wait $!",
    "tcp-out": "timeout -s KILL 2 socat -u EXEC:'head -c 2000000 /dev/zero' TCP:$FAR4:5203",
    "tcp-in": "timeout -s KILL 2 socat -u TCP:$FAR4:5204 OPEN:/dev/null",
    "down-up": "ip link set $dev down; ip link set $dev up",
    "rings": "ethtool -G $dev rx 256 tx 128; ping -n -q -f -w 1 -c 50 $FAR4; ethtool -G $dev rx 1024 tx 512",
    "channels": "ethtool -L $dev combined 1; ping -n -q -f -w 1 -c 50 $FAR4; ethtool -L $dev combined 2",
    "mtu": "ip link set $dev mtu 1300; ping -n -q -f -w 1 -c 20 $FAR4; ip link set $dev mtu 1500",
    "filters": "for i in 1 2 3 4 5 6 7 8; do ip maddr add 33:33:00:00:02:0$i dev $dev; done; "
    "ip link set $dev promisc on; ip link set $dev promisc off; "
    "for i in 1 2 3 4 5 6 7 8; do ip maddr del 33:33:00:00:02:0$i dev $dev; done",
    "rss": "ethtool -X $dev equal 1; ethtool -X $dev default; ethtool -K $dev rxhash off rxhash on",
    "coalescing": "ethtool -C $dev rx-usecs 100 tx-usecs 100; ping -n -q -f -w 1 -c 20 $FAR4",
    "look": "ethtool $dev; ethtool -S $dev; ethtool -S $dev --all-groups; ethtool -d $dev; devlink dev info; "
    "cat /sys/class/hwmon/*/temp1_input; ip -s link show $dev",
    "function-reset": 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"; sleep 0.2',
    "reload": "unload_fbnic; insmod_with_deps /guest/ko/$DRIVER.ko; wait_for 2 near_if",
}

_VERDICTS = " ".join(str(xdp.verdict(value, ethertype=packets.IPV4)) for value in (xdp.TX, xdp.DROP, xdp.PASS))
# Not for sessions: they are named by their seeds, which choose among the others.
_MORE = {
    # Everything of IPv4 that comes in goes back, or away, or to the stack, in turns.
    "programs": "ip link set $dev mtu 9000; far ip link set $FAR_IF mtu 9000; "
    f"/guest/files/frames xdp $dev 30 {_VERDICTS} & "
    "far ping -n -q -f -w 1 -s 8900 $NEAR4 & far ping -n -q -f -w 1 $NEAR4; wait",
}

_PING = "ping -n -q -c 1 -W 1 $FAR4"
# The longest a driver has to notice that its device is well again: its heartbeat is 10 s apart.
_PATIENCE = 25


# Servers at the far end that outlive any client, however it ends.
_SERVERS = """
far ss -Hltn 'sport = :5203' | grep -q . || {
	far socat -u TCP-LISTEN:5203,fork,reuseaddr OPEN:/dev/null </dev/null >/dev/null 2>&1 &
	far socat -u TCP-LISTEN:5204,fork,reuseaddr EXEC:'head -c 2000000 /dev/zero' </dev/null >/dev/null 2>&1 &
}
wait_for 5 eval "far ss -Hltn 'sport = :5204' | grep -q ."
"""


def prepare(guest: Guest) -> None:
    """The driver is loaded, packets pass, and the far end serves TCP."""
    guest.disarm()
    guest.check(f"ready 1500\n{_SERVERS}", 90)


def work(guest: Guest, activity: str, seconds: float = 40) -> None:
    """Gives the driver something to do. It may fail at it; it may not hang."""
    body = (ACTIVITIES | _MORE)[activity]
    guest.run(f"dev=$(near_if); {{ {body}; }} >/dev/null 2>&1; true", seconds)


def recovers(guest: Guest, patience: int = _PATIENCE) -> bool:
    """With all faults gone, whether packets pass without help."""
    guest.disarm()
    restore = "ip link set $(near_if) mtu 1500 up; far ip link set $FAR_IF mtu 1500; near_up 1500"
    return guest.run(f"{restore} >/dev/null 2>&1; wait_for {patience} {_PING}", 90).status == 0


def restarts(guest: Guest, patience: int = _PATIENCE) -> bool:
    """With all faults gone, whether packets pass once the interface has been down."""
    guest.disarm()
    guest.run("ip link set $(near_if) down", 40)
    return recovers(guest, patience)


def reload(guest: Guest) -> bool:
    """Loads the driver anew; whether packets pass then."""
    guest.disarm()
    # The slot is enumerated again as well: a device that was gone has lost its configuration.
    again = 'dev=/sys/bus/pci/devices/$(fbnic_slot); echo 1 >$dev/remove; echo 1 >/sys/bus/pci/rescan'
    guest.run(f"is_loaded && unload_fbnic; {again}; true", 90)
    return guest.run("ready 1500", 60).status == 0


def leaves_cleanly(guest: Guest) -> None:
    """The driver can be unloaded, and with it goes every page it ever had."""
    guest.check("watch_page_pools; is_loaded && unload_fbnic", 90)
    assert guest.run("near_if").status != 0, "a network device is left without a driver"
    guest.check("page_pools_gone", 60)


def heartbeats_late_for_c(guest: Guest) -> contextlib.AbstractContextManager:
    """Lets the upstream driver notice a restart of the firmware.

    fbnic_fw.c:776 of it stores the uptime to compare with after it has asked for the next. When the answer
    is there by then, the restart goes unnoticed for good.
    """
    if guest.spec.driver != "c":
        return contextlib.nullcontext()
    return guest.fault("fw_delay", ms=200, message=0x14)
