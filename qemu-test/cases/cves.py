# SPDX-License-Identifier: GPL-2.0
"""The vulnerabilities of the upstream driver that have a CVE number, each provoked once more.

Each has a test for both drivers, which have to come through unharmed: 7.3.4 has all the fixes. And each
has one, with "reverted" in its name, for the upstream driver with its fix taken out again by the patch
of that number in qemu-test/cves; there the same provocation has to do its damage, or it would prove
nothing. The guest poisons memory that is free, so that whoever reads it finds out.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness import hostile, kernels, packets, paths, xdp
from harness.case import case
from harness.faults import ControlError
from harness.offload import FAR_MAC, MARK_MAC, Request, compare, many_queues, one_queue
from harness.packets import UDP, Flow
from harness.tlv import attribute, message
from harness.vm import Guest, GuestError, Spec

_POISON = "slab_debug=FZP,kmalloc-*,skbuff_small_head page_poison=1"
# What the debug kernel has no module of.
_KERNELS = ("stock", "checked")
# Messages with lines of the firmware's log.
_LOG_MSG = 0x44
_LOG_TEXT = "the log goes on"


def _poisoned(driver: str, accelerator: str) -> Guest:
    """A guest that notices the use of free memory, and has every variant of the upstream driver."""
    kernel = kernels.chosen()
    variants = (paths.PROJECT / "build" / "cves").glob("*.ko") if driver == "c" else ()
    return Guest(
        Spec(
            name=f"guest-cves-{driver}",
            driver=driver,
            accel=accelerator,
            kernel=kernel,
            modules=kernel.modules | {path.stem: path for path in variants},
            tap=True,
            cmdline=_POISON if kernel.name == "stock" else "",
        )
    )


@dataclass(frozen=True)
class _Slow:
    """A kernel function whose calls by the driver begin later, so that others come first."""

    function: str
    depth: int


@contextlib.contextmanager
def _slow(guest: Guest, slow: _Slow, microseconds: int) -> Iterator[None]:
    """Meanwhile every call is late; there has to be one. failcall has to be loaded."""
    folder = "/sys/module/failcall/parameters"
    guest.check(f"echo {slow.function} 0 -1 {slow.depth} {microseconds} >{folder}/arm")
    yield
    fired = guest.check(f"cat {folder}/fired; echo off >{folder}/arm")
    assert int(fired), f"{slow.function} was never called"


def _reverted(guest: Guest, name: str, provoke: Callable[[Guest], None], damage: str) -> None:
    """Without the fix, `provoke` has to fail, and the error or the console to show `damage`."""
    guest.run("is_loaded && unload_fbnic")
    mark = len(guest.console.text())
    said = ""
    guest.spec.driver = name
    try:
        provoke(guest)
    except (AssertionError, GuestError, ControlError) as error:
        said = str(error)
    finally:
        guest.spec.driver = "c"
    said += guest.console.text()[mark:]
    guest.console.accept()
    shown = re.search(damage, said, re.DOTALL)
    assert shown, f"no damage: {said[-3000:]}"
    print(" ".join(shown[0].split())[:120])


def _leaves(guest: Guest) -> None:
    """Packets pass, the driver can be unloaded, and nobody has found anything."""
    # After a sleep the far end's link may come and go once more.
    guest.check("ready 1500; wait_for 30 ping -n -q -c 1 -W 1 -s 1000 $FAR4; unload_fbnic", 90)
    guest.check_healthy(hostile.ALLOWED)


_UNMAPPABLE = """
# The upstream driver maps a page per message. Ours has the pages of all messages from the beginning.
if [ "$DRIVER" = rust ]; then
	call='dma_alloc_attrs 0' depth=3
else
	call='dma_map_page_attrs -1' depth=1
fi
load_failcall && fbnic_unbind
failing $call 0 $depth fbnic_bind
most=$calls
[ $most != 0 ] || fail 'nothing is mapped'
fbnic_unbind
for ((n = 1; n <= most; n += n < 4 ? 1 : 5)); do
	failing $call $n $depth fbnic_bind
	[ $fired = 1 ] || fail "mapping $n was not asked for"
	# Whatever is free is used now, by somebody else.
	head -c 8M /dev/zero >/tmp/pages; rm /tmp/pages
	fbnic_unbind
