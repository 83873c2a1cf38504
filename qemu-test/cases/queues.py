# SPDX-License-Identifier: GPL-2.0
"""Queues, their NAPI contexts and interrupts, and what the kernel tells of them."""

import re

from harness import netdev_genl, traffic
from harness.case import case, same
from harness.netdev_genl import Netdev
from harness.vm import Guest, Spec

# Channels as ethtool takes them: combined, rx, tx; and what the driver makes of them with eight
# contexts: queues of each direction, and contexts.
SPLITS = (
    ((8, 0, 0), (8, 8, 8)),
    ((0, 3, 5), (3, 5, 8)),
    ((0, 7, 1), (7, 1, 8)),
    ((3, 4, 0), (7, 3, 7)),
    ((1, 0, 6), (1, 7, 7)),
    ((20, 0, 0), (20, 20, 8)),
    ((128, 0, 0), (128, 128, 8)),
    ((1, 0, 0), (1, 1, 1)),
)
TOO_MANY = ((129, 0, 0), (0, 8, 1), (0, 1, 8), (0, 4, 0), (0, 0, 4), (5, 4, 0), (1, 1, 1), (0, 0, 0))


def _set(name: str, split: tuple[int, int, int]) -> str:
    combined, rx, tx = split
    return f"ethtool -L {name} combined {combined} rx {rx} tx {tx}"


def _irqs(guest: Guest) -> dict[int, tuple[str, list[int]]]:
    """Name and count per processor of every interrupt."""
    found = {}
    for line in guest.check("cat /proc/interrupts").splitlines():
        if match := re.match(r"\s*(\d+):((?:\s+\d+)+)\s+.*?(\S+)$", line):
            found[int(match[1])] = (match[3], [int(count) for count in match[2].split()])
    return found


def _check_queues(guest: Guest, name: str, want: tuple[int, int, int]) -> Netdev:
    """Every queue belongs to a context, every context has an interrupt of the right name."""
    num_rx, num_tx, num_napi = want
    found = netdev_genl.read(guest)
    rx, tx = ([found.queues.get((kind, i)) for i in range(128)] for kind in ("rx", "tx"))
    same("rx queues", [i for i in range(128) if rx[i] is not None], list(range(num_rx)))
    same("tx queues", [i for i in range(128) if tx[i] is not None], list(range(num_tx)))
    same("contexts in use", len({*rx, *tx} - {None}), num_napi)
    irqs = _irqs(guest)
    names = {irqs[found.napis[napi].irq][0] for napi in {*rx, *tx} - {None}}
    same("names of interrupts", names, {f"{name}-TxRx-{i}" for i in range(num_napi)})
    pairs = sum(rx[i] == tx[i] for i in range(min(num_rx, num_tx)))
    separate = num_napi == num_rx + num_tx
    same("queues that share a context", pairs, 0 if separate else min(num_rx, num_tx))
    loads = [queues.count(napi) for queues in (rx, tx) for napi in {*queues} - {None}]
    assert max(loads) - min(loads) <= 1 + max(num_rx, num_tx) // num_napi, f"not even: {loads}"
    return found


@case(
    rows=(12, 11),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_txrx.c:2147 gives transmit queue 0 to each context without one",
)
def channels_every_split(guest: Guest) -> None:
    """Any split of channels up to the vectors is taken and visible; packets pass; others are refused."""
    spec = Spec(name=f"guest-channels-{guest.spec.driver}", driver=guest.spec.driver, cpus=8, tap=True)
    spec.accel = guest.spec.accel
    with Guest(spec) as wide:
        name = wide.check("ready 1500; near_if").split()[-1]
        for split, want in SPLITS:
            wide.check(f"{_set(name, split)} && wait_for 10 ping -nqc 1 -W 1 $FAR4")
            try:
                _check_queues(wide, name, want)
            except AssertionError as error:
                raise AssertionError(f"combined, rx, tx {split}: {error}") from error
        before = wide.check(f"ethtool -l {name}")
        for split in TOO_MANY:
            assert wide.run(_set(name, split)).status, f"{split} was taken"
        same("channels", wide.check(f"ethtool -l {name}"), before)
        traffic.ping(wide, 1000)
        wide.check_healthy()


@case(rows=(11, 12))
def queue_statistics(guest: Guest) -> None:
    """Per-queue counters add up to those of the interface, also after queues are gone."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(_set(name, (2, 0, 0)) + "; ready 1500; ping -nqc 50 -i 0.01 -s 1000 $FAR4; ping -nqc 50 -i 0.01 2001:db8::2")
    _sums_agree(guest, name)
    before = netdev_genl.read(guest).stats
    guest.check(_set(name, (1, 0, 0)) + "; ready 1500")
    found = _sums_agree(guest, name)
    for key, value in before.items():
        assert found.stats[key] >= value, f"{key} fell from {value} to {found.stats[key]}"
    guest.check(_set(name, (2, 0, 0)) + "; ready 1500")


def _sums_agree(guest: Guest, name: str) -> Netdev:
    """The family's totals are those of `ip -s link` and at least the sums over the queues."""
    for _ in range(5):
        link = _link_counters(guest, name)
        found = netdev_genl.read(guest)
        # Unless a packet of the stack's own came between the two questions.
        if link == _link_counters(guest, name):
            break
    for key, value in link.items():
        same(key, found.stats[key], value)
        queues = sum(counters.get(key, 0) for counters in found.queue_stats.values())
        assert queues <= value, f"{key}: {queues} in queues, {value} in all"
    return found


