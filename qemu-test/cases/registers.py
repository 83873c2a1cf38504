# SPDX-License-Identifier: GPL-2.0
"""What the drivers leave in the device's registers, against the hardware guide and each other."""

import struct

from harness import traffic
from harness.case import case, same
from harness.vm import Guest

# Registers are numbered in 32-bit words, as in the hardware guide, section 5.
RMI_CONFIG, RMI_ENABLED = 0x8400, 0x260E1014
CT_SIZE, PBUF_CFG, CREDIT = 0x8000, 0x8027, 0x8047
PAUSE_THLD, DROP_THLD, ECN_THLD = 0x8009, 0x8011, 0x801E
FIFOS = 8
# Base in units of 64 bytes and size in units of 2 KiB of the FIFOs in use.
PLACES = {0: (0x1800, 0x20), 3: (0x1C00, 0x10), 4: (0, 0xC0), 6: (0x1E00, 0x10)}
MAY_PAUSE, MAY_DROP, MAY_MARK = 0x14, 0x7D, 0x10
MAX_FRAME = 9742
NEVER = 0x1FFF

# What does not depend on the machine.
CONSTANTS = {
    # Queue managers.
    0x0818: 0x0000000E, 0x0819: 0x00000020, 0x081B: 0x21, 0x0849: 0x7FFFFFFF,
    0x081D: MAX_FRAME + 1, 0x081E: MAX_FRAME + 1,
    0x082D: 600 << 16 | 48000, 0x0C0C: 600 << 16 | 1200, 0xC005: 0x10002,
    # Rx buffer.
    0x8008: 0x10_00_7D, 0x804F: 0x8FFF, 0x802F: 0x00500040, 0x8143: 0x1F,
    0x8030: 0x40, 0x8144: 0x1F, 0x8044: 0x0AAAAAA0,
    **{0x8034 + i: 0x1B1B1B1B for i in range(15)}, 0x8043: 0x1E1B1B1B,
    # Tx buffer.
    0x4002: 3, 0x081C: 0x2040, 0x4004: 0, 0x4005: 0, 0x4007: 0,
    0x4006: 0x400 << 11, 0x404B: 0x400 | 0x200 << 11, 0x4008: 0x600 | 0x200 << 11,
    0x4000: 0x0A011209, 0x4001: 0, 0x403A: MAX_FRAME | MAX_FRAME << 14, 0x403B: MAX_FRAME,
    **{0x400C + i: 0x1B1B1B1B for i in range(15)}, 0x401B: 0x1E1B1B1B,
    0x4003: 0x00040064, 0x4009: 0, 0x404D: 0, 0x404F: 0, 0x404C: 0x8250,
    0x400A: 0x00205000, 0x404E: 0x00030000, 0x403C: 0x00064078, 0x4400: 8,
}  # fmt: skip

# Read, changed in part and written back: the bits that survive, and what becomes of the others.
LIMITS = {
    0x086C: (0x00FFFFF0, "reads"), 0x0C2D: (0x00FFFFF0, "reads"),
    0x086E: (0xFFFFFFF0, "writes"), 0x0C2E: (0xFFFFFFF0, "writes"), 0x0C2F: (0xFFFFFFF0, "writes"),
}  # fmt: skip
TDE_CTL = 0x086D

# The classifier's table of addresses: so many entries of three words and one that makes them valid.
MAC_TABLE, MAC_STRIDE = 0x8B80, 0x20

# Registers that two runs of one driver leave different by nature: first, last, why.
VOLATILE = (
    (0x00000, 0x00027, "pending interrupts"),
    (0x00038, 0x0003F, "pending interrupts"),
    (0x00400, 0x007FE, "moderation as of the last interrupt"),
    (0x0840C, 0x08419, "RSS key, random"),
    (0x04800, 0x0480D, "clock"),
    (0x11A00, 0x11A5F, "counters"),
    (0x04401, 0x0443F, "counters"),
    (0x0403D, 0x04049, "counters"),
    (0x08050, 0x08143 - 1, "counters"),
    (0x08145, 0x081B1, "counters"),
    (0x08492, 0x0856B, "counters"),
    (0x31060, 0x310EA, "counters"),
    (0x10800, 0x108C8, "counters"),
)
# The same, as offsets within the 0x400 registers of each queue.
QUEUES, QUEUE_STRIDE, QUEUE_COUNT = 0x40000, 0x400, 128
VOLATILE_QUEUE = (
    (0x002, 0x005, "doorbells"), (0x020, 0x023, "addresses"), (0x062, 0x082, "counters, doorbells"),
    (0x0A0, 0x0A1, "addresses"), (0x0C2, 0x0C6, "interrupt state"), (0x201, 0x202, "doorbells"),
    (0x220, 0x221, "addresses"), (0x241, 0x244, "doorbells"), (0x260, 0x263, "addresses"),
    (0x2A2, 0x2A5, "counters"), (0x2C2, 0x2C5, "interrupt state"),
)  # fmt: skip