done
fbnic_bind
for ((n = 1; n <= 5; n++)); do
	failing $call -1 $depth cat "/sys/bus/pci/devices/$(fbnic_slot)/hwmon/"hwmon*/temp1_input >/dev/null 2>&1
	[ $fired != 0 ] || [ "$DRIVER" = rust ] || fail "no message was to be mapped"
	head -c 8M /dev/zero >/tmp/pages; rm /tmp/pages
done
echo "$most mappings"
"""


def _unmappable_message(guest: Guest) -> None:
    print(guest.check(_UNMAPPABLE, 120).strip())
    _leaves(guest)


@case(rows=(2, 3, 8), machine=_poisoned)
def cve_2025_38341(guest: Guest) -> None:
    """A message to the firmware or a buffer for one of its own cannot be mapped: it is freed once."""
    _unmappable_message(guest)


# What it frees twice, somebody else may meet at any time after.
@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned, spoils=True)
def cve_2025_38341_reverted(guest: Guest) -> None:
    """Without the fix such a page is freed twice."""
    _reverted(guest, "cve-2025-38341", _unmappable_message, r"BUG: Bad page state|refcount_t: \S+")


_OPEN_FAILS = """
load_failcall
dev=$(near_if)
ip link set $dev down
queues() {
	local end=$((SECONDS + 20))
	# A socket that is closed lets go of its queue a bit later.
	until /guest/files/frames napi $dev 2 >/tmp/napis 2>&1; do
		[ $SECONDS -lt $end ] || { cat /tmp/napis; fail 'no socket can be bound'; }
		sleep 0.1
	done
	grep 0x /tmp/napis
}
for n in 1 2 3 4; do
	failing request_threaded_irq -16 $n 2 ip link set $dev up 2>/dev/null
	[ $fired = 1 ] || break
	[ $status != 0 ] || fail "the interface is up without interrupt $n"
	sleep 0.3
	napis=$(queues)
	[ "$napis" = $'0x0\\n0x0' ] || fail "queues name NAPI contexts that are gone: $napis"
