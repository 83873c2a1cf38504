# SPDX-License-Identifier: GPL-2.0
"""Files in debugfs that show tables and rings: they tell what was set up, and reading them harms nothing."""

import contextlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness import packets, traffic, xdp
from harness.case import case, same
from harness.vm import Guest, Spec

from . import ntuple
from .netdev import BMC, BROADCAST

_DIR = "/sys/kernel/debug/fbnic/*"
_IP_TABLES = ("ip_src", "ip_dst", "ipo_src", "ipo_dst")
_RINGS = ("twq0", "twq1", "tcq", "hpq", "ppq", "rcq")

UNUSED, VALID, TO_WRITE = 0, 1, 2
# Entries of the address table with a use of their own, and bits of the host in the bitmaps of addresses.
BROADCAST_ENTRY, OWN_ENTRY, WILD_ENTRY = 4, 30, 31
BMC_BIT, BROADCAST_BIT, GROUP_BIT, UNICAST_BIT, ALL_GROUPS_BIT, PROMISC_BIT = 0, 50, 51, 52, 53, 54
# The first action that is a rule's.
RULES = 2

_ADDRESS = re.compile(r"(\d\d)  (\d) ([0-9a-f]{8}),([0-9a-f]{8}) (?:(\d) )?([0-9a-f]+)\n {24,26}([0-9a-f]+)\n")
_WORDS = r"((?:[0-9a-f]{4} ){10}[0-9a-f]{4})"
_ACTION = re.compile(rf"(\d\d)  (\d) {_WORDS}  ([0-9a-f]{{4}}) ([0-9a-f]{{8}})\n {{6}}{_WORDS}\n")


@dataclass(frozen=True)
class Address:
    """An entry of a table of addresses."""

    state: int
    users: frozenset[int]
    """Bits that are set in the bitmap."""
    version: str | None
    value: str
    mask: str


@dataclass(frozen=True)
class Action:
    """An entry of the table of actions. Words are in ascending order."""

    state: int
    value: list[str]
    mask: list[str]
    hash: str
    dest: int


def _read(guest: Guest, name: str, heading: str) -> str:
    """What is in a table below its heading, which is checked."""
    text = guest.check(f"cat {_DIR}/{name}")
    top = f"{heading}\n{'-' * (len(heading) + 1)}\n"
    assert text.startswith(top), f"{name}: {text[:200]}"
    return text[len(top) :]


def _addresses(guest: Guest, name: str) -> list[Address]:
    """All entries of a table of addresses, whose text is checked as a whole."""
    column = "V Addr/Mask" if name in _IP_TABLES else "Addr/Mask"
    text = _read(guest, name, f"Idx S TCAM Bitmap       {column}")
    found = list(_ADDRESS.finditer(text))
    same(f"entries of {name} that make no sense", _ADDRESS.sub("", text), "")
    same(f"indices of {name}", [int(match[1]) for match in found], list(range(len(found))))
    out = []
    for match in found:
        bits = int(match[3] + match[4], 16)
        users = frozenset(bit for bit in range(64) if bits >> bit & 1)
        out.append(Address(int(match[2]), users, match[5], match[6], match[7]))
    return out


def _actions(guest: Guest) -> list[Action]:
    text = _read(guest, "act_tcam", f"Idx S {'Value/Mask':55} {'RSS':4} Dest")
    found = list(_ACTION.finditer(text))
    same("entries of act_tcam that make no sense", _ACTION.sub("", text), "")
    same("indices of act_tcam", [int(match[1]) for match in found], list(range(64)))
    return [
        Action(int(match[2]), match[3].split()[::-1], match[6].split()[::-1], match[4], int(match[5], 16))
        for match in found
    ]


def _plain(mac: str) -> str:
    return mac.replace(":", "")


def _exact(mac: str, *users: int, state: int = VALID) -> Address:
    """The entry of one Ethernet address."""
    return Address(state, frozenset(users), None, _plain(mac), "0" * 12)


def _used(entries: list[Address]) -> dict[int, Address]:
    return {index: entry for index, entry in enumerate(entries) if entry.state != UNUSED}


