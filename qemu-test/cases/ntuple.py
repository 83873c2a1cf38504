# SPDX-License-Identifier: GPL-2.0
"""Rules of users: which flows they find, what they do with them, what is refused, what they survive."""

import contextlib
import re
import time

from harness import netdev_genl, packets, rxtrace, traffic
from harness.case import case, same
from harness.packets import ICMP, SCTP, TCP, UDP, Flow
from harness.vm import Guest

from . import power
from .rss import DEFAULT, PEER, Receiver

QUEUES = 6
RULES = 48
ADDRESSES = 8
IPV6_IN_IPV6 = 41
OTHER_MAC, GROUP, EVERYBODY = "02:00:00:00:77:01", "01:00:5e:00:77:01", "ff:ff:ff:ff:ff:ff"
# First and last register of the classifier's rules (RPC_TCAM_ACT).
RULE_TABLE = (0x8880, 0x8B7F)
NEAR4, NEAR6 = "198.19.0.1", "2001:db8:1::1"

# A rule without its action, flows that it is about, and flows that it is not about.
KINDS = (
    # The upstream driver takes a network of IPv4 only before the addresses that it is to come after.
    (
        "ip4 src-ip 198.18.3.0 m 0.0.0.255",
        [Flow("198.18.3.7", NEAR4, ICMP), Flow("198.18.3.255", NEAR4, TCP, 5, 6)],
        [Flow("198.18.4.7", NEAR4, ICMP)],
    ),
    (
        "tcp4 src-ip 198.18.1.1 dst-ip 198.19.1.1 src-port 1001 dst-port 80",
        [Flow("198.18.1.1", "198.19.1.1", TCP, 1001, 80)],
        [
            Flow("198.18.1.1", "198.19.1.1", TCP, 1002, 80),
            Flow("198.18.1.1", "198.19.1.1", TCP, 1001, 81),
            Flow("198.18.1.2", "198.19.1.1", TCP, 1001, 80),
            Flow("198.18.1.1", "198.19.1.2", TCP, 1001, 80),
            Flow("198.18.1.1", "198.19.1.1", UDP, 1001, 80),
        ],
    ),
    (
        "udp4 dst-port 4789",
        [Flow("198.18.2.1", NEAR4, UDP, 7, 4789), Flow("198.18.2.2", NEAR4, UDP, 9, 4789)],
        [
            Flow("198.18.2.1", NEAR4, TCP, 7, 4789),
            Flow("198.18.2.1", NEAR4, UDP, 4789, 7),
            Flow("2001:db8::2", NEAR6, UDP, 7, 4789),
        ],
    ),
    (
        "ip4 dst-ip 198.19.4.1 l4proto 17",
        [Flow("198.18.5.1", "198.19.4.1", UDP, 5, 6)],
        [Flow("198.18.5.1", "198.19.4.1", TCP, 5, 6), Flow("198.18.5.1", "198.19.4.1", SCTP)],
    ),
    (
        "tcp6 src-ip 2001:db8::5 dst-port 443",
        [Flow("2001:db8::5", NEAR6, TCP, 5, 443)],
        [
            Flow("2001:db8::5", NEAR6, UDP, 5, 443),
            Flow("2001:db8::6", NEAR6, TCP, 5, 443),
            Flow("198.18.6.1", NEAR4, TCP, 5, 443),
        ],
    ),
    (
        "udp6 src-port 53",
        [Flow("2001:db8::7", NEAR6, UDP, 53, 6)],
        [Flow("2001:db8::7", NEAR6, TCP, 53, 6), Flow("198.18.7.1", NEAR4, UDP, 53, 6)],
    ),
    (
        "ip6 dst-ip 2001:db8:8:: m ::ffff:ffff:ffff:ffff:ffff",
        [Flow("2001:db8::8", "2001:db8:8::9", packets.ESP), Flow("2001:db8::8", "2001:db8:8:1::9", TCP, 5, 6)],
        [Flow("2001:db8::8", "2001:db8:9::9", packets.ESP)],
    ),
    (
        "tcp4 dst-port 0x2000 m 0x0fff",
        [Flow("198.18.8.1", NEAR4, TCP, 5, 0x2ABC), Flow("198.18.8.1", NEAR4, TCP, 5, 0x2000)],
        [Flow("198.18.8.1", NEAR4, TCP, 5, 0x3000), Flow("198.18.8.1", NEAR4, TCP, 5, 0x1FFF)],
    ),
)