# First and last register of each block.
BLOCKS = (
    (0x00000, 0x00062), (0x00400, 0x007FE), (0x00800, 0x00873), (0x00C00, 0x00C34),
    (0x04000, 0x04050), (0x04200, 0x0421F), (0x04400, 0x0443F), (0x04800, 0x0480D),
    (0x08000, 0x081B1), (0x08400, 0x0856B), (0x08800, 0x08F1F), (0x0C000, 0x0C020),
    (0x0C400, 0x0C452), (0x10000, 0x10668), (0x10800, 0x108C8), (0x11000, 0x11028),
    (0x11800, 0x1184E), (0x11A00, 0x11A5F), (0x31000, 0x310EA),
)  # fmt: skip


def _reset(guest: Guest) -> None:
    """No driver, and every register as after power-on."""
    guest.check("! is_loaded || unload_fbnic; echo 1 >/sys/bus/pci/devices/$(fbnic_slot)/reset")


def _poke(guest: Guest, values: dict[int, int]) -> None:
    for csr, value in values.items():
        guest.do("csr_write", csr=csr, value=value)


def _peek(guest: Guest, numbers: dict[int, int]) -> dict[int, int]:
    return {csr: guest.csrs(csr, csr)[0] for csr in numbers}


def _compare(guest: Guest, want: dict[int, int]) -> None:
    got = _peek(guest, want)
    wrong = [f"{csr:#07x}: {got[csr]:#010x}, want {want[csr]:#010x}" for csr in want if got[csr] != want[csr]]
    assert not wrong, "\n".join(wrong)


def _pcie_sizes(guest: Guest) -> tuple[int, int]:
    """Largest payload and largest read request in bytes, as the PCIe capability has them."""
    config = bytes.fromhex(guest.check("od -An -v -tx1 /sys/bus/pci/devices/$(fbnic_slot)/config"))
    at = config[0x34]
    while config[at] != 0x10:
        at = config[at + 1]
        assert at, "no PCIe capability"
    (control,) = struct.unpack_from("<H", config, at + 8)
    return 128 << (control >> 5 & 7), 128 << (control >> 12 & 7)


def _size_class(size: int) -> int:
    return min(size.bit_length() - 7, 3)


def _thresholds(sizes: dict[int, int]) -> dict[int, int]:
    """The fill levels of the FIFOs with these sizes, units of 2 KiB."""
    want = {}
    for fifo, size in sizes.items():
        units, bit = size * 32, 1 << fifo
        drop, mark = units - MAX_FRAME // 64, max(units // 4, MAX_FRAME // 64)
        want[PAUSE_THLD + fifo] = units - 0x380 | 0x380 << 13 if bit & MAY_PAUSE else NEVER
        want[DROP_THLD + fifo] = drop | drop << 13 if bit & MAY_DROP else NEVER
        want[ECN_THLD + fifo] = mark | mark << 13 if bit & MAY_MARK else NEVER
    return want


@case(rows=(7,))
def registers_of_the_guide(guest: Guest) -> None:
    """After a load each register has the value of the hardware guide, and keeps what it must keep."""
    _reset(guest)
    _poke(guest, {csr: 0xFFFFFFFF for csr in (*LIMITS, TDE_CTL, *CONSTANTS)} | {RMI_CONFIG: 0})
    guest.check("load_fbnic")
    payload, request = _pcie_sizes(guest)
    sizes = {"writes": _size_class(payload), "reads": _size_class(request)}
    want = dict(CONSTANTS)
    for csr, (kept, kind) in LIMITS.items():
        # A cache line of 64 bytes is class 0.
        want[csr] = kept | sizes[kind]
    want[TDE_CTL] = 704 << 12 | 128 << 4 | sizes["reads"] | (1 << 25 if request > 512 else 0)
    for fifo in range(FIFOS):
        base, size = PLACES.get(fifo, (0, 0))
        want[CT_SIZE + fifo] = 4 | 2 << 6
        want[PBUF_CFG + fifo] = base | size << 13
        want[CREDIT + fifo] = size * 32 + 4 if size else 0
    want |= _thresholds({fifo: size for fifo, (_, size) in PLACES.items()})
    _compare(guest, want)
    print(f"{len(want)} registers")