@case(rows=(18,))
def address_tables_shown(guest: Guest) -> None:
    """The table of Ethernet addresses in debugfs has what the interface has, and no more when it is down."""
    name = guest.check("ready 1500; near_if").split()[-1]
    own = guest.check(f"cat /sys/class/net/{name}/address").strip()
    entries = _addresses(guest, "mac_addr")
    same("number of entries", len(entries), 32)
    same("own address", entries[OWN_ENTRY], _exact(own, UNICAST_BIT))
    same("broadcast", entries[BROADCAST_ENTRY], _exact(BROADCAST, BROADCAST_BIT))
    same("last entry", entries[WILD_ENTRY].state, UNUSED)
    before = _used(entries)
    for index, entry in before.items():
        if index not in (OWN_ENTRY, BROADCAST_ENTRY):
            same(f"users of {index}", entry.users, {GROUP_BIT})
            assert entry.state == VALID and 5 <= index <= 23 and int(entry.value[:2], 16) & 1, f"{index}: {entry}"

    # Two, as the upstream driver does not find the first again.
    others = [f"02:00:00:00:99:{n:02x}" for n in range(2)]
    group = "01:00:5e:7f:99:01"
    guest.check(f"for a in {' '.join(others)}; do bridge fdb add $a dev {name} self permanent || exit; done")
    guest.check(f"ip maddr add {group} dev {name}")
    added = {i: e for i, e in _used(_addresses(guest, "mac_addr")).items() if i not in before}
    want = sorted([_exact(mac, UNICAST_BIT) for mac in others] + [_exact(group, GROUP_BIT)], key=str)
    same("entries of lists", sorted(added.values(), key=str), want)
    guest.check(f"ip maddr del {group} dev {name}")
    guest.check(f"for a in {' '.join(others)}; do bridge fdb del $a dev {name} self || exit; done")
    after = _used(_addresses(guest, "mac_addr"))
    assert _exact(group, GROUP_BIT) not in after.values(), f"the group stays: {after}"
    assert _exact(others[1], UNICAST_BIT) not in after.values(), f"the address stays: {after}"

    guest.check(f"ip link set {name} allmulticast on")
    wild = Address(VALID, frozenset({ALL_GROUPS_BIT}), None, "010000000000", "feffffffffff")
    same("all groups", _addresses(guest, "mac_addr")[WILD_ENTRY], wild)
    guest.check(f"ip link set {name} allmulticast off promisc on")
    wild = Address(VALID, frozenset({PROMISC_BIT}), None, "0" * 12, "f" * 12)
    same("everything", _addresses(guest, "mac_addr")[WILD_ENTRY], wild)
    guest.check(f"ip link set {name} promisc off")
    same("no wildcard", _addresses(guest, "mac_addr")[WILD_ENTRY].state, UNUSED)
    same("for the BMC", _addresses(guest, "tce_tcam"), [])

    guest.check(f"ip link set {name} down")
    same("while it is down", _used(_addresses(guest, "mac_addr")), {})
    guest.check("ready 1500")
    same("own address again", _addresses(guest, "mac_addr")[OWN_ENTRY], _exact(own, UNICAST_BIT))


@case(rows=(18,))
def bmc_tables_shown(guest: Guest) -> None:
    """With a BMC its addresses are in both tables in debugfs, also while the interface is down."""
    driver = guest.spec.driver
    spec = Spec(name=f"guest-tables-{driver}", driver=driver, accel=guest.spec.accel)
    spec.emulator_args = [word for address in BMC for word in ("--bmc", address)]
    with Guest(spec) as shared:
        shared.check("ready 1500")
        bmc = [_exact(mac, BMC_BIT) for mac in BMC]
        for step, users in (("true", {BMC_BIT, BROADCAST_BIT}), ('ip link set "$(near_if)" down', {BMC_BIT})):
            shared.check(step)
            want = [*bmc, _exact(BROADCAST, *users)]
            macs = _addresses(shared, "mac_addr")
            same(f"addresses after {step}", [macs[n] for n in (0, 1, BROADCAST_ENTRY)], want)
            same(f"transmit table after {step}", _addresses(shared, "tce_tcam"), want)
        shared.check("ready 1500")
        action = _actions(shared)[0]
        # The first four addresses are the BMC's.
        same("action", (action.state, action.value[1], action.mask[1], action.dest), (VALID, "0400", "f87f", 4))
        shared.check_healthy()


def _ip(address: str, bits: int, user: int, state: int = VALID) -> Address:
    """The entry of an IP address or network that one rule names."""
    parsed = ipaddress.ip_address(address)
    ignored = (1 << (parsed.max_prefixlen - bits)) - 1
    if parsed.version == 4:
        ignored |= ((1 << 96) - 1) << 32
    return Address(state, frozenset({user}), str(parsed.version), f"{int(parsed):032x}", f"{ignored:032x}")