INVALID, FULL = "Invalid argument", "No space left on device"
# Rules that neither driver takes.
REFUSED = (
    "tcp4 dst-port 80 action 1 loc 5",
    f"tcp4 dst-port 80 action {QUEUES}",
    "tcp4 dst-port 80 action -2",
    "tcp4 dst-port 80 dst-mac 02:00:00:00:00:01 action 1",
    "tcp4 dst-port 80 context 1",
    "tcp4 dst-port 80 context 0 action 1",
    "sctp4 dst-port 80 action 1",
    "ah4 spi 80 action 1",
    "esp4 spi 80 action 1",
    "sctp6 dst-port 80 action 1",
    "ah6 spi 80 action 1",
    "esp6 spi 80 action 1",
    "ip4 l4proto 1 action 1",
    "ip4 l4proto 41 action 1",
    "ip4 l4proto 6 m 0x01 action 1",
    "ip6 l4proto 58 action 1",
    "ip6 l4proto 41 m 0x01 action 1",
    "ether dst 00:00:00:00:00:00 action 1",
    "ether dst 02:00:00:00:00:01 m 00:00:00:00:00:01 action 1",
)
# Rules that ask for something the device does not compare.
BEYOND = (
    "tcp4 dst-port 80 tos 4 action 1",
    "udp6 dst-port 80 tclass 4 action 1",
    "ip4 src-ip 198.18.0.1 tos 4 action 1",
    "ip4 src-ip 198.18.0.1 l4data 0x12345678 action 1",
    "ip6 src-ip 2001:db8::1 tclass 4 action 1",
    "ip6 l4proto 41 l4data 0x12345678 action 1",
    "ether src 02:00:00:00:00:01 action 1",
    "ether proto 0x88f7 action 1",
    "tcp4 dst-port 80 vlan 5 action 1",
    "tcp4 dst-port 80 vlan-etype 0x8100 action 1",
    "tcp4 dst-port 80 user-def 5 action 1",
    "tcp4 dst-port 80 vf 1 queue 1",
    "tcp4 dst-port 80 action 4294967296",
)


def add(guest: Guest, name: str, rule: str) -> int:
    """Adds a rule and returns its number."""
    report = guest.check(f"ethtool -N {name} flow-type {rule}")
    found = re.search(r"ID (\d+)", report)
    assert found, f"no number after adding {rule}: {report}"
    return int(found[1])


def refusal(guest: Guest, name: str, rule: str) -> str:
    """What ethtool says of a rule that must not be taken."""
    result = guest.run(f"ethtool -N {name} flow-type {rule}")
    assert result.status, f"taken: {rule}\n{result.output}"
    return result.output


def listed(guest: Guest, name: str) -> list[int]:
    """The numbers of all rules, by the list; their total is right."""
    report = guest.check(f"ethtool -n {name}")
    numbers = [int(n) for n in re.findall(r"^Filter: (\d+)$", report, re.MULTILINE)]
    total = re.search(r"^Total (\d+) rules$", report, re.MULTILINE)
    same("total", int(total[1]) if total else None, len(numbers))
    return numbers


def delete_all(guest: Guest, name: str) -> None:
    """Deletes all rules."""
    guest.check(f"for n in {' '.join(map(str, listed(guest, name)))}; do ethtool -N {name} delete $n || exit; done")


