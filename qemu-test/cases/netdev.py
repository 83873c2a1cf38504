# SPDX-License-Identifier: GPL-2.0
"""Addresses and filters of the network device."""

from harness.case import case, same
from harness.vm import Guest

# Sends a handful of frames from the far end to the address $1; fails unless all of them arrive.
_REACHES = """
reaches() {
    /guest/files/frames "$(near_if)" "$1" $FAR_IF "$(far cat /sys/class/net/$FAR_IF/address)" in 64
}
reaches_not() { ! reaches "$1" >/dev/null || fail "$1 is received"; }
dev=$(near_if)
"""
# More than the hardware has filters for either kind of address.
_MANY = 70
# The ones of them that are tried: with the filters full all are received, or the wrong ones are not.
_SOME = f"2 {_MANY // 2} {_MANY}"


def _check(guest: Guest, script: str, timeout: float = 60) -> str:
    return guest.check(f"set -e\n{_REACHES}\n{script}", timeout)


@case(rows=(11, 18))
def mac_address(guest: Guest) -> None:
    """A new MAC address takes the old one's place at once; a multicast address is refused."""
    guest.check("ready 1500")
    old = guest.check('cat "/sys/class/net/$(near_if)/address"').strip()
    new = "02:00:00:00:00:77"
    _check(guest, f"reaches {old}; reaches_not {new}; ip link set $dev address {new}")
    _check(guest, f"reaches {new}; reaches_not {old}; wait_for 10 ping -n -q -c 1 -W 1 $FAR4")
    for wrong in ("01:00:5e:00:00:01", "00:00:00:00:00:00"):
        assert guest.run(f'ip link set "$(near_if)" address {wrong}').status, f"{wrong} was taken"
    _check(guest, f"ip link set $dev address {old}; reaches {old}; wait_for 10 ping -n -q -c 1 -W 1 $FAR4")


@case(rows=(18,))
def unicast_list(guest: Guest) -> None:
    """More unicast addresses, without promiscuous mode; with too many for the filter, all the same."""
    guest.check("ready 1500")
    extra, foreign = "02:00:00:00:99:01", "02:00:00:00:98:01"
    _check(
        guest,
        f"reaches_not {extra}; bridge fdb add {extra} dev $dev self permanent;"
        f" reaches {extra}; reaches_not {foreign}",
    )
    every = f"for i in $(seq 2 {_MANY}); do a=$(printf 02:00:00:00:99:%02x $i);"
    some = f"for i in {_SOME}; do a=$(printf 02:00:00:00:99:%02x $i);"
    _check(guest, f"{every} bridge fdb add $a dev $dev self permanent; done")
    _check(guest, f"{some} reaches $a; done", 120)
    _check(guest, f"{every} bridge fdb del $a dev $dev self; done; reaches {extra}; reaches_not {foreign}")
    _check(guest, f"bridge fdb del {extra} dev $dev self; reaches_not {extra}")


@case(rows=(18,))
def multicast_list(guest: Guest) -> None:
    """Multicast groups joined and left; with too many for the filter, all are received."""
    guest.check("ready 1500")
    group, foreign = "01:00:5e:7f:99:01", "01:00:5e:7f:98:01"
    _check(
        guest,
        f"reaches_not {group}; ip maddr add {group} dev $dev; reaches {group}; reaches_not {foreign}",
    )
    every = f"for i in $(seq 2 {_MANY}); do a=$(printf 01:00:5e:7f:99:%02x $i);"
    some = f"for i in {_SOME}; do a=$(printf 01:00:5e:7f:99:%02x $i);"
    _check(guest, f"{every} ip maddr add $a dev $dev; done")
    _check(guest, f"{some} reaches $a; done", 120)
    _check(guest, f"{every} ip maddr del $a dev $dev; done; reaches {group}; reaches_not {foreign}")
    _check(guest, f"ip maddr del {group} dev $dev; reaches_not {group}")


@case(rows=(18,))
def promiscuous_modes(guest: Guest) -> None:
    """promisc receives every address, allmulti every group, and both end again."""
    guest.check("ready 1500")
    unicast, group = "02:00:00:00:98:01", "01:00:5e:7f:98:01"
    _check(guest, f"reaches_not {unicast}; ip link set $dev promisc on; reaches {unicast}; reaches {group}")
    _check(guest, f"ip link set $dev promisc off allmulticast on; reaches {group}; reaches_not {unicast}")
    _check(guest, f"ip link set $dev allmulticast off; reaches_not {group}; reaches_not {unicast}")


@case(rows=(11,))
def mtu_bounds(guest: Guest) -> None:
    """The largest and smallest MTU are those of the hardware, and one byte beyond is refused."""
    guest.check("ready 1500")
    limits = guest.check('ip -d link show "$(near_if)" | grep -o "m..mtu [0-9]*"').split()
    same("limits", limits, ["minmtu", "1280", "maxmtu", "9728"])
    for mtu, good in ((1279, False), (1280, True), (9728, True), (9729, False)):
        status = guest.run(f'ip link set "$(near_if)" mtu {mtu}').status
        same(f"MTU {mtu} taken", status == 0, good)
    guest.check("ready 1500")