def _index(entries: list[Address], want: Address) -> int:
    """Where an address is, which has to be the only one."""
    same("addresses", list(_used(entries).values()), [want])
    return entries.index(want)


# A rule, what it puts into which table of IP addresses, and of words 1, 3 and 4 of its key the value and what is
# compared.
_RULES = (
    (
        "tcp4 src-ip 198.18.1.1 dst-ip 198.19.1.1 src-port 1001 dst-port 80 action 1",
        {"ip_src": ("198.18.1.1", 32), "ip_dst": ("198.19.1.1", 32)},
        {1: (0x9400, 0xDC00), 3: (1001, 0xFFFF), 4: (80, 0xFFFF)},
    ),
    ("ip4 src-ip 198.18.3.0 m 0.0.0.255 action 1", {"ip_src": ("198.18.3.0", 24)}, {1: (0x1400, 0x1C00)}),
    (
        "udp6 dst-ip 2001:db8::5 dst-port 53 action 1",
        {"ip_dst": ("2001:db8::5", 128)},
        {1: (0xDC00, 0xDC00), 4: (53, 0xFFFF)},
    ),
)
_QUEUE_1 = 0x0004_0112
"""To the host, to queue 1, split after layer 4."""


@contextlib.contextmanager
def _two_queues(guest: Guest) -> Iterator[str]:
    """The interface's name while it has two queues."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 2; wait_for 10 has_carrier {name}")
    yield name
    guest.check("ready 1500")
    ntuple.delete_all(guest, name)


@case(rows=(19, 20))
def rule_tables_shown(guest: Guest) -> None:
    """Rules are in the tables in debugfs word by word, also while the interface is down, and go with them."""
    with _two_queues(guest) as name:
        for rule, addresses, compared in _RULES:
            number = ntuple.add(guest, name, rule)
            _rule_is_shown(guest, RULES + number, addresses, compared)
            guest.check(f"ethtool -N {name} delete {number}")
            same("state of the action", _actions(guest)[RULES + number].state, UNUSED)
            for table in _IP_TABLES:
                same(f"{table} without rules", _used(_addresses(guest, table)), {})

        other = "02:00:00:00:77:01"
        number = ntuple.add(guest, name, f"ether dst {other} action 1")
        guest.check("sleep 0.1")
        macs = _addresses(guest, "mac_addr")
        index = macs.index(_exact(other, RULES + number))
        action = _actions(guest)[RULES + number]
        same("action", (action.state, action.value[1], action.mask[1]), (VALID, f"{1 << 10 | index << 5:04x}", "f81f"))
        guest.check(f"ip link set {name} down")
        same("action while it is down", _actions(guest)[RULES + number].state, TO_WRITE)
        want = [_exact(other, RULES + number, state=TO_WRITE)]
        same("addresses while it is down", list(_used(_addresses(guest, "mac_addr")).values()), want)
        guest.check("ready 1500")
        assert _exact(other, RULES + number) in _addresses(guest, "mac_addr"), "the address is not back"


def _rule_is_shown(
    guest: Guest, entry: int, addresses: dict[str, tuple[str, int]], compared: dict[int, tuple[int, int]]
) -> None:
    key = compared | {0: (0, 0)}
    for n, table in enumerate(_IP_TABLES):
        entries = _addresses(guest, table)
        same(f"entries of {table}", len(entries), 8)
        if table not in addresses:
            same(table, _used(entries), {})
            continue
        index = _index(entries, _ip(*addresses[table], entry))
        value, mask = key[0]
        key[0] = (value | (8 | index) << 4 * n, mask | 0xF << 4 * n)
    action = _actions(guest)[entry]
    same("state and destination", (action.state, action.dest), (VALID, _QUEUE_1))
    for word in range(11):
        value, mask = key.get(word, (0, 0))
        same(f"word {word}", (action.value[word], action.mask[word]), (f"{value:04x}", f"{mask ^ 0xFFFF:04x}"))


@dataclass(frozen=True)
class Ring:
    """A ring as its file tells."""

    doorbell: int
    number: int
    mask: int
    size: int
    flags: int
    driver: tuple[int, int]
    """Head and tail as the driver has them."""
    device: tuple[int, int]
    """Head and tail as the device has them."""
    lines: list[str]

    @property
    def driver_head(self) -> int:
        """A position: of completions the upstream driver shows how many there were."""
        return self.driver[0] & self.mask


_STATE = re.compile(
    r"doorbell CSR: (0x[0-9a-f]{3}) q_idx: (\d+)\n"
    r"size_mask: (0x[0-9a-f]{4}) size: (\d+) flags: (0x[0-9a-f]{2})\n"
    r"SW: head: (0x[0-9a-f]{4,}) tail: (0x[0-9a-f]{4})\n"
    r"HW: head: (0x[0-9a-f]{4}) tail: (0x[0-9a-f]{4})\n\n"
)
_WORK = "DESC LEN/MSS T METADATA/TIMESTAMP/BUFFER_ADDR"
_COLUMNS = {
    "twq0": _WORK,
    "twq1": _WORK,
    "tcq": "DESC D T Q STATUS TIMESTAMP        HEAD1  HEAD0 ",
    "hpq": "DESC ID   BUFFER_ADDR",
    "ppq": "DESC ID   BUFFER_ADDR",
    "rcq": "DESC D T F C M T P 4 3 LEN/CSUM ID/TS/RSS",
}
_TWD = (
    r"[0-9a-f]{4} 0x[0-9a-f]{4}  (?:0 [01] [01] [01] [01] 0x[0-9a-f] 0x[0-9a-f] [0-3] 0x[0-9a-f]{2} 0x[0-9a-f]{2}"
    r" [0-3] 0x[0-9a-f]{2}|[1-3] 0x[0-9a-f]{12})"
)
_BD = r"[0-9a-f]{4} 0x[0-9a-f]{2,4} 0x[0-9a-f]{12}"
_LINES = {
    "twq0": _TWD,
    "twq1": _TWD,
    "tcq": r"[0-9a-f]{4} [01] 0 [01] 0x[0-9a-f]{3} {19}0x[0-9a-f]{4} 0x[0-9a-f]{4}",
    "hpq": _BD,
    "ppq": _BD,
    "rcq": (
        r"[0-9a-f]{4} [01] (?:[01] [01] 0x[0-9a-f]{4}      0x[0-9a-f]{4}   0x[0-9a-f]{4}"
        r"|3(?: [01]){5} [0-3] [0-3] 0x[0-9a-f]{4}   0x[0-9a-f]{8})"
    ),
}
_DOORBELLS = {"twq0": 0x002, "twq1": 0x003, "tcq": 0x081, "hpq": 0x241, "ppq": 0x242, "rcq": 0x201}


def _ring(guest: Guest, path: str) -> Ring:
    """Reads the file of a ring, of which each line has to be as it should."""
    kind = path.rpartition("/")[2].partition(".")[0]
    text = guest.check(f"cat {_DIR}/{path}")
    state = _STATE.match(text)
    assert state, f"{path}: {text[:300]}"
    numbers = [int(number, 0) for number in state.groups()]
    same(f"doorbell of {path}", numbers[0], _DOORBELLS[kind])
    columns = _COLUMNS[kind]
    top = f"{columns}\n{'-' * (len(columns) + 1)}\n"
    if kind == "rcq":
        top = f"{'OFFSET/':>18} L L\n{top}"
    rest = text[state.end() :]
    assert rest.startswith(top), f"{path}: {rest[:200]}"
    lines = rest[len(top) :].splitlines()
    if lines != ["Descriptor ring not allocated."]:
        for index, line in enumerate(lines):
            assert re.fullmatch(_LINES[kind], line), f"{path}: {line!r}"
            same(f"position in {path}", int(line[:4], 16), index)
        same(f"descriptors of {path}", len(lines), numbers[2] + 1)
    return Ring(*numbers[:5], (numbers[5], numbers[6]), (numbers[7], numbers[8]), lines)


def _files(guest: Guest) -> list[str]:
    return sorted(guest.check(f"cd {_DIR} && find nv.* -type f 2>/dev/null || :").split())


def _want_files(queues: int) -> list[str]:
    return sorted(f"nv.{2 + n:03}/{kind}.{n:03}" for n in range(queues) for kind in _RINGS)


@case(rows=(13, 14))
def rings_shown(guest: Guest) -> None:
    """Rings in debugfs: indices move with traffic, descriptors are those of it, all vanish with the interface."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 1; ethtool -G {name} tx 256 rx 512 rx-mini 128 rx-jumbo 64; ready 1500")
    same("files", _files(guest), _want_files(1))
    for kind, entries, number, flags in (
        ("twq0", 256, 0, 6),
        ("twq1", 256, 128, 6),
        ("tcq", 256, 0, 0),
        ("hpq", 128, 0, 6),
        ("ppq", 64, 0, 6),
        ("rcq", 512, 0, 4),
    ):
        ring = _ring(guest, f"nv.002/{kind}.000")
        same(f"{kind}", (ring.mask, ring.size, ring.number, ring.flags), (entries - 1, 4096, number, flags))
    for _ in range(3):
        before = _ring(guest, "nv.002/twq0.000")
        traffic.ping(guest, 1000, count=20)
        after = _ring(guest, "nv.002/twq0.000")
        # Two descriptors for each packet, and there may be other packets.
        moved = (after.driver[1] - before.driver[1]) & after.mask
        assert 40 <= moved < 200, f"the tail moved by {moved}"
        _work_is_done(guest)
        _buffers_are_posted(guest)
    guest.check(f"ip link set {name} down")
    same("files while it is down", guest.check(f"cd {_DIR} && ls | grep -c nv || :").strip(), "0")
    guest.check(f"ethtool -G {name} tx 1024 rx 1024 rx-mini 256 rx-jumbo 256; ethtool -L {name} combined 2; ready 1500")
    same("files of two queues", _files(guest), _want_files(2))
    same("size", (_ring(guest, "nv.003/rcq.001").mask, _ring(guest, "nv.003/rcq.001").size), (1023, 8192))


