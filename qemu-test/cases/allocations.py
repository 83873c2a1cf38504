# SPDX-License-Identifier: GPL-2.0
"""Memory that runs out: every allocation of the driver fails once. Needs the debug kernel."""

import os
import sys

from harness.case import case
from harness.vm import Guest

# Each probe takes a second or more, so a usual run lets only every so many of its allocations fail.
_STEP = int(os.environ.get("STEP") or 7)
# Most allocations of a probe the kernel makes far below the driver, for the files of 256 queues, by the same few
# lines for each queue. Of those with the driver not among their nearest callers only every so many fails.
_NEAR, _FAR = 12, 32
_FAR_STEP = 13 * _STEP
# So many failures are one command in the guest: each command has a limit of time, the number of allocations has none.
_PART = 50
# The kernel's own: what of an interrupt could not be entered in /proc is missed when the interrupt goes
# (kernel/irq/proc.c, register_irq_proc). No driver can help it.
_IRQ_PROC = (r"WARNING: fs/proc/generic\.c:\d+ at remove_proc_entry", r"Call Trace:")
# The checks of DMA keep books, too, and end for good when one of their own allocations fails below the driver.
_DMA_BOOKS = (r"DMA-API: cacheline tracking ENOMEM, dma-debug disabled",)
_PREPARE = (
    ". /guest/allocations.sh; aim_at_driver {depth} || exit 1; "
    "slot=$(fbnic_slot); driver=/sys/bus/pci/drivers/fbnic"
)
# The smallest rings: each buffer is one allocation, all of a ring's are made by the same lines, and each failure
# costs a second or more.
_SMALL = "rx-mini 64 rx-jumbo 64"
_WORKS = "wait_for 20 has_carrier $(near_if) && wait_for 20 ping -n -q -c 1 -W 1 $FAR4"


def _fails(
    guest: Guest,
    action: str,
    repair: str,
    before: str = "true",
    after: str = "true",
    step: int = 1,
    depth: int = _FAR,
) -> int:
    """Lets allocations during `action` fail, and says how many; after `after` packets pass and all memory is back."""
    guest.check("ready 1500")
    prepare = f"{_PREPARE.format(depth=depth)}; {before} || exit 1"
    tried, part = 0, _PART
    while part == _PART:
        script = f"{prepare}\nfail_each {1 + tried * step} {step} {_PART} '{action}' '{repair}'"
        part = int(guest.check(script, 600).split()[-1])
        tried += part
        print(f"  {tried} allocations failed so far", file=sys.stderr)
    assert tried > 5, f"only {tried} allocations were made to fail; a smaller STEP takes more"
    guest.check(f"{after} && ready 1500 && unload_fbnic && no_leak", 120)
    print(f"{tried} allocations failed")
    return tried


@case(rows=(2,), kernels=("debug",), allowed=_IRQ_PROC)
def probe_without_memory(guest: Guest) -> None:
    """Allocations fail while the driver takes the device, one per attempt."""
    # A driver that has got along without the memory is told to let go, for the next attempt.
    let_go = "if [ -e $driver/$slot ]; then echo $slot >$driver/unbind; fi"
    tried = [
        _fails(
            guest,
            "echo $slot >$driver/bind",
            let_go,
            before=f"export slot driver; {let_go}",
            # With memory it takes the device as if nothing had been.
            after="fbnic_bind",
            step=step,
            depth=depth,
        )
        for depth, step in ((_NEAR, _STEP), (_FAR, _FAR_STEP))
    ]
    print(f"{tried[0]} allocations failed near the driver, {tried[1]} in all depths")


@case(rows=(11,), kernels=("debug",), allowed=_DMA_BOOKS)
def open_without_memory(guest: Guest) -> None:
    """Allocations fail while the interface is brought up, one per attempt."""
    _fails(
        guest,
        "exec ip link set $dev up",
        "ip link set $dev down",
        before=f"export dev=$(near_if); ip link set $dev down; ethtool -G $dev {_SMALL}",
    )


@case(rows=(20,), kernels=("debug",), allowed=_DMA_BOOKS)
def rings_without_memory(guest: Guest) -> None:
    """Allocations fail while rings are replaced: the old ones, or the new ones, work."""
    _fails(
        guest,
        f"exec ethtool -G $dev rx $((256 << RANDOM % 2)) tx $((256 << RANDOM % 2)) {_SMALL}",
        f"ethtool -G $dev rx-jumbo 128; {_WORKS}",
        before="export dev=$(near_if); ethtool -G $dev rx-mini 64 rx-jumbo 128",
    )


@case(rows=(20,), kernels=("debug",), allowed=_DMA_BOOKS)
def channels_without_memory(guest: Guest) -> None:
    """Allocations fail while the number of queues changes: packets pass all the same."""
    _fails(
        guest,
        "exec ethtool -L $dev combined 1",
        f"ethtool -L $dev combined 2; {_WORKS}",
        before=f"export dev=$(near_if); ethtool -G $dev {_SMALL}; ethtool -L $dev combined 2",
    )


@case(rows=(16,), kernels=("debug",), allowed=_DMA_BOOKS)
def traffic_without_memory(guest: Guest) -> None:
    """A tenth of all allocations on the data path fails: packets are lost, and nothing else."""
    guest.check("ready 1500 && start_traffic && sleep 1")
    guest.check(f"{_PREPARE.format(depth=_FAR)}; fail_by_chance 10; sleep 10; fail_by_chance 0; injected", 60)
    guest.check(f"stop_traffic; {_WORKS} && unload_fbnic && no_leak", 120)


@case(rows=(2,), kernels=("debug",))
def nothing_lost(guest: Guest) -> None:
    """After all tests the driver is unloaded, and no object is left that nothing points to."""
    guest.check("! is_loaded || unload_fbnic || exit 1; no_leak", 120)