@contextlib.contextmanager
def _queues(guest: Guest):
    """The interface's name while it has several queues, of which only the first is used without a rule."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined {QUEUES}; ethtool -X {name} equal 1; wait_for 10 has_carrier {name}")
    yield name
    guest.check('ip link set "$(near_if)" up')
    delete_all(guest, name)
    guest.run(f"ethtool -X {name} context 1 delete")
    guest.check(f"ethtool -X {name} default; ethtool -L {name} combined 2; ready 1500")


def _frames(guest: Guest, flows: list[Flow]) -> list[bytes]:
    """A frame of each flow, each of a length of its own."""
    receiver = Receiver(guest)
    out = []
    for index, flow in enumerate(flows):
        room = 300 + index - 14 - (40 if flow.version == 6 else 20)
        if flow.protocol in (TCP, UDP):
            payload = packets.transport(flow, bytes(room - (20 if flow.protocol == TCP else 8)))
        else:
            payload = bytes(room)
        out.append(packets.frame(receiver.mac, PEER, packets.internet(flow, payload)))
    return out


def _received(guest: Guest, frames: list[bytes]) -> list[int | None]:
    """The queue that each frame came in by, None if it did not. Frames have lengths of their own."""
    got = {packet.length: packet.queue for packet in rxtrace.receive(guest, frames)}
    return [got.get(len(frame)) for frame in frames]


def _context(guest: Guest) -> Receiver:
    """The second RSS context, which has a table of its own but the key of the first."""
    context = Receiver(guest, "context 1")
    context.key = Receiver(guest).key
    return context


def _expect(guest: Guest, flows: list[tuple[Flow, int | None]]) -> None:
    frames = _frames(guest, [flow for flow, _ in flows])
    for (flow, queue), came in zip(flows, _received(guest, frames)):
        same(f"queue of {flow}", came, queue)


@case(rows=(19, 20))
def rules_steer(guest: Guest) -> None:
    """Each kind of rule finds its flows and no others; taken away, it finds none. Counters agree."""
    with _queues(guest) as name:
        flows = [(flow, 1 + n % 5) for n, (_, those, _) in enumerate(KINDS) for flow in those]
        others = [(flow, 0) for _, _, others in KINDS for flow in others]
        for n, (rule, _, _) in enumerate(KINDS):
            add(guest, name, f"{rule} action {1 + n % 5}")
        before = netdev_genl.read(guest).queue_stats
        _expect(guest, flows + others)
        after = netdev_genl.read(guest).queue_stats
        for queue in range(1, QUEUES):
            grown = after["rx", queue]["rx_packets"] - before["rx", queue]["rx_packets"]
            same(f"packets of queue {queue}", grown, sum(to == queue for _, to in flows))
        delete_all(guest, name)
        _expect(guest, [(flow, 0) for flow, _ in flows])


@case(rows=(18, 19, 20))
def rules_about_addresses(guest: Guest) -> None:
    """Rules about Ethernet addresses, of others and the own, find what is sent there, and let it in."""
    with _queues(guest) as name:
        own = Receiver(guest).mac
        frames = [
            packets.frame(mac, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(250 + n))
            for n, mac in enumerate((OTHER_MAC, GROUP, own, "02:00:00:00:77:02"))
        ]
        same("queues without rules", _received(guest, frames), [None, None, 0, None])
        for queue, mac in enumerate((OTHER_MAC, GROUP, own), 1):
            add(guest, name, f"ether dst {mac} action {queue}")
        same("queues", _received(guest, frames), [1, 2, 3, None])
        # Lists of addresses come and go without the rules noticing.
        guest.check("load_extra macvlan")
        guest.check(f"ip link add link {name} name mv0 address {OTHER_MAC} type macvlan && ip link set mv0 up")
        same("queues beside a list", _received(guest, frames), [1, 2, 3, None])
        guest.check("ip link del mv0")
        same("queues after a list", _received(guest, frames), [1, 2, 3, None])
        delete_all(guest, name)
        same("queues after the rules", _received(guest, frames), [None, None, 0, None])


@case(
    rows=(19,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_rpc.c:418 looks for broadcast among multicast addresses only",
)
def rule_about_broadcast(guest: Guest) -> None:
    """A rule about broadcast frames finds them."""
    with _queues(guest) as name:
        add(guest, name, f"ether dst {EVERYBODY} action 4")
        frame = packets.frame(EVERYBODY, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(300))
        same("queue", _received(guest, [frame]), [4])


@case(
    rows=(19,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_ethtool.c:1092 compares everything but what it meant to",
)
def rules_about_tunnels(guest: Guest) -> None:
    """A rule about IPv6 in IPv6 compares the outer addresses, and finds no plain packets."""
    with _queues(guest) as name:
        add(guest, name, f"ip6 l4proto {IPV6_IN_IPV6} src-ip 2001:db8::a dst-ip {NEAR6} action 4")
        inner = Flow("2001:db8::b", NEAR6, TCP, 5, 6)
        outer = Flow("2001:db8::a", NEAR6, IPV6_IN_IPV6)
        mac = Receiver(guest).mac

        def tunnelled(flow: Flow, size: int) -> bytes:
            packet = packets.internet(inner, packets.transport(inner, bytes(size)))[2:]
            return packets.frame(mac, PEER, packets.internet(flow, packet))

        plain = _frames(guest, [Flow("2001:db8::a", NEAR6, TCP, 5, 6)])
        frames = [tunnelled(outer, 300), tunnelled(Flow("2001:db8::c", NEAR6, IPV6_IN_IPV6), 310), *plain]
        same("queues", _received(guest, frames), [4, 0, 0])


@case(rows=(19, 20))
def rules_act(guest: Guest) -> None:
    """Rules drop or spread by an RSS context; of several the one added last counts."""
    with _queues(guest) as name:
        guest.check(f"ethtool -X {name} context new start 2 equal 4")
        add(guest, name, "tcp4 dst-port 81 action -1")
        add(guest, name, "ip6 src-ip 2001:db8::d action -1")
        add(guest, name, "udp4 dst-port 90 action 1")
        add(guest, name, "udp4 dst-port 90 src-ip 198.18.0.7 action 5")
        add(guest, name, "tcp4 dst-port 82 context 1")
        add(guest, name, "tcp4 dst-port 83 context 0")
        spread = [Flow(f"198.18.0.{n}", NEAR4, TCP, 1000 + 7 * n, 82) for n in range(1, 17)]
        context = _context(guest)
        same("queues of the context", set(context.table), {2, 3, 4, 5})
        by_hash = [context.table[packets.toeplitz(context.key, packets.hash_input(f, True)) % 256] for f in spread]
        assert len(set(by_hash)) > 2, f"hardly spread: {by_hash}"
        _expect(
            guest,
            [
                (Flow("198.18.0.1", NEAR4, TCP, 5, 81), None),
                (Flow("198.18.0.1", NEAR4, UDP, 5, 81), 0),
                (Flow("2001:db8::d", NEAR6, TCP, 5, 6), None),
                (Flow("2001:db8::e", NEAR6, TCP, 5, 6), 0),
                (Flow("198.18.0.1", NEAR4, UDP, 5, 90), 1),
                (Flow("198.18.0.7", NEAR4, UDP, 5, 90), 5),
                (Flow("198.18.0.1", NEAR4, TCP, 5, 83), 0),
                *zip(spread, by_hash),
            ],
        )
        assert guest.run(f"ethtool -X {name} context 1 delete").status, "a context in use was deleted"
        report = guest.check(f"ethtool -n {name}")
        same("rules with contexts", len(re.findall(r"RSS Context (ID: )?[01]$", report, re.MULTILINE)), 2)


@case(
    rows=(19,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_rpc.c:318 leaves the fields of rules as they were",
)
def rules_hash_as_told(guest: Guest) -> None:
    """The choice of fields that are hashed is that of rules with an RSS context too, old ones and new."""
    with _queues(guest) as name:
        guest.check(f"ethtool -X {name} context new start 2 equal 4")
        add(guest, name, "udp4 dst-port 84 context 1")
        flows = [Flow("198.18.0.1", NEAR4, UDP, 1000 + 7 * n, 84) for n in range(16)]
        for letters, ports in (("sdfn", True), ("sd", False)):
            guest.check(f"ethtool -N {name} rx-flow-hash udp4 {letters}")
            _context(guest).expect(flows, {(4, UDP): "ports"} if ports else DEFAULT)


@case(rows=(19, 20))
def rules_refused(guest: Guest) -> None:
    """What the device cannot do is refused, and leaves no rule behind."""
    with _queues(guest) as name:
        first = add(guest, name, "tcp4 dst-port 80 action 1")
        for rule in REFUSED:
            said = refusal(guest, name, rule)
            assert INVALID in said, f"{rule}: {said}"
        same("rules", listed(guest, name), [first])
        for command in (
            f"-N {name} delete {first - 1}",
            f"-N {name} delete {RULES}",
            f"-n {name} rule {first - 1}",
            f"-n {name} rule {RULES}",
        ):
            result = guest.run(f"ethtool {command}")
            assert result.status and INVALID in result.output, f"{command}: {result.output}"
        assert guest.run(f"ethtool -K {name} ntuple off").status, "rules can be switched off"
        same("rules", listed(guest, name), [first])
        _expect(guest, [(Flow("198.18.0.1", NEAR4, TCP, 5, 80), 1)])


@case(
    rows=(19, 20),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_ethtool.c:955 drops what it does not know, and does the rest",
)
def rules_beyond_the_device(guest: Guest) -> None:
    """A rule with a condition that the device does not know is refused, rather than to find too much."""
    with _queues(guest) as name:
        for rule in BEYOND:
            said = refusal(guest, name, rule)
            assert INVALID in said, f"{rule}: {said}"
        same("rules", listed(guest, name), [])


@case(rows=(19, 20))
def rules_have_limits(guest: Guest) -> None:
    """There is room for 48 rules and for 8 addresses of a kind, and again once some are deleted."""
    with _queues(guest) as name:
        guest.check(f"for p in {{1..{RULES}}}; do ethtool -N {name} flow-type tcp4 dst-port $p action 1 || exit; done")
        same("rules", listed(guest, name), list(range(RULES)))
        assert FULL in refusal(guest, name, "tcp4 dst-port 99 action 1")
        _expect(guest, [(Flow("198.18.0.1", NEAR4, TCP, 5, p), 1 if p <= RULES else 0) for p in (1, 2, RULES, 99)])
        guest.check(f"ethtool -N {name} delete 7")
        same("number of the next", add(guest, name, "tcp4 dst-port 99 action 2"), 7)
        delete_all(guest, name)
        for network, own in (("198.18.9.$n", "ip4"), ("2001:db8:9::$n", "ip6")):
            guest.check(f"for n in {{1..{ADDRESSES}}}; do ethtool -N {name} flow-type {own} src-ip {network} action 1 || exit; done")
            assert FULL in refusal(guest, name, f"{own} src-ip {network.replace('$n', '99')} action 1")
            # Known ones take no room, and neither do other kinds.
            add(guest, name, f"{own} src-ip {network.replace('$n', '1')} action 2")
            add(guest, name, f"{own} dst-ip {network.replace('$n', '99')} action 3")
            delete_all(guest, name)
        same("rules", listed(guest, name), [])


@case(rows=(12, 19, 20))
def rules_survive(guest: Guest) -> None:
    """Rules stay when the interface goes down and up and has other queues, but for those they name."""
    with _queues(guest) as name:
        rules = ["tcp4 src-ip 198.18.0.1 dst-port 80 action 5", f"ether dst {OTHER_MAC} action 3", "udp4 dst-port 9 action -1"]
        numbers = sorted(add(guest, name, rule) for rule in rules)
        other = packets.frame(OTHER_MAC, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(333))
        flows = [Flow("198.18.0.1", NEAR4, TCP, 5, 80), Flow("198.18.0.1", NEAR4, UDP, 5, 9), Flow("198.18.0.2", NEAR4, TCP, 5, 80)]
        before = guest.check(f"ethtool -n {name}")

        def as_ever(when: str) -> None:
            guest.check("ready 1500")
            same(f"rules {when}", listed(guest, name), numbers)
            same(f"report {when}", guest.check(f"ethtool -n {name}"), before)
            same(f"queues {when}", _received(guest, [*_frames(guest, flows), other]), [5, None, 0, 3])

        as_ever("at first")
        guest.check(f"ip link set {name} down")
        as_ever("after down")
        guest.check(f"ethtool -L {name} combined 8")
        before = before.replace("6 RX rings", "8 RX rings")
        as_ever("with more queues")
        assert guest.run(f"ethtool -L {name} combined 5").status, "a queue of a rule was taken away"
        guest.check(f"ethtool -G {name} rx 512 tx 512; ethtool -G {name} rx 1024 tx 1024")
        as_ever("with other rings")


@case(
    rows=(19, 20),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_ethtool.c:646 knows only rules that are in the device",
)
def rules_while_down(guest: Guest) -> None:
    """Rules are listed, added and deleted while the interface is down, and act once it is up."""
    with _queues(guest) as name:
        first = add(guest, name, "tcp4 dst-port 80 action 1")
        guest.check(f"ip link set {name} down")
        same("rules", listed(guest, name), [first])
        second = add(guest, name, "tcp4 src-ip 198.18.0.1 dst-port 81 action 2")
        third = add(guest, name, f"ether dst {OTHER_MAC} action 3")
        guest.check(f"ethtool -N {name} delete {first}; ready 1500")
        same("rules", listed(guest, name), sorted([second, third]))
        other = packets.frame(OTHER_MAC, PEER, packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(333))
        flows = [Flow("198.18.0.1", NEAR4, TCP, 5, port) for port in (80, 81)]
        same("queues", _received(guest, [*_frames(guest, flows), other]), [0, 2, 3])


@case(
    rows=(11, 19),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_pci.c:127 does not wait for the task that writes the rules once more",
)
def no_rules_when_down(guest: Guest) -> None:
    """No rule is left in the device when the interface is down, though the driver's own work waited to go on."""
    # On a busy machine the work of once per second may come before the interface waits, so this is done thrice.
    left = set()
    for _ in range(3):
        guest.check("! is_loaded || unload_fbnic; load_fbnic")
        # Reading all registers takes seconds, under RTNL: the interface has to wait, then that work.
        guest.check(
            'dev=$(near_if); ip link set "$dev" up; ethtool -d "$dev" >/dev/null & '
            'sleep 0.2; ip link set "$dev" down; wait; sleep 0.5',
            60,
        )
        left |= {f"{csr:#07x}" for csr, value in enumerate(guest.csrs(*RULE_TABLE), RULE_TABLE[0]) if value}
    guest.check("ready 1500")
    assert any(guest.csrs(*RULE_TABLE)), "no rule when up"
    same("registers of rules when down", left, set())
    traffic.ping(guest, 56)