def _settled(guest: Guest, work: str, done: str) -> tuple[Ring, Ring]:
    """Reads two rings until nothing has happened in between and nothing is under way."""
    for _ in range(10):
        first, second = _ring(guest, work), _ring(guest, done)
        again = _ring(guest, work)
        if first == again and first.device[0] == first.device[1] and second.device[0] == second.device[1]:
            return first, second
    raise AssertionError(f"the rings do not come to rest: {first.device}, {second.device}")


def _work_is_done(guest: Guest) -> None:
    """All that was sent is done, and both rings say so."""
    work, done = _settled(guest, "nv.002/twq0.000", "nv.002/tcq.000")
    same("the driver's place", work.driver, work.device)
    same("the driver's place among completions", done.driver_head, done.device[0])
    last = work.lines[(work.driver[1] - 1) & work.mask].split()
    same("type of the last descriptor", last[2], "3")
    assert int(last[1], 16) >= 60 and int(last[3], 16), f"no buffer: {last}"
    completion = done.lines[(done.driver_head - 1) & done.mask].split()
    same("the last completion's queue and place", (completion[3], int(completion[6], 16)), ("0", work.device[0]))


def _buffers_are_posted(guest: Guest) -> None:
    """Buffers are where they should be, and the last completion ends a packet."""
    rcq = _ring(guest, "nv.002/rcq.000")
    for _ in range(10):
        if rcq.device[0] == rcq.device[1]:
            break
        rcq = _ring(guest, "nv.002/rcq.000")
    same("the driver's place among completions", rcq.driver_head, rcq.device[0])
    assert rcq.lines[(rcq.driver_head - 1) & rcq.mask].split()[2] == "3", "the last completion ends no packet"
    header = rcq.lines[(rcq.driver_head - 2) & rcq.mask].split()
    for kind in ("hpq", "ppq"):
        ring = _ring(guest, f"nv.002/{kind}.000")
        head, tail = ring.driver
        posted = (tail - head) & ring.mask
        assert posted > ring.mask / 2, f"{kind}: {posted} buffers posted"
        for position in range(head, head + posted):
            _, ident, page = ring.lines[position & ring.mask].split()
            same(f"id in {kind}", int(ident, 16), position & ring.mask)
            assert int(page, 16), f"no address in {kind} at {position}"
    # A ping of this length fits a header buffer.
    same("type and length of the last header", (header[2], int(header[5], 16) >= 42), ("0", True))


