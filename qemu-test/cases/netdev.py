# SPDX-License-Identifier: GPL-2.0
"""Addresses and filters of the network device."""

from harness import packets, rxtrace, traffic
from harness.case import case, same
from harness.vm import Guest, Spec

# Sends a handful of frames from the far end to the address $1; fails unless all of them arrive.
_REACHES = """
reaches() {
    /guest/files/frames "$(near_if)" "$1" $FAR_IF "$(far cat /sys/class/net/$FAR_IF/address)" in 64
}
reaches_not() { ! reaches "$1" >/dev/null || fail "$1 is received"; }
dev=$(near_if)
"""
# What the filters hold of addresses besides the interface's own.
UNICAST, MULTICAST = 6, 19
PEER, MARK = "02:00:00:00:00:02", "02:00:00:00:5e:ed"


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


def _received(guest: Guest, addresses: list[str]) -> list[str]:
    """Sends a frame to each address from the cable; returns those that the driver received."""
    frames = [
        packets.frame(address, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(300 + index))
        for index, address in enumerate(addresses)
    ]
    came = {packet.length for packet in rxtrace.receive(guest, frames)}
    return [address for address, frame in zip(addresses, frames) if len(frame) in came]


def _list_overflows(guest: Guest, add: str, remove: str, room: int, addresses: list[str], foreign: str) -> None:
    """Fills a filter with the first `room` addresses, then exceeds it, then comes back.

    `add` and `remove` are commands with ADDRESS and DEV in them.
    """
    name = guest.check("near_if").strip()

    def change(command: str, some: list[str]) -> None:
        command = command.replace("DEV", name)
        guest.check("set -e\n" + "\n".join(command.replace("ADDRESS", address) for address in some))

    probe = [*addresses, foreign]
    same("before", _received(guest, probe), [])
    change(add, addresses[:room])
    same("with a full filter", _received(guest, probe), addresses[:room])
    change(add, addresses[room:])
    same("with too many", _received(guest, probe), probe)
    change(remove, addresses[room:])
    same("with a full filter again", _received(guest, probe), addresses[:room])
    change(remove, addresses[:room])
    same("after", _received(guest, probe), [])