@case(rows=(7,))
def firmware_left_rx_running(guest: Guest) -> None:
    """FIFOs that the firmware has set up stay as they are, and thresholds follow their sizes."""
    sizes = {0: 0x20, 2: 0x30, 3: 0x0C, 4: 0xB0, 6: 0x20}
    kept = {CT_SIZE + fifo: 0x111 for fifo in range(FIFOS)}
    kept |= {PBUF_CFG + fifo: 0x40 * fifo | size << 13 for fifo, size in sizes.items()}
    kept |= {CREDIT + fifo: 0x77 for fifo in range(FIFOS)}
    _reset(guest)
    _poke(guest, kept | {RMI_CONFIG: RMI_ENABLED})
    guest.check("dmesg -C; load_fbnic")
    _compare(guest, kept | _thresholds(sizes))
    log = guest.check("dmesg")
    small = [fifo for fifo in range(FIFOS) if f"fifo{fifo} " in log]
    same("FIFOs said to be too small", small, [3, 4])
    guest.check("ready 1500")
    traffic.ping(guest, 1000)
    _reset(guest)
    guest.check("ready 1500")


# Control of the receive completions of queue set 100, and that they are written.
RCQ_CTL_100, ENABLED = 0x40000 + 100 * 0x400 + 0x200, 2
_MAY_TOUCH_MEMORY = "[ $((0x$(od -An -tx1 -j4 -N1 /sys/bus/pci/devices/$(fbnic_slot)/config | tr -d ' ') & 4)) != 0 ]"


@case(rows=(7,), drivers=("rust",))
def queues_left_running(guest: Guest) -> None:
    """A queue that somebody has left running is stopped before the device may touch memory, or it never may."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    _poke(guest, {RCQ_CTL_100: ENABLED})
    guest.check(f"fbnic_bind && {_MAY_TOUCH_MEMORY}")
    _compare(guest, {RCQ_CTL_100: 0})
    guest.check("fbnic_unbind")
    with guest.fault("csr_read", first=RCQ_CTL_100, value=ENABLED):
        guest.check(f"! fbnic_bind && ! {_MAY_TOUCH_MEMORY} && nothing_left")
    guest.check("fbnic_bind && ready 1500")
    traffic.ping(guest, 56)


@case(rows=(7, 11, 13, 14, 19), drivers=("rust",))
def registers_beside_c(guest: Guest) -> None:
    """Every register of the device is the same after either driver: loaded, up, down, unloaded."""
    theirs = _life(guest, "c")
    ours = _life(guest, "rust")
    differences = []
    for stage, registers in theirs.items():
        for csr, value in registers.items():
            if ours[stage][csr] != value:
                differences.append(f"{stage}: {csr:#07x}: {ours[stage][csr]:#010x}, C {value:#010x}")
    assert not differences, "\n".join(differences[:60])
    print(f"{len(next(iter(theirs.values())))} registers in {len(theirs)} states")


def _life(guest: Guest, driver: str) -> dict[str, dict[int, int]]:
    """The registers after each step in the life of a driver."""
    _reset(guest)
    steps = {
        "loaded": lambda: guest.check(f"load_fbnic {driver}"),
        "up": lambda: _up(guest, 1500),
        "down": lambda: guest.check('ip link set "$(near_if)" down'),
        "up again": lambda: _up(guest, 9000),
        "unloaded": lambda: guest.check("unload_fbnic"),
    }
    stages = {}
    for stage, step in steps.items():
        step()
        stages[stage] = _registers(guest)
    return stages


def _up(guest: Guest, mtu: int) -> None:
    """Opens the interface, and puts the cable in only then.

    Upstream enables its queues while the link may come up, and a queue can then keep the drop mode
    from before (fbnic_txrx.c:2713). And its service task, which runs after a second, writes the rules of the
    classifier once more. If it waits for RTNL while the interface goes down, it does so afterwards (fbnic_pci.c:127
    does not wait for it).
    """
    with guest.fault("link_down"):
        guest.check(f'ip link set "$(near_if)" mtu {mtu} up')
    guest.check(f"sleep 2; cable_up {mtu}")


def _registers(guest: Guest) -> dict[int, int]:
    registers = {}
    for first, last in BLOCKS:
        registers |= dict(enumerate(guest.csrs(first, last), first))
    for first, last, _ in VOLATILE:
        for csr in range(first, last + 1):
            registers.pop(csr, None)
    for queue in range(QUEUE_COUNT):
        base = QUEUES + QUEUE_STRIDE * queue
        values = dict(enumerate(guest.csrs(base, base + 0x2FF), base))
        for first, last, _ in VOLATILE_QUEUE:
            for offset in range(first, last + 1):
                values.pop(base + offset, None)
        registers |= values
    return _in_order(registers)


def _in_order(registers: dict[int, int]) -> dict[int, int]:
    """Sorts the addresses that begin alike: groups have places in the order in which the kernel joined them."""
    entries = [tuple(registers[MAC_TABLE + MAC_STRIDE * word + i] for word in range(4)) for i in range(MAC_STRIDE)]
    for beginning in {entry[2] for entry in entries}:
        places = [i for i, entry in enumerate(entries) if entry[2] == beginning]
        for place, entry in zip(places, sorted(entries[i] for i in places)):
            registers |= {MAC_TABLE + MAC_STRIDE * word + place: value for word, value in enumerate(entry)}
    return registers