@case(rows=(13,))
def ring_sent_back_shown(guest: Guest) -> None:
    """What an XDP program sends back is in the second work ring in debugfs, and its completions are told apart."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 1; ready 1500")
    before = _ring(guest, "nv.002/twq1.000")
    mac = guest.check(f"cat /sys/class/net/{name}/address").strip()
    body = packets.EXPERIMENTAL.to_bytes(2, "big") + bytes(300)
    with xdp.attached(guest, xdp.verdict(xdp.TX)), guest.wire() as wire:
        wire.send(*[packets.frame(mac, ntuple.PEER, body)] * 10)
        wire.receive(1)
    work, done = _settled(guest, "nv.002/twq1.000", "nv.002/tcq.000")
    same("descriptors", (work.driver[1] - before.driver[1]) & work.mask, 10)
    last = work.lines[(work.driver[1] - 1) & work.mask].split()
    same("length and type of the last", (int(last[1], 16), last[2]), (314, "3"))
    places = [int(line.split()[5], 16) for line in done.lines if line.split()[3] == "1"]
    assert work.device[0] in places, f"no completion says {work.device[0]}: {places}"
    guest.check(f"ethtool -L {name} combined 2; ready 1500")


@case(rows=(12, 13))
def rings_of_every_split_shown(guest: Guest) -> None:
    """Each ring is in one file in debugfs, whatever the channels; one that is not there is called so."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 0 rx 1 tx 1; ready 1500")
    tx, rx = _RINGS[:3], _RINGS[3:]
    want = [f"nv.002/{kind}.000" for kind in tx]
    want += [f"nv.003/{kind}.001" for kind in tx] + [f"nv.003/{kind}.000" for kind in rx]
    files = _files(guest)
    missing = [path for path in files if _ring(guest, path).size == 0]
    guest.check(f"ethtool -L {name} combined 2 rx 0 tx 0; ready 1500")
    same("rings that are not there", missing, ["nv.002/twq1.000", "nv.003/twq0.001"])
    same("files", files, sorted(want))