@case(
    rows=(4, 19),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_rpc.c:1070 takes IP addresses for written that a reset has wiped",
)
def rules_after_reset(guest: Guest) -> None:
    """Rules act again after the device has been reset by the bus."""
    with _queues(guest) as name:
        add(guest, name, "tcp4 src-ip 198.18.0.1 dst-port 80 action 1")
        add(guest, name, "ip6 dst-ip 2001:db8:1::1 action -1")
        flows = [(Flow("198.18.0.1", NEAR4, TCP, 5, 80), 1), (Flow("2001:db8::1", NEAR6, TCP, 5, 80), None)]
        _expect(guest, flows)
        mark = len(guest.console.text())
        power.inject_bus_error(guest)
        assert "device recovery successful" in guest.console.text()[mark:]
        guest.check("ready 1500", 60)
        _expect(guest, flows)


@case(
    rows=(2, 19),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_rpc.c:1070 takes tables for empty in which a driver before it has left rules",
)
def rules_of_the_driver_before(guest: Guest) -> None:
    """What rules the device holds when the driver takes it do not count: addresses, nor actions."""
    # RPC_TCAM_ACT, of which the last word makes an entry valid.
    tables = range(0x8880, 0x8880 + 12 * 64)
    with _queues(guest) as name:
        add(guest, name, "ip4 dst-ip 198.18.0.1 action 1")
        add(guest, name, "ip4 src-ip 198.18.0.2 action 2")
        add(guest, name, "ip4 src-ip 198.18.0.3 action -1")
        left = guest.csrs(tables[0], tables[-1])
        guest.check("fbnic_unbind")
        # As after a crash, when nobody has cleared the rules.
        for csr, value in enumerate(left, tables[0]):
            if value:
                guest.do("csr_write", csr=csr, value=value)
        guest.check("fbnic_bind && ready 1500", 60)
    with _queues(guest) as name:
        flows = [(Flow(f"198.18.0.{number}", NEAR4, TCP, 5, 80), queue) for number, queue in ((2, 0), (3, 0))]
        _expect(guest, flows)
        add(guest, name, "ip4 src-ip 198.18.0.3 action 1")
        _expect(guest, [(Flow("198.18.0.3", NEAR4, TCP, 5, 80), 1), *flows[:1]])


