# SPDX-License-Identifier: GPL-2.0
"""Sleep, and a reset of the PCI function."""

import json
import time
from collections.abc import Callable

from harness import traffic
from harness.case import case, same
from harness.vm import Guest

# ethtool's standard counters, too: they come from registers, which a reset may clear.
_COUNTERS = """
dev=$(near_if)
cat /sys/class/net/$dev/statistics/{rx,tx}_{packets,bytes}
ethtool --json -S $dev --groups eth-mac >/tmp/eth-mac; cat /tmp/eth-mac
"""

# Suspend to idle, as far as the devices, and at once back.
SLEEP = """echo 1 >/sys/module/suspend/parameters/pm_test_delay
echo devices >/sys/power/pm_test && echo freeze >/sys/power/state"""


def _counters(guest: Guest) -> dict[str, int]:
    lines = guest.check(_COUNTERS)
    numbers, _, document = lines.partition("[")
    counters = dict(zip(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"), map(int, numbers.split())))
    return counters | json.loads("[" + document)[0]["eth-mac"]


def _survives(guest: Guest, action: str | Callable[[], None]) -> None:
    """Does `action`, for bash in the guest or here, under traffic; packets then pass again.

    No counter may have gone back.
    """
    guest.check("ready 1500; start_traffic; sleep 1")
    before = _counters(guest)
    if isinstance(action, str):
        guest.check(action, 60)
    else:
        action()
    guest.check("wait_for 20 has_carrier $(near_if) && wait_for 20 ping -n -q -c 1 -W 1 $FAR4", 60)
    guest.check("stop_traffic")
    traffic.ping(guest, 1000)
    after = _counters(guest)
    back = {name: (before[name], after[name]) for name in before if after[name] < before[name]}
    assert not back, f"counters went back: {back}"
    assert after["rx_packets"] > before["rx_packets"], "no packet was counted"


@case(rows=(4,))
def suspend_and_resume(guest: Guest) -> None:
    """Suspend to idle, as far as the devices, with traffic running, twice; then once while down."""
    _survives(guest, SLEEP)
    _survives(guest, SLEEP)
    guest.check(f'ip link set "$(near_if)" down; {SLEEP}', 60)
    guest.check("ready 1500", 60)
    traffic.ping(guest, 56)


# Why the upstream driver does not come back after it.
NO_RESET = "drivers/net/ethernet/meta/fbnic/fbnic_pci.c:630 has no handlers for a reset that a user asks for"


@case(rows=(4, 6), c_bug=NO_RESET)
def function_reset(guest: Guest) -> None:
    """A reset through sysfs under traffic."""
    _survives(guest, 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"')
    _survives(guest, 'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"')


@case(
    rows=(4,),
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_pci.c:523 takes queues away, and RSS goes on naming them",
)
def resume_with_fewer_processors(guest: Guest) -> None:
    """After a sleep from which one processor less wakes up, every flow finds a queue."""
    guest.check("ready 1500")
    cpu = "/sys/devices/system/cpu/cpu1/online"
    try:
        guest.check(f"echo 0 >{cpu} && {SLEEP}", 60)
        guest.check("ready 1500", 60)
        # Only TCP is spread by its ports. Nobody listens there, and every attempt is told so.
        attempt = "far socat -u OPEN:/etc/hosts TCP:$NEAR4:$port,connect-timeout=5 2>&1"
        guest.check(f"for port in {{7000..7029}}; do {attempt} | grep -q refused || fail no answer from $port; done", 200)
    finally:
        guest.check(f"echo 1 >{cpu}; {SLEEP}", 60)
        guest.run('ethtool -L "$(near_if)" combined "$(nproc)"')
    guest.check("ready 1500", 60)


@case(rows=(4,))
def bus_error_recovery(guest: Guest) -> None:
    """A fatal error on the bus under traffic: the kernel resets the slot, and traffic goes on."""
    for _ in range(2):
        mark = len(guest.console.text())
        _survives(guest, lambda: inject_bus_error(guest))
        said = guest.console.text()[mark:]
        assert "device recovery successful" in said, f"no recovery:\n{said[-2000:]}"


def inject_bus_error(guest: Guest) -> None:
    """The root port reports a malformed packet; what is below it is then reset by the kernel."""
    mark = len(guest.console.text())
    guest.monitor("pcie_aer_inject_error rp MALF_TLP")
    end = time.monotonic() + 30
    while "device recovery" not in guest.console.text()[mark:]:
        assert time.monotonic() < end, "the kernel does not notice the error"
        time.sleep(0.1)


# Gates for DMA by the device, writes then reads; FLUSH of both is set, FLUSH_MODE, and BME is not.
TLP_GATES = (0x3103D, 0x3103E)
GATES_SHUT = [1 << 20 | 1 << 19, 1 << 19]
RMI_CONFIG, RMI_ENABLE = 0x8400, 1 << 12


@case(spoils=True, rows=(4,))
def shutdown_stops_the_device(guest: Guest) -> None:
    """A guest that is switched off under traffic leaves a device that does nothing any more."""
    guest.check("ready 1500; start_traffic")
    guest.freeze_at_poweroff()
    same("gates for DMA", [guest.csrs(csr, csr)[0] for csr in TLP_GATES], GATES_SHUT)
    same("reception", guest.csrs(RMI_CONFIG, RMI_CONFIG)[0] & RMI_ENABLE, 0)
    assert not guest.fw_host()["owned"], "the port still belongs to the host"
    guest.stop_qemu()


@case(drivers=("rust",), rows=(4,))
def reset_failures(guest: Guest) -> None:
    """What fails while the device restarts after a reset leaves it quiet; the next reset brings it back."""
    guest.check("load_failcall && ready 1500 && watch_dma")
    for call in _RESTART:
        guest.check(f"{_FAILING_RESET}\nreset_with {call}", 120)
    guest.check("ready 1500")
    traffic.ping(guest, 1000)
    guest.check("unload_fbnic && dma_gone && load_fbnic")


_RESTART = (
    "pci_alloc_irq_vectors -28 1 1",
    "request_threaded_irq -16 1 2",
    "request_threaded_irq -16 2 2",
    "request_threaded_irq -16 4 2",
    "dma_alloc_attrs 0 1 3",
    "dma_alloc_attrs 0 4 3",
    "page_pool_create -12 1 1",
    "kvrealloc_node_align_noprof 0 1 4",
)
_FAILING_RESET = """
reset() { echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"; }
reset_with() {
    failing "$@" reset
    [ $fired = 1 ] || fail "$* does not happen"
    ping -n -q -c 1 -W 1 $FAR4 >/dev/null && fail "$* does no harm"
    reset
    wait_for 20 ping -n -q -c 1 -W 1 $FAR4 || fail "$*: the next reset does not bring it back"
}
"""