@case(
    rows=(6,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_debugfs.c:43 reads registers of a device that was given up",
)
def rings_of_a_lost_device_shown(guest: Guest) -> None:
    """The rings of a device that was given up can be looked at, without a look at the device."""
    guest.check("ready 1500")
    try:
        with guest.fault("fw_window_read", first=0, last=0x6FFF, value=0xFFFFFFFF):
            guest.run("timeout 15 cat /sys/class/hwmon/hwmon*/temp1_input", 40)
            guest.check('dev=$(near_if); absent() { ! ethtool "$dev"; }; wait_for 15 absent', 40)
            before = guest.stats()["mmio_reads"]
            for kind in _RINGS:
                ring = _ring(guest, f"nv.002/{kind}.000")
                same(f"place in {kind}", ring.device, (0xFFFF, 0xFFFF))
            same("reads of registers", guest.stats()["mmio_reads"] - before, 0)
    finally:
        guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
        guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)
    traffic.ping(guest, 56)


# Reads everything again and again, and keeps files of rings open meanwhile, until it is stopped.
_READER = f"""
: >/tmp/reading; rm -f /tmp/read-*
{{
    while [ -e /tmp/reading ]; do
        find {_DIR} -type f ! -name fw_self_test -exec cat {{}} + 2>/dev/null | wc -l >>/tmp/reader-all
    done
    mv /tmp/reader-all /tmp/read-all
}} &
{{
    while [ -e /tmp/reading ]; do
        for file in {_DIR}/nv.*/*; do
            {{ read -r line <&3; pause 0.02; cat <&3; }} 3<"$file" 2>/dev/null | wc -l >>/tmp/reader-rings
        done
    done
    mv /tmp/reader-rings /tmp/read-rings
}} >/dev/null 2>&1 &
"""


@case(rows=(2, 12, 13, 14))
def shown_beside_changes(guest: Guest) -> None:
    """Reading all of debugfs does not hinder traffic, changes of the queues, down and up, or removal."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(_READER)
    try:
        guest.check("start_traffic; sleep 1")
        for _ in range(4):
            guest.check(f"ip link set {name} down; ip link set {name} up", 120)
            guest.check(f"ethtool -L {name} combined 1; ethtool -G {name} tx 512 rx 512 rx-mini 128 rx-jumbo 128", 120)
            number = ntuple.add(guest, name, "tcp4 src-ip 198.18.1.1 dst-port 80 action 0")
            guest.check(f"ethtool -N {name} delete {number}")
            guest.check(f"ethtool -L {name} combined 2; ethtool -G {name} tx 1024 rx 1024 rx-mini 256 rx-jumbo 256", 120)
        guest.check("stop_traffic; ready 1500", 120)
        traffic.ping(guest, 56)
        for _ in range(3):
            guest.check("fbnic_unbind && fbnic_bind && ready 1500", 120)
        traffic.ping(guest, 56)
    finally:
        guest.run("rm -f /tmp/reading; stop_traffic; wait_for 30 [ -e /tmp/read-all -a -e /tmp/read-rings ]")
    for what in ("all", "rings"):
        lengths = [int(lines) for lines in guest.check(f"cat /tmp/read-{what}").split()]
        assert sum(length > 200 for length in lengths) > 10, f"hardly anything was read: {lengths}"
    guest.check("fbnic_unbind; ! ls /sys/kernel/debug/fbnic | grep . && fbnic_bind && ready 1500", 60)