@case(drivers=("rust",), rows=(19,))
def networks_around_addresses(guest: Guest) -> None:
    """An address is found before networks around it, in whatever order the rules came.

    The upstream driver has no room for a network of IPv4 after an address in it.
    """
    with _queues(guest) as name:
        add(guest, name, "ip4 src-ip 198.18.5.1 action 1")
        add(guest, name, "ip4 src-ip 198.18.0.0 m 0.0.255.255 action 2")
        add(guest, name, "ip4 src-ip 198.18.5.0 m 0.0.0.255 action 3")
        add(guest, name, "ip4 src-ip 198.18.5.2 action 4")
        sources = {"198.18.5.1": 1, "198.18.6.1": 2, "198.18.5.9": 3, "198.18.5.2": 4, "198.20.5.1": 0}
        _expect(guest, [(Flow(source, NEAR4, TCP, 5, 6), queue) for source, queue in sources.items()])


@case(drivers=("rust",), rows=(10, 19))
def rules_outlive_firmware(guest: Guest) -> None:
    """After a crash of the firmware all tables that rules need are back, those of IP addresses too."""
    # RPC_TCAM_OUTER_IPSRC and those that follow.
    addresses = range(0x8C00, 0x8D20)
    with _queues(guest) as name:
        time.sleep(max(0, 25 - int(guest.check("cat /proc/uptime").split(".")[0])))
        add(guest, name, "tcp4 src-ip 198.18.0.1 dst-port 80 action 1")
        add(guest, name, "ip6 dst-ip 2001:db8:1::1 action -1")
        flows = [(Flow("198.18.0.1", NEAR4, TCP, 5, 80), 1), (Flow("2001:db8::1", NEAR6, TCP, 5, 80), None)]
        before = guest.csrs(addresses[0], addresses[-1])
        for csr, value in zip(addresses, before):
            if value:
                guest.do("csr_write", csr=csr, value=0)
        guest.do("fw_restart", tcam=True)
        end = time.monotonic() + 40
        while guest.csrs(addresses[0], addresses[-1]) != before:
            assert time.monotonic() < end, "the addresses are not back"
            time.sleep(0.5)
        _expect(guest, flows)