@case(
    rows=(18,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_netdev.c:132 does not find the first of the filters that are handed out",
)
def unicast_list(guest: Guest) -> None:
    """More unicast addresses up to the filter's size, without promiscuous mode; beyond, all the same."""
    guest.check("ready 1500")
    addresses = [f"02:00:00:00:99:{index:02x}" for index in range(70)]
    add, remove = (f"bridge fdb {word} ADDRESS dev DEV self" for word in ("add", "del"))
    _list_overflows(guest, f"{add} permanent", remove, UNICAST, addresses, "02:00:00:00:98:01")


@case(rows=(18,))
def multicast_list(guest: Guest) -> None:
    """Multicast groups up to the filter's size and beyond; then all groups are received."""
    guest.check("ready 1500")
    # The stack itself is in some groups already.
    room = MULTICAST - int(guest.check('ip maddr show "$(near_if)" | grep -c link'))
    addresses = [f"01:00:5e:7f:99:{index:02x}" for index in range(70)]
    add, remove = (f"ip maddr {word} ADDRESS dev DEV" for word in ("add", "del"))
    _list_overflows(guest, add, remove, room, addresses, "01:00:5e:7f:98:01")
    # Unicast addresses of others stay out meanwhile.
    same("foreign unicast", _received(guest, ["02:00:00:00:98:01"]), [])


@case(rows=(18,))
def filter_reused_at_once(guest: Guest) -> None:
    """The filter of an address that goes serves the one that had none, which ends promiscuous mode."""
    guest.check("ready 1500")
    name = guest.check("near_if").strip()
    addresses = [f"02:00:00:00:99:{index:02x}" for index in range(UNICAST + 1)]
    foreign = "02:00:00:00:98:01"
    guest.check("\n".join(f"bridge fdb add {address} dev {name} self permanent" for address in addresses))
    guest.check(f"bridge fdb del {addresses[0]} dev {name} self")
    try:
        same("received", _received(guest, [*addresses, foreign]), addresses[1:])
    finally:
        guest.check("\n".join(f"bridge fdb del {address} dev {name} self" for address in addresses[1:]))


@case(rows=(18,))
def stacked_interfaces(guest: Guest) -> None:
    """macvlan and VLAN interfaces with addresses of their own receive, without promiscuous mode."""
    guest.check("ready 1500; load_extra macvlan")
    name = guest.check("near_if").strip()
    own, tagged, foreign = "02:00:00:00:77:01", "02:00:00:00:77:02", "02:00:00:00:77:03"
    guest.check(
        f"ip link add mv0 link {name} address {own} type macvlan mode bridge && ip link set mv0 up &&"
        f"ip link add link {name} name vl7 address {tagged} type vlan id 7 && ip link set vl7 up"
    )
    same("received", _received(guest, [own, tagged, foreign]), [own, tagged])
    state = guest.check(f"ip -d link show {name}")
    assert "promiscuity 0" in state and "allmulti 0" in state and "PROMISC" not in state, state
    guest.check(
        "ip addr add 198.51.100.1/24 dev vl7 && far ip link add link $FAR_IF name vl7 type vlan id 7 &&"
        "far ip addr add 198.51.100.2/24 dev vl7 && far ip link set vl7 up &&"
        "ping -nqc 3 -i 0.1 -W 2 198.51.100.2 && ping -nqc 3 -i 0.1 -W 2 -M do -s 1472 198.51.100.2"
    )
    guest.check("ip link del mv0; ip link del vl7; far ip link del vl7")
    same("received afterwards", _received(guest, [own, tagged, foreign]), [])


@case(rows=(11,))
def mac_from_serial_number(guest: Guest) -> None:
    """The address follows from the serial number and is the same with every load, never random."""
    for _ in range(2):
        guest.check("is_loaded && unload_fbnic; load_fbnic")
        name = guest.check("near_if").strip()
        kind, address = guest.check(f"cd /sys/class/net/{name}; cat addr_assign_type address").split()
        same("address", address, guest.check("pci_serial_mac").strip())
        same("kind of address, 0 for permanent", kind, "0")
        permanent = guest.check(f"ethtool -P {name}").split()[-1]
        same("permanent address", permanent, address)
    guest.check(f"ip link set {name} address 02:00:00:00:00:79")
    same("permanent address", guest.check(f"ethtool -P {name}").split()[-1], address)
    guest.check(f"ip link set {name} address {address}; ready 1500")


BMC = ("02:bc:00:00:00:01", "02:bc:00:00:00:02")
BROADCAST = "ff:ff:ff:ff:ff:ff"


@case(rows=(18,))
def management_controller(guest: Guest) -> None:
    """With a BMC on the port its frames are its own, and the host's go on, also after down and up."""
    arguments = [word for address in BMC for word in ("--bmc", address)]
    driver = guest.spec.driver
    spec = Spec(name=f"guest-bmc-{driver}", driver=driver, accel=guest.spec.accel, tap=True)
    spec.emulator_args = arguments
    with Guest(spec) as shared:
        shared.check("ready 1500")
        mac = shared.check('cat "/sys/class/net/$(near_if)/address"').strip()
        group = "01:00:5e:7f:99:01"
        probe = [mac, *BMC, BROADCAST, group]
        shared.check(f'ip maddr add {group} dev "$(near_if)"')
        # What is for more than one reaches both.
        _bmc_gets(shared, probe, host=[mac, BROADCAST, group], bmc=[*BMC, BROADCAST, group])
        shared.check('ip link set "$(near_if)" down')
        _bmc_gets(shared, probe, host=[], bmc=[*BMC, BROADCAST])
        shared.check("ready 1500")
        _bmc_gets(shared, probe, host=[mac, BROADCAST, group], bmc=[*BMC, BROADCAST, group])
        shared.check('ip link set "$(near_if)" promisc on')
        foreign = "02:00:00:00:98:01"
        same("promiscuous host receives", _received(shared, [mac, foreign]), [mac, foreign])
        shared.check('ip link set "$(near_if)" promisc off')
        # What the host sends to the BMC stays inside; a group is for both.
        outside = _leave(shared, [*BMC, group, PEER])
        same("destinations of what the host sends by the cable", outside, [group, PEER])
        told = shared.fw_host
        shared.check("sleep 1.5")
        same("addresses the firmware was told", (told()["unicast"], group in told()["multicast"]), ([mac], True))
        traffic.ping(shared, 56)
        shared.check_healthy()


def _leave(guest: Guest, addresses: list[str]) -> list[str]:
    """Lets the host send a frame to each address; returns those whose frames come out at the cable."""
    name = guest.check("near_if").strip()
    body = packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(100)
    frames = {packets.frame(address, MARK, body): address for address in addresses}
    # A header of zeros asks for no offload.
    lines = "\n".join((bytes(10) + frame).hex() for frame in frames)
    with guest.wire() as wire:
        came = wire.during(lambda: guest.check(f"/guest/files/frames send {name} <<'END'\n{lines}\nEND"))
    return [address for frame, address in frames.items() if frame in came]


def _bmc_gets(guest: Guest, probe: list[str], host: list[str], bmc: list[str]) -> None:
    counter = 'ethtool -S "$(near_if)" | awk \'/rxb_intf2_frames/ { print $2 }\''
    before = int(guest.check(counter))
    same("host receives", _received(guest, probe), host)
    grown = int(guest.check(counter)) - before
    same("frames for the BMC", grown, len(bmc))


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
