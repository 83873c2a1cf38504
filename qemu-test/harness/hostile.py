# SPDX-License-Identifier: GPL-2.0
"""What hostile tests have in common: work for a driver whose device lies, and what must be true after."""

import contextlib

from . import packets, xdp
from .vm import Guest

# The kernel's own words, no fault of a driver: on a transmit queue that the device has stopped, and on data
# of which the device told another sum, which is "hw csum failure" and where it was noticed. A trace with
# anything worse begins with a line of its own.
ALLOWED = (r"NETDEV WATCHDOG", r"Call Trace:")

_VERDICTS = " ".join(str(xdp.verdict(value, ethertype=packets.IPV4)) for value in (xdp.TX, xdp.DROP, xdp.PASS))

# Short work that touches every path a device can lie on. Each may fail, none may hang.
ACTIVITIES = {
    "ping": "ping -n -q -f -w 1 -c 150 -s 1400 $FAR4 & far ping -n -q -f -w 1 -c 150 $NEAR4; wait $!",
    "jumbo": "ip link set $dev mtu 9000; "
    "ping -n -q -f -w 1 -c 50 -s 8900 $FAR4 & far ping -n -q -f -w 1 -c 50 -s 8900 $NEAR4; wait $!; "
    "ip link set $dev mtu 1500",
    "tcp-out": "timeout -s KILL 2 socat -u EXEC:'head -c 1000000 /dev/zero' TCP:$FAR4:5203",
    "tcp-in": "timeout -s KILL 2 socat -u TCP:$FAR4:5204 OPEN:/dev/null",
    "down-up": "ip link set $dev down; ip link set $dev up",
    "rings": "ethtool -G $dev rx 256 tx 128; ping -n -q -f -w 1 -c 50 $FAR4; ethtool -G $dev rx 1024 tx 512",
    "channels": "ethtool -L $dev combined 1; ping -n -q -f -w 1 -c 50 $FAR4; ethtool -L $dev combined 2",
    "mtu": "ip link set $dev mtu 1300; ping -n -q -f -w 1 -c 20 $FAR4; ip link set $dev mtu 1500",
    "filters": "group() { for i in {1..8}; do echo maddr $1 33:33:00:00:02:0$i dev $dev; done | ip -force -batch -; }; "
    "group add; ip link set $dev promisc on; ip link set $dev promisc off; group del",
    "rss": "ethtool -X $dev equal 1; ethtool -X $dev default; ethtool -K $dev rxhash off rxhash on",
    "contexts": "ethtool -X $dev context new equal 1; ethtool -N $dev rx-flow-hash udp4 sdfn; "
    "ping -n -q -f -w 1 -c 20 $FAR4; ethtool -X $dev context 1 delete; ethtool -N $dev rx-flow-hash udp4 sd",
    "rules": "for r in 'tcp4 dst-port 5203' 'udp6 src-port 7' \"ip4 src-ip $FAR4\" 'ether proto 0x88b5'; do "
    "ethtool -N $dev flow-type $r action 0; done; ethtool -n $dev; ping -n -q -f -w 1 -c 20 $FAR4; "
    "for r in $(ethtool -n $dev | sed -n 's/^Filter: //p'); do ethtool -N $dev delete $r; done",
    "coalescing": "ethtool -C $dev rx-usecs 100 tx-usecs 100; ping -n -q -f -w 1 -c 20 $FAR4",
    "look": "ethtool $dev; ethtool -S $dev; ethtool -S $dev --all-groups; devlink dev info; "
    "cat /sys/class/hwmon/*/temp1_input; ip -s link show $dev; "
    "for o in -a -c -g -l -m -n -x -T; do ethtool $o $dev; done; "
    "find /sys/kernel/debug/fbnic* -type f -exec timeout 2 head -c 65536 {} +",
    "registers": "ethtool -d $dev raw on",
    "health": "for r in $(devlink health | sed -n 's/^ *reporter //p'); do "
    "for deed in diagnose 'dump show' 'dump clear' test; do devlink health $deed pci/$(fbnic_slot) reporter $r; done; done",
    "self-test": "ethtool -t $dev online; ethtool -t $dev offline",
    "pause": "ethtool -A $dev rx off tx off; ping -n -q -f -w 1 -c 20 $FAR4; ethtool -A $dev rx on tx on",
    "offloads": "for f in tso gro rx tx rxhash; do ethtool -K $dev $f off; "
    "ping -n -q -f -w 1 -c 5 $FAR4; ethtool -K $dev $f on; done; ethtool -K $dev tso on",
    "address": "ip link set $dev address 02:00:00:00:00:77; far ping -n -q -c 1 -W 1 $NEAR4; "
    "ip link set $dev address $(ethtool -P $dev | cut -d ' ' -f 3)",
    "sleep": "echo devices >/sys/power/pm_test; echo 0 >/sys/module/suspend/parameters/pm_test_delay; "
    "echo freeze >/sys/power/state; echo none >/sys/power/pm_test",
    "rebind": "fbnic_unbind; fbnic_bind; wait_for 2 near_if",
    # The kernel changes its code for every program that comes or goes, and TCG may miss that while another
    # processor runs there (see cases/xdp.py). So no other one does. Everything of IPv4 that comes in goes back,
    # or away, or to the stack, in turns.
    "programs": "ip link set $dev mtu 9000; wait_for 2 has_carrier $dev; "
    "trap 'echo 1 >/sys/devices/system/cpu/cpu1/online' EXIT; echo 0 >/sys/devices/system/cpu/cpu1/online; "
    "far timeout 10 ping -n -q -i 0.002 -w 1 -s 8900 $NEAR4 & far timeout 10 ping -n -q -i 0.002 -w 1 $NEAR4 & "
    f"/guest/files/frames xdp $dev 100 {_VERDICTS}; wait; "
    "ip link set $dev mtu 1500",
    "function-reset": 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"; sleep 0.2',
    "reload": "unload_fbnic; insmod_with_deps /guest/ko/$DRIVER.ko; wait_for 2 near_if",
}

