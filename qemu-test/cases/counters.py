# SPDX-License-Identifier: GPL-2.0
"""Counters of the device: each is shown where it belongs, and registers are dumped as they are."""

import json
import re
import struct

from harness import netdev_genl
from harness.case import case, same
from harness.vm import Guest

from .firmware import OWNERSHIP
from .power import NO_RESET, SLEEP

# Registers of the hardware guide, section 12, by what ethtool calls them; 64 bits, low half first.
MAC = {
    "FramesTransmittedOK": 0x11A42, "FramesReceivedOK": 0x11A12, "FrameCheckSequenceErrors": 0x11A14,
    "AlignmentErrors": 0x11A0A, "OctetsTransmittedOK": 0x11A3E, "OctetsReceivedOK": 0x11A08,
    "FramesLostDueToIntMACXmitError": 0x11A46, "FramesLostDueToIntMACRcvError": 0x11A18,
    "MulticastFramesXmittedOK": 0x11A4A, "BroadcastFramesXmittedOK": 0x11A4C,
    "MulticastFramesReceivedOK": 0x11A1C, "BroadcastFramesReceivedOK": 0x11A1E, "FrameTooLongErrors": 0x11A0E,
}  # fmt: skip
CONTROL = {"MACControlFramesTransmitted": 0x11A5E, "MACControlFramesReceived": 0x11A3C}
RMON = {
    "etherStatsUndersizePkts": 0x11A24, "etherStatsOversizePkts": 0x11A34,
    "etherStatsFragments": 0x11A38, "etherStatsJabbers": 0x11A36,
}  # fmt: skip
PAUSE = {"tx_pause_frames": 0x11A04, "rx_pause_frames": 0x11A00}
# Frames by size, from the smallest range up.
RX_SIZES = (*range(0x11A26, 0x11A31, 2), 0x855F, 0x8561, 0x8563, 0x8565, 0x8567)
TX_SIZES = (*range(0x11A4E, 0x11A59, 2), 0x4433, 0x4435, 0x4437, 0x4439, 0x443B)
# 32 bits: what was dropped, by the interface's own words for it.
QUEUE = 0x40000
DROPS = {
    "rx_over_errors": (QUEUE + 0x2A4, QUEUE + 0x2A5, QUEUE + 0x400 + 0x2A4),
    "rx_missed_errors": (0x8057 + 4, 0x8057 + 6),
    "rx_errors": (QUEUE + 0x2A3, QUEUE + 0x400 + 0x2A3),
    "tx_dropped": (0x4402, 0x403E, 0x4041, 0x4044),
}


def _add(guest: Guest, csr: int, value: int, wide: bool = True) -> None:
    """Lets a counter of the device grow."""
    words = guest.csrs(csr, csr + 1) if wide else guest.csrs(csr, csr)
    total = sum(word << 32 * i for i, word in enumerate(words)) + value
    for i in range(len(words)):
        guest.do("csr_write", csr=csr + i, value=total >> 32 * i & 0xFFFFFFFF)


def _groups(guest: Guest) -> dict[str, int]:
    """All standard statistics by name; frames by size as rx0, rx1 and so on."""
    name = guest.check("near_if").strip()
    found: dict[str, int] = {}
    for group in ("eth-mac", "eth-ctrl", "rmon"):
        (report,) = json.loads(guest.check(f"ethtool --json -S {name} --groups {group}"))
        for key, value in report[group].items():
            if isinstance(value, list):
                found |= {f"{key[:2]}{i}": entry["val"] for i, entry in enumerate(value)}
            else:
                found[key] = value
    (pause,) = json.loads(guest.check(f"ethtool --json -I -a {name}"))
    return found | pause["statistics"]