def _link_counters(guest: Guest, name: str) -> dict[str, int]:
    keys = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    values = guest.check(f"cd /sys/class/net/{name}/statistics; cat {' '.join(keys)}").split()
    return dict(zip(keys, map(int, values)))


@case(rows=(12,))
def napi_settings_stay(guest: Guest) -> None:
    """What is set on a NAPI context stays when its queues are made anew, or go and come back."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(_set(name, (2, 0, 0)) + "; ready 1500")
    napi = netdev_genl.read(guest).queues["rx", 1]
    netdev_genl.set_napi(guest, napi, defer_hard_irqs=77, gro_flush_timeout=123000)
    for change in (
        f"ethtool -G {name} rx 512",
        f"{_set(name, (1, 0, 0))}; {_set(name, (2, 0, 0))}",
        f"ip link set {name} down; ip link set {name} up",
        f"ethtool -G {name} rx 1024",
    ):
        guest.check(f"{change}; ready 1500")
        found = netdev_genl.read(guest)
        same(f"number of the context after {change}", found.queues["rx", 1], napi)
        settings = found.napis[napi]
        same("settings", (settings.defer_hard_irqs, settings.gro_flush_timeout), (77, 123000))
        other = found.napis[found.queues["rx", 0]]
        same("settings of the other", other.defer_hard_irqs, 0)
    netdev_genl.set_napi(guest, napi, defer_hard_irqs=0, gro_flush_timeout=0)
    traffic.ping(guest, 56)


@case(rows=(12,))
def interrupt_affinity(guest: Guest) -> None:
    """Interrupts arrive at the processor they are sent to, and only there."""
    name = guest.check("ready 1500; near_if").split()[-1]
    numbers = [number for number, (what, _) in _irqs(guest).items() if f"{name}-TxRx-" in what]
    assert numbers, "no interrupts"
    for processor in (1, 0):
        guest.check(
            f"for n in {' '.join(map(str, numbers))}; do echo {1 << processor} >/proc/irq/$n/smp_affinity || exit; done"
        )
        asked = _irqs(guest)
        guest.check("ping -nqc 5 -i 0.01 $FAR4")
        before = _irqs(guest)
        guest.check("ping -nqc 100 -i 0.005 $FAR4")
        after = _irqs(guest)
        # The kernel moves an interrupt on the occasion of the next one, which still comes to the old place.
        moved = [n for n in numbers if before[n] != asked[n]]
        strays = {n: after[n][1][1 - processor] - before[n][1][1 - processor] for n in numbers}
        same(f"interrupts at processor {1 - processor}", sum(strays[n] for n in moved), 0)
        assert max(strays.values()) <= 1, f"interrupts at processor {1 - processor}: {strays}"
        grown = sum(after[n][1][processor] - before[n][1][processor] for n in numbers)
        assert grown >= 50, f"interrupts at processor {processor}: {grown}"


@case(rows=(12, 20))
def coalescing_works(guest: Guest) -> None:
    """The defaults are the driver's own, and a long time between interrupts makes echoes late."""
    guest.check("is_loaded && unload_fbnic; ready 1500")
    name = guest.check("near_if").strip()
    report = guest.check(f"ethtool -c {name}")
    for key, value in (("rx-usecs", 30), ("rx-frames", 0), ("tx-usecs", 35)):
        assert re.search(rf"^{key}:\s+{value}$", report, re.MULTILINE), report
    quick, _ = _echoes(guest)
    # Either direction alone would make the context look at both.
    guest.check(f"ethtool -C {name} rx-usecs 16383 tx-usecs 16383")
    # Some other packet may start the time before, and a single echo come early.
    _, slow = _echoes(guest)
    guest.check(f"ethtool -C {name} rx-frames 1")
    frames, _ = _echoes(guest)
    guest.check(f"ethtool -C {name} rx-usecs 30 tx-usecs 35 rx-frames 0")
    print(f"{quick} ms, {slow} ms with the longest time, {frames} ms with one frame")
    assert quick < 10 <= slow, f"{quick} ms, then {slow} ms"
    assert frames < 10, f"{frames} ms although every frame interrupts"


def _echoes(guest: Guest) -> tuple[float, float]:
    """Milliseconds until an echo is back: the fastest of ten, and on average."""
    output = guest.check("ping -nqc 10 -i 0.05 $FAR4")
    fastest, average = re.search(r"= ([0-9.]+)/([0-9.]+)/", output).groups()
    return float(fastest), float(average)