done
[ $n -gt 2 ] || fail "only $n interrupts are asked for"
ip link set $dev up
"""


def _open_fails(guest: Guest) -> None:
    guest.check(_OPEN_FAILS, 120)
    _leaves(guest)


@case(rows=(11,), machine=_poisoned)
def cve_2025_38570(guest: Guest) -> None:
    """An interface cannot be opened: then no queue names a NAPI context, as a socket of AF_XDP sees."""
    _open_fails(guest)


@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned)
def cve_2025_38570_reverted(guest: Guest) -> None:
    """Without the fix such a socket is told what lies where a context was."""
    _reverted(guest, "cve-2025-38570", _open_fails, r"contexts that are gone:\s+(0x0\s+)*0x[1-9a-f]\w*")


def _sleeps(guest: Guest) -> None:
    guest.check("ready 1500; echo 1 >/sys/module/suspend/parameters/pm_test_delay; true")
    # The kernel only asks whether anybody holds the lock. So no other device may wake up meanwhile.
    guest.check("echo 0 >/sys/power/pm_async; echo devices >/sys/power/pm_test")
    for _ in range(2):
        guest.check("echo freeze >/sys/power/state; wait_for 20 has_carrier $(near_if)", 60)
    guest.check("echo none >/sys/power/pm_test; echo 1 >/sys/power/pm_async")
    _leaves(guest)


@case(rows=(4,), machine=_poisoned)
def cve_2025_39831(guest: Guest) -> None:
    """After a sleep the link is resumed by somebody who holds the lock for that."""
    _sleeps(guest)


@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned)
def cve_2025_39831_reverted(guest: Guest) -> None:
    """Without the fix phylink complains that RTNL is not held."""
    _reverted(guest, "cve-2025-39831", _sleeps, r"RTNL: assertion failed at drivers/net/phy/phylink.c")


def _grows_under_program(guest: Guest) -> None:
    guest.check("ready 1500; far ip link set $FAR_IF mtu 9000")
    with xdp.attached(guest, xdp.verdict(xdp.PASS, frags=False)):
        taken = guest.run('ip link set "$(near_if)" mtu 9000').status == 0
        arrives = guest.run("timeout -s KILL 15 bash -c 'transfer_in 1'; s=$?; pkill socat; exit $s").status == 0
    assert not taken and arrives, f"MTU of 9000 taken: {taken}, TCP arrives: {arrives}"
    _leaves(guest)


@case(rows=(11,), machine=_poisoned)
def cve_2026_45952(guest: Guest) -> None:
    """The MTU cannot outgrow an XDP program that takes one buffer, and TCP goes on."""
    _grows_under_program(guest)


@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned)
def cve_2026_45952_reverted(guest: Guest) -> None:
    """Without the fix it can, and the driver drops what TCP then sends."""
    _reverted(guest, "cve-2026-45952", _grows_under_program, "taken: True, TCP arrives: False")


def _uso(length: int, size: int) -> Request:
    """UDP over IPv4, to be cut into pieces with `size` bytes of payload each."""
    flow = Flow("192.0.2.1", "192.0.2.2", UDP, 1025, 40001)
    header = packets.large(flow, length)
    whole = packets.frame(FAR_MAC, MARK_MAC, packets.internet(flow, header, more=length))
    return Request(packets.offload_header(len(whole) - len(header), 6, 5, len(whole), size), whole, length)


def _watched_segments(guest: Guest) -> None:
    requests = [_uso(200 * number, 200) for number in range(2, 32)]
    guest.check("load_failcall; ready 1500")
    name = one_queue(guest)
    # Whoever watches has copies of the packets that share their data. This one reads, and drops, them on
    # the other processor while the driver is about to get data of its own.
    watch = f"setsid taskset -c 1 /guest/files/frames watch {name}"
    guest.check(f"{watch} >/run/watch.log 2>&1 & echo $! >/run/watch.pid; wait_for 10 grep -q ready /run/watch.log")
    try:
        with _slow(guest, _Slow("pskb_expand_head", 3), 3000):
            compare(guest, requests, "tx_hw_gso_wire_packets", sum(range(2, 32)))
    finally:
        guest.run("kill $(cat /run/watch.pid)")
    many_queues(guest, name)
    _leaves(guest)


@case(rows=(16,), machine=_poisoned)
def cve_2026_72393(guest: Guest) -> None:
    """A packet to be segmented is watched by somebody who lets go of its data while the driver moves it."""
    _watched_segments(guest)


@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned)
def cve_2026_72393_reverted(guest: Guest) -> None:
    """Without the fix the driver takes the length of the segments from memory that is free."""
    damage = r"frame \d+, \d+ bytes by the device|frames: got \d+, want \d+|nothing came|grew by|use-after-free"
    _reverted(guest, "cve-2026-72393", _watched_segments, damage)


@contextlib.contextmanager
def _talkative(guest: Guest) -> Iterator[None]:
    """Meanwhile the firmware sends lines of its log, one after the other."""
    text = _LOG_TEXT.encode() + b"\0"
    words = [attribute(0, bytes(4)), attribute(1, bytes(8)), attribute(2, text), attribute(3, bytes(4))]
    line = message(_LOG_MSG, *words).hex()
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.002):
            guest.do("fw_send", hex=line)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        yield
    finally:
        over.set()
        talker.join()


def _unloads_while_logging(guest: Guest, times: int = 6) -> None:
    # Where the driver has found the log to be there and has not used it yet. With lockdep a mutex is taken by another name.
    mutex = "mutex_lock_nested" if guest.spec.kernel.name == "debug" else "mutex_lock"
    slow = _Slow(mutex, 3) if guest.spec.driver == "rust" else _Slow("_raw_spin_lock_irqsave", 1)
    for _ in range(times):
        guest.check("load_failcall")
        with _talkative(guest):
            guest.check(f"wait_for 10 grep -q '{_LOG_TEXT}' /sys/kernel/debug/fbnic/*/fw_log")
            with _slow(guest, slow, 20_000):
                guest.check("unload_fbnic", 90)
        # What nobody has fetched is not kept for the next load.
        guest.do("fw_restart")
    _leaves(guest)


@case(rows=(8,), machine=_poisoned)
def cve_2026_45977(guest: Guest) -> None:
    """The driver is unloaded while it is about to log what the firmware says."""
    _unloads_while_logging(guest)


# The last one: the guest does not outlive it.
@case(drivers=("c",), kernels=_KERNELS, machine=_poisoned, spoils=True)
def cve_2026_45977_reverted(guest: Guest) -> None:
    """Without the fix it logs to where nothing is any more, and the kernel dies."""
    damage = r"BUG: (kernel NULL pointer|unable to handle)[^\n]*.*RIP: \S+fbnic_fw_log_write"
    _reverted(guest, "cve-2026-45977", _unloads_while_logging, damage)