@case(rows=(20, 11))
def standard_statistics(guest: Guest) -> None:
    """Each counter of the MAC and each range of sizes is shown under its own name, beyond 32 bits too."""
    guest.check("ready 1500; ip link set $(near_if) down")
    registers = MAC | CONTROL | RMON | PAUSE
    registers |= {f"rx{i}": csr for i, csr in enumerate(RX_SIZES)}
    registers |= {f"tx{i}": csr for i, csr in enumerate(TX_SIZES)}
    before = _groups(guest)
    grown = {name: (i + 1 << 32) + 1000 + i for i, name in enumerate(registers)}
    for name, value in grown.items():
        _add(guest, registers[name], value)
    after = _groups(guest)
    missing = registers.keys() - after.keys()
    assert not missing, f"not shown: {missing}; shown: {sorted(after)}"
    for name, value in grown.items():
        same(name, after[name] - before[name], value)
    guest.check("ready 1500")


@case(rows=(11, 20))
def drops_are_counted(guest: Guest) -> None:
    """What the device had to drop is in the interface's statistics, once, and survives wraps; after a sleep, too."""
    guest.check("ready 1500; sleep 1.5")
    name = guest.check("near_if").strip()
    read = f"cd /sys/class/net/{name}/statistics; cat {' '.join(DROPS)}"

    def now() -> dict[str, int]:
        return dict(zip(DROPS, map(int, guest.check(read).split())))

    def drop() -> dict[str, int]:
        before = now()
        for csrs in DROPS.values():
            for i, csr in enumerate(csrs):
                _add(guest, csr, 7 + i, wide=False)
        after = now()
        for name, csrs in DROPS.items():
            same(name, after[name] - before[name], sum(7 + i for i in range(len(csrs))))
        return after

    after = drop()
    # Nearly round, as far as the driver can tell it from a step back.
    csr = DROPS["rx_missed_errors"][0]
    for _ in range(2):
        _add(guest, csr, 0x70000000, wide=False)
        now()
    last = now()
    same("missed frames", last["rx_missed_errors"] - after["rx_missed_errors"], 2 * 0x70000000)
    # The device has started anew, its counters too.
    guest.check(f"{SLEEP} && ready 1500", 60)
    drop()


@case(rows=(4, 20), c_bug=NO_RESET)
def counters_read_during_a_reset(guest: Guest) -> None:
    """Whoever reads counters while the device starts anew, and with it its counters, adds nothing to them."""
    name = guest.check("ready 1500; sleep 1.5; near_if").split()[-1]
    read = f"cat {' '.join(f'/sys/class/net/{name}/statistics/{drop}' for drop in DROPS)}"
    for csrs in DROPS.values():
        for csr in csrs:
            _add(guest, csr, 1000, wide=False)
    before = guest.check(read)
    with guest.fault("fw_delay", message=OWNERSHIP, ms=3000):
        reset = 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset" &'
        during = guest.check(f"{reset} while kill -0 $! 2>/dev/null; do {read}; pause 0.1; done | uniq; wait $!", 60)
    assert during.count("\n") >= len(DROPS), f"nothing was read: {during}"
    same("counters after the reset", guest.check(read), before)
    guest.check("ready 1500")


@case(rows=(11, 12))
def totals_outlive_queues(guest: Guest) -> None:
    """The interface's totals stay when a stopped interface is told to have other queues, and when it has them."""
    name = guest.check("ready 1500; start_traffic; sleep 2; stop_traffic; near_if").split()[-1]
    if guest.spec.driver == "rust":
        # What is told of each queue is in the total of the upstream driver only as long as there is the queue.
        for csr in (QUEUE + 0x2A4, QUEUE + 0x400 + 0x2A4):
            _add(guest, csr, 5, wide=False)
    guest.check(f"ip link set {name} down")
    before = netdev_genl.totals(guest)
    assert min(before["rx_packets"], before["tx_packets"]) > 100, before
    for queues in (1, 4, 2):
        guest.check(f"ethtool -L {name} combined {queues}")
        same(f"totals with {queues} queues to come", netdev_genl.totals(guest), before)
    guest.check(f"ethtool -L {name} combined 1; ip link set {name} up; ready 1500")
    after = netdev_genl.totals(guest)
    fallen = {key: (value, after[key]) for key, value in before.items() if after[key] < value}
    guest.check(f"ethtool -L {name} combined 2; ready 1500")
    assert not fallen, fallen


