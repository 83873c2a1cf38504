# SPDX-License-Identifier: GPL-2.0
"""Receive rings that run dry, and queues that are never idle."""

import time

from harness import netdev_genl, packets, traffic
from harness.case import case, same
from harness.packets import UDP, Flow
from harness.vm import Guest

# Separate contexts, so that nothing that is sent has the receive queue polled, and short rings.
_APART = """
load_failcall && ready 1500 || exit
dev=$(near_if)
ethtool -L $dev rx 1 tx 1 combined 0
ethtool -G $dev rx 128 rx-mini 64 rx-jumbo 64
ready 1500
"""
_TOGETHER = "ethtool -G $(near_if) rx 1024 rx-mini 256 rx-jumbo 256; ethtool -L $(near_if) combined 2 rx 0 tx 0; ready 1500"
# A receiver that takes nothing (in a session of its own, or the end of the shell would wake it), so that all it gets stays in the driver's pages.
_HOLD = """
echo 67108864 >/proc/sys/net/core/rmem_max
setsid socat -u UDP4-RECV:5006,so-rcvbuf=67108864 OPEN:/dev/null >/dev/null 2>&1 </dev/null &
echo $! >/tmp/holder.pid
wait_for 10 eval "ss -Hlun 'sport = :5006' | grep -q ." && kill -STOP $(</tmp/holder.pid)
"""
# What the device has of buffers: distance of head and tail of both rings of queue 0.
_POINTERS = (0x40243, 0x40244)
_FAILCALL = "/sys/module/failcall/parameters"


def _posted(guest: Guest) -> list[int]:
    """Buffers for headers and for payload that the device has."""
    pointers = [guest.csrs(register, register)[0] for register in _POINTERS]
    return [(value - (value >> 16)) % 64 for value in pointers]


def _dry_up(guest: Guest, near: str, length: int, ring: int) -> None:
    """Uses up the buffers of a ring by frames of one length, while the driver gets no memory."""
    flow = Flow("192.0.2.2", "192.0.2.1", UDP, 5006, 5006)
    packet = packets.internet(flow, packets.transport(flow, bytes(length)))
    frame = packets.frame(near, "02:00:00:00:00:02", packet)
    with guest.wire() as wire:
        for _ in range(40):
            wire.send(*[frame] * 16)
            wire.receive(0.05)
            # A large frame takes two buffers for its payload.
            if _posted(guest)[ring] < 1 + ring:
                return
    raise AssertionError(f"after all those frames of {length} bytes the device has {_posted(guest)} buffers")


@case(rows=(14,))
def dry_rings_rescued(guest: Guest) -> None:
    """A receive queue that got no memory until it had no buffers left comes back by itself."""
    guest.check(_APART, 60)
    near = guest.check('cat "/sys/class/net/$(near_if)/address"').strip()
    for length, ring in ((1000, 0), (9000, 1)):
        failed = netdev_genl.totals(guest)["rx_alloc_fail"]
        guest.check(_HOLD)
        guest.check(f"echo page_pool_alloc_netmems 0 -1 1 >{_FAILCALL}/arm")
        _dry_up(guest, near, length, ring)
        assert netdev_genl.totals(guest)["rx_alloc_fail"] > failed, "no allocation has failed"
        assert guest.run("far ping -n -q -c 2 -i 0.3 -W 1 $NEAR4").status != 0, "packets pass without buffers"
        guest.check(f"echo off >{_FAILCALL}/arm")
        # Nothing is received, so only the driver's own look at its queues can have them polled.
        end = time.monotonic() + 20
        while min(_posted(guest)) < 32:
            assert time.monotonic() < end, f"nobody gave the device buffers, it has {_posted(guest)}"
            time.sleep(0.2)
        # What waited in the device comes first, and may have left no room there.
        guest.check("cable_up 1500; kill -KILL $(</tmp/holder.pid)")
        traffic.ping(guest, 1400)
    guest.check(f"{_TOGETHER}; watch_page_pools; unload_fbnic; page_pools_gone", 60)
    guest.check("rmmod failcall; ready 1500")


# Word 0 of QM_TQS_IDLE and of QM_RCQ_IDLE without the bit of queue 0.
# The upstream driver is left out where these are used: it counts reads, not time, until it gives up, and
# a quarter of a million of them take minutes here, in which the kernel complains of a processor that is stuck.
_BUSY = ({"first": 0x830, "value": 0xFFFFFFFE}, {"first": 0xC00, "value": 0xFFFFFFFE})
_DROP_CONTROL, _DROP_ENABLED = 0x4401, 1