# Ring sizes in ethtool's words: rx, rx-mini, rx-jumbo, tx. The largest rings hold 256 MB of pages.
SIZES = (
    ("64 64 64 64", "64 64 64 64"),
    ("65536 64 64 65536", "65536 64 64 65536"),
    ("512 65536 64 512", "512 65536 64 512"),
    ("512 64 65536 512", "512 64 65536 512"),
    ("65 100 129 1000", "128 128 256 1024"),
    ("1024 256 256 1024", "1024 256 256 1024"),
)
BAD_SIZES = ("rx 32", "rx-mini 32", "rx-jumbo 32", "tx 32", "rx 65537", "rx-mini 65537", "tx 65537", "rx 0")


def _rings(guest: Guest, name: str) -> str:
    report = guest.check(f"ethtool -g {name}").partition("Current")[2]
    return " ".join(re.search(rf"^{key}:\s+(\d+)$", report, re.MULTILINE)[1] for key in ("RX", "RX Mini", "RX Jumbo", "TX"))


@case(rows=(13, 14, 20))
def ring_sizes(guest: Guest) -> None:
    """The smallest and the largest rings carry every byte; sizes round up; the rest is refused."""
    name = guest.check("ready 9000; near_if").split()[-1]
    # With one queue the largest rings fit into the guest's memory.
    guest.check(_set(name, (1, 0, 0)))
    for sizes, want in SIZES:
        rx, mini, jumbo, tx = sizes.split()
        guest.check(f"ethtool -G {name} rx {rx} rx-mini {mini} rx-jumbo {jumbo} tx {tx}", 120)
        same("sizes", _rings(guest, name), want)
        guest.check("ready 9000 && transfer_out 1 && transfer_in 1")
    # While the interface is down no ring is made, which would fail by itself.
    for state in ("up", "down"):
        guest.check(f"ip link set {name} {state}")
        for bad in BAD_SIZES:
            assert guest.run(f"ethtool -G {name} {bad}").status, f"{bad} was taken while {state}"
        same(f"sizes while {state}", _rings(guest, name), want)
    guest.check(_set(name, (2, 0, 0)) + "; ready 1500")


_BUSY = "/sys/kernel/tracing/events/net/net_dev_xmit"
_WATCH_BUSY = f"""
    echo 'rc != 0' >{_BUSY}/filter; echo >/sys/kernel/tracing/trace
    echo 1 >/sys/kernel/tracing/tracing_on; echo 1 >{_BUSY}/enable
"""
_COUNT_BUSY = f"""
    echo 0 >{_BUSY}/enable; echo 0 >{_BUSY}/filter
    grep -c "net_dev_xmit: dev=$(near_if)" /sys/kernel/tracing/trace; true
"""


@case(rows=(16, 13))
def queue_stops_and_wakes(guest: Guest) -> None:
    """A full transmit ring stops its queue and completions wake it; BQL has counted every byte."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"{_set(name, (1, 0, 0))}; ethtool -G {name} tx 64; ready 1500")
    limits = f"/sys/class/net/{name}/queues/tx-0/byte_queue_limits"
    # BQL would keep the queue so short that the ring never fills.
    guest.check(f"echo 10000000 >{limits}/limit_min")
    before = netdev_genl.read(guest).queue_stats["tx", 0]
    guest.check(_WATCH_BUSY)
    traffic.iperf(guest, "-u -b 0 -l 300 -P 4", seconds=1)
    busy = guest.check(_COUNT_BUSY).split()
    after = netdev_genl.read(guest).queue_stats["tx", 0]
    stops, wakes = (after[key] - before[key] for key in ("tx_stop", "tx_wake"))
    print(f"{stops} stops, {wakes} wakes")
    assert stops and wakes, f"{stops} stops, {wakes} wakes"
    # A queue that is stopped in time is given no packet for which there is no room.
    same("packets for which there was no room", busy, ["0"])
    guest.check(f"wait_for 5 eval '[ $(cat {limits}/inflight) = 0 ]' || fail $(cat {limits}/inflight) bytes in flight")
    guest.check(f"echo 0 >{limits}/limit_min; ethtool -G {name} tx 1024; {_set(name, (2, 0, 0))}; ready 1500")
    traffic.ping(guest, 1000)


@case(rows=(16,))
def byte_queue_limits(guest: Guest) -> None:
    """BQL learns from completions: its limit moves, and nothing stays in flight."""
    name = guest.check("ready 1500; near_if").split()[-1]
    directory = f"/sys/class/net/{name}/queues"
    traffic.iperf(guest, "", seconds=1)
    limits = guest.check(f"cat {directory}/tx-*/byte_queue_limits/limit").split()
    assert any(int(limit) > 0 for limit in limits), f"limits {limits}"
    guest.check(f"wait_for 5 eval '! grep -qv ^0 {directory}/tx-*/byte_queue_limits/inflight'")
    traffic.ping(guest, 56)