_PING = "ping -n -q -c 1 -W 1 $FAR4"
# The longest a driver has to notice that its device is well again: its heartbeat is 10 s apart.
_PATIENCE = 25


# Servers at the far end that outlive any client, however it ends.
_SERVERS = """
far ss -Hltn 'sport = :5203' | grep -q . || {
	far socat -u TCP-LISTEN:5203,fork,reuseaddr OPEN:/dev/null </dev/null >/dev/null 2>&1 &
	far socat -u TCP-LISTEN:5204,fork,reuseaddr EXEC:'head -c 1000000 /dev/zero' </dev/null >/dev/null 2>&1 &
}
wait_for 5 eval "far ss -Hltn 'sport = :5204' | grep -q ."
"""


# The far end takes long frames from now on: its link is down for a while whenever that changes.
_LONG_FRAMES = "far_up 9000; wait_for 10 ping -n -q -c 1 -W 1 $FAR4"


def prepare(guest: Guest) -> None:
    """The driver is loaded, packets pass, and the far end serves TCP."""
    guest.disarm()
    guest.check(f"ready 1500\n{_LONG_FRAMES}\n{_SERVERS}", 90)


def work(guest: Guest, activity: str, seconds: float = 40) -> None:
    """Gives the driver something to do. It may fail at it; it may not hang."""
    body = ACTIVITIES[activity]
    guest.run(f"find_near && dev=$near; {{ {body}; }} >/dev/null 2>&1; true", seconds)


def recovers(guest: Guest, patience: float = _PATIENCE) -> bool:
    """With all faults gone, whether packets pass without help.

    `patience` is in seconds of the stock kernel; a slower one gets more.
    """
    guest.disarm()
    seconds = max(1, round(patience * guest.spec.kernel.slowness))
    # The limits are those of this kernel already.
    restore = f"SLOWNESS=1; near_up 1500 {min(seconds, 20)}"
    return guest.run(f"{_PING} || {{ {restore}; wait_for {seconds} {_PING}; }}", 90).status == 0


def restarts(guest: Guest, patience: float = _PATIENCE) -> bool:
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
    return guest.run(f"load_fbnic && near_up 1500 && wait_for 10 {_PING}", 60).status == 0


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
