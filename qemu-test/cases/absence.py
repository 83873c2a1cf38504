# SPDX-License-Identifier: GPL-2.0
"""An adapter that comes up without a network device, and one that is pulled out."""

import contextlib
import time

from harness import traffic
from harness.case import case, same
from harness.vm import Guest

from .power import NO_RESET

# Bytes in configuration space of the two halves of the device's serial number.
DSN_LOW, DSN_HIGH = 0x104, 0x108
# Every halves' wrong values: no serial number, and one whose MAC address is that of a group.
WRONG_SERIALS = ((0, 0), (0x01_00_00_01, 0x01_00_5E_FF))


@case(rows=(3,))
def init_failure_mode(guest: Guest) -> None:
    """A serial number of zero, or of a group address: devlink works, without a network device."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    for low, high in WRONG_SERIALS:
        mark = len(guest.console.text())
        with (
            guest.fault("config_read", offset=DSN_LOW, value=low),
            guest.fault("config_read", offset=DSN_HIGH, value=high),
        ):
            guest.check("fbnic_bind && ! near_if")
        info = guest.check("devlink dev info")
        assert "driver fbnic" in info and "fw.bootloader" in info, info
        same("a serial number is shown", "serial_number" in info, low != 0)
        said = guest.console.text()[mark:].count("init failure mode")
        same("times it was said", said, 1)
        guest.check("fbnic_unbind && nothing_left")
    guest.check("fbnic_bind && ready 1500")
    traffic.ping(guest, 56)


@case(drivers=("rust",), rows=(3,))
def lost_interrupt_in_init_failure_mode(guest: Guest) -> None:
    """Without a network device, too, an answer whose interrupt is lost is found, and the next one interrupts."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    with guest.fault("config_read", offset=DSN_LOW), guest.fault("config_read", offset=DSN_HIGH):
        guest.check("fbnic_bind && ! near_if")
    look = "cat /sys/class/hwmon/hwmon*/temp1_input"
    with guest.fault("msix_lost", {"times": 1}) as number:
        guest.check(look, 30)
        same("interrupts lost", guest.struck(number), 1)
    start = time.monotonic()
    guest.check(look)
    assert time.monotonic() - start < 5, "the interrupt stays away"
    guest.check("fbnic_unbind && fbnic_bind && ready 1500", 60)


@case(rows=(3, 9))
def dead_firmware(guest: Guest) -> None:
    """Firmware that takes nothing from the mailbox fails the probe, in time and without a trace."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    with guest.fault("fw_dead"):
        guest.check("! fbnic_bind && nothing_left", 60)
    guest.check("fbnic_bind && ready 1500")
    traffic.ping(guest, 56)


# A driver that has noticed that its device is gone gives the interface up.
_NOTICED = 'dev=$(near_if); absent() { ! ethtool "$dev"; }; wait_for 15 absent'


@contextlib.contextmanager
def _pulled_out(guest: Guest):
    """The device answers nothing and does nothing, under traffic, until the block ends."""
    guest.check("ready 1500; start_traffic; sleep 0.5")
    with guest.fault("unplugged", config=True):
        guest.check(_NOTICED, 40)
        guest.check("stop_traffic")
        yield


# Everything that would look into the device or talk to its firmware.
_LOOK = """
for file in /sys/kernel/debug/fbnic/*/* /sys/class/hwmon/hwmon*/temp1_input; do
    ! [ -f "$file" ] || timeout 5 cat "$file"
done >/dev/null 2>&1
ip -s link show "$(near_if)" >/dev/null
"""


def _touched(guest: Guest) -> int:
    """Accesses to the device's BARs, of either kind."""
    counts = guest.stats()
    return sum(counts[name] for name in ("mmio_reads", "mmio_writes", "fw_reads", "fw_writes"))


@case(rows=(6,), c_bug=NO_RESET)
def pulled_out_and_reset(guest: Guest) -> None:
    """Registers read all-ones under traffic: no access follows, and a reset brings the device back."""
    with _pulled_out(guest):
        before = _touched(guest)
        guest.check(_LOOK)
        time.sleep(2.5)
        same("accesses of a driver without device", _touched(guest) - before, 0)
    guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"; ready 1500', 60)
    traffic.ping(guest, 1000)


@case(rows=(6,))
def firmware_window_lost(guest: Guest) -> None:
    """Only the firmware's window reads all-ones: that, too, means that the device is gone."""
    guest.check("ready 1500")
    with guest.fault("fw_window_read", first=0, last=0x6FFF, value=0xFFFFFFFF):
        guest.run("timeout 15 cat /sys/class/hwmon/hwmon*/temp1_input", 40)
        guest.check(_NOTICED, 40)
        before = _touched(guest)
        guest.check(_LOOK)
        time.sleep(1.5)
        same("accesses of a driver without device", _touched(guest) - before, 0)
    guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
    guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)
    traffic.ping(guest, 56)


@case(rows=(2, 6))
def pulled_out_and_removed(guest: Guest) -> None:
    """The device is gone under traffic, then the kernel removes it; plugged in again it works."""
    with _pulled_out(guest):
        guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
    guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)
    traffic.ping(guest, 1000)