@case(drivers=("rust",), rows=(13, 14))
def never_idle_flushed(guest: Guest) -> None:
    """Queues that say they are busy for good are told to discard, and given up: all memory goes back."""
    guest.check("ready 1500; ethtool -L $(near_if) combined 1; ready 1500; watch_page_pools; watch_dma map")
    # What is in the transmit ring stays there.
    tx_busy, rx_busy = (guest.fault("csr_read", **busy) for busy in _BUSY)
    with guest.fault("tx_stall") as stall, tx_busy as tx, rx_busy as rx:
        guest.run("ping -n -q -c 20 -i 0.01 -W 1 -s 1400 $FAR4")
        start = time.monotonic()
        guest.check('ip link set "$(near_if)" down >/dev/null 2>&1 &')
        discarding = False
        while time.monotonic() - start < 20 and not discarding:
            time.sleep(0.02)
            discarding = bool(guest.csrs(_DROP_CONTROL, _DROP_CONTROL)[0] & _DROP_ENABLED)
        guest.check("wait_for 30 eval 'ip link show $(near_if) | grep -q \"state DOWN\"'", 40)
        took = time.monotonic() - start
        asked = [guest.struck(number) for number in (stall, tx, rx)]
    print(f"down after {took:.1f} s")
    assert min(asked) > 0, f"stalled and asked for idle queues so often: {asked}"
    assert discarding, "queues that are busy were not told to discard what they have"
    assert took > 0.9, f"given up after {took} s, before the device had its time"
    same("drop control", guest.csrs(_DROP_CONTROL, _DROP_CONTROL), [0])
    guest.check("dma_gone && page_pools_gone", 60)
    guest.check("ethtool -L $(near_if) combined 2; ready 1500")
    traffic.ping(guest, 1400)


@case(drivers=("rust",), rows=(13, 14, 20))
def never_idle_change_survived(guest: Guest) -> None:
    """While a queue is never idle, a change of the rings does not hang, and packets pass after it."""
    guest.check("ready 1500")
    for busy, size in zip(_BUSY, (512, 1024)):
        with guest.fault("csr_read", **busy) as number:
            start = time.monotonic()
            guest.run(f"ethtool -G $(near_if) tx {size} rx {size}", 30)
            took = time.monotonic() - start
            assert took < 20, f"a change of the rings took {took:.0f} s"
            assert guest.struck(number), "nobody asked whether the queues are idle"
        guest.check("ready 1500")
        traffic.ping(guest, 1400)
    guest.check("ethtool -G $(near_if) tx 1024 rx 1024; ready 1500")


_RESERVE = """
load_failcall && ready 9000 || exit
dev=$(near_if)
ethtool -L $dev combined 1
ethtool -G $dev rx 256 rx-mini 64 rx-jumbo 64
ip link set $dev down
# Rings are filled to one page less than their size, that for headers first.
echo 63 >/sys/module/failcall/parameters/reserve
ip link set $dev up
echo -1 >/sys/module/failcall/parameters/reserve
ready 9000
"""


def _kept_from_sockets(guest: Guest) -> int:
    """Packets that were kept from sockets because their memory is of the reserve."""
    names, values = guest.check("grep ^TcpExt: /proc/net/netstat").splitlines()
    return int(dict(zip(names.split(), values.split()))["PFMemallocDrop"])


@case(rows=(14, 17))
def reserve_is_spared(guest: Guest) -> None:
    """Payload in pages of the kernel's emergency reserve is kept from ordinary sockets, and the pages go back."""
    guest.check(_RESERVE, 60)
    same("pages of the reserve", int(guest.check(f"cat {_FAILCALL}/marked")), 63)
    guest.check("wait_for 10 ping -n -q -c 3 -i 0.1 -W 1 $FAR4")
    before = _kept_from_sockets(guest)
    lost = guest.run("ping -n -q -c 5 -i 0.1 -W 1 -s 8000 $FAR4")
    assert "100% packet loss" in lost.output, lost.output
    same("packets kept from sockets", _kept_from_sockets(guest) - before, 5)
    # The rings never see a page of the reserve again.
    guest.run("ping -n -q -c 60 -i 0.02 -W 1 -s 8000 $FAR4")
    traffic.ping(guest, 8000)
    guest.check(f"{_TOGETHER}; watch_page_pools; unload_fbnic; page_pools_gone", 60)
    guest.check("rmmod failcall; ready 1500")