# Sections that the dump has to have: first and last register, and those of them that stand still.
SECTIONS = (
    (0x00000, 0x0005F), (0x00400, 0x007FE), (0x00800, 0x00873), (0x00C00, 0x00C34), (0x04000, 0x04050),
    (0x04200, 0x0421F), (0x04400, 0x0443F), (0x04800, 0x0480D), (0x08000, 0x081B1), (0x08400, 0x0856B),
    (0x0C000, 0x0C020), (0x0C400, 0x0C452), (0x10000, 0x10668), (0x10800, 0x108C8), (0x11000, 0x11028),
    (0x11800, 0x1184E), (0x2442E, 0x279D7), (0x31000, 0x310EA), (0x40000, 0x5FFFF),
)  # fmt: skip
STEADY = ((0x08000, 0x08047), (0x0081D, 0x0081E), (0x04000, 0x04020), (0x11002, 0x11002), (0x40020, 0x40021))


@case(rows=(20,))
def register_dump(guest: Guest) -> None:
    """`ethtool -d` has every section of the registers, with what the device holds in them."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -d {name} raw on >/tmp/dump", 60)
    words = guest.check("od -An -v -tx4 /tmp/dump | head -c 3000000", 60).split()
    dump = [int(word, 16) for word in words]
    at, found, values = 0, [], {}
    for first, last in SECTIONS:
        assert at + 2 + last - first < len(dump), f"the dump ends before {first:#x}"
        found.append((dump[at], dump[at + 1]))
        values |= dict(enumerate(dump[at + 2 : at + 3 + last - first], first))
        at += 3 + last - first
    same("sections", found, list(SECTIONS))
    for first, last in STEADY:
        got = [values[csr] for csr in range(first, last + 1)]
        same(f"registers from {first:#x}", got, guest.csrs(first, last))
    # Then come the tables of the classifier: the host's own address is in entry 30.
    rest = dump[at + 2 + 64 * 14 :]
    entry = rest[30 * 4 : 31 * 4]
    mac = bytes.fromhex(guest.check(f"cat /sys/class/net/{name}/address").strip().replace(":", ""))
    same("filter of the host's address", [word & 0xFFFF for word in entry[:3]], list(struct.unpack(">3H", mac))[::-1])


def _self_test(guest: Guest, what: str, wanted: list[bool]) -> None:
    """Runs the self-test until those of its parts fail: registers, interrupts, mailbox.

    It gives an interrupt 10 ms to arrive, which on a busy machine may be too little.
    """
    for _ in range(5):
        output = guest.run('ethtool -t "$(near_if)" offline', 90).output
        failed = [n != "0" for n in re.findall(r"\(\S*line\)\s+(\d+)$", output, re.MULTILINE)]
        if failed == wanted:
            break
    same(f"failed {what}", failed, wanted)


@case(rows=(20,))
def self_test_finds_faults(guest: Guest) -> None:
    """Each part of `ethtool -t` fails for a fault of what it tests, and passes without."""
    guest.check("ready 1500")
    queue5_size = QUEUE + 5 * 0x400 + 0x00A
    with guest.fault("csr_write_lost", first=queue5_size):
        guest.check("dmesg -C")
        _self_test(guest, "for a register that does not take", [True, False, False])
        guest.check(f"dmesg | grep -qi 'reg.* 0x0*{queue5_size:x} .*expected 0x[0-9a-f]* received 0x'")
    with guest.fault("msix_lost", vector=3):
        _self_test(guest, "for interrupts that get lost", [False, True, False])
    with guest.fault("fw_silent", message=0):
        _self_test(guest, "for firmware that does not echo", [False, False, True])
    _self_test(guest, "without a fault", [False, False, False])
    guest.check("ready 1500")
