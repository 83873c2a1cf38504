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
    with guest.fault("config_read", offset=DSN_LOW, value=0), guest.fault("config_read", offset=DSN_HIGH, value=0):
        guest.check("fbnic_bind && ! near_if")
    look = "cat /sys/class/hwmon/hwmon*/temp1_input"
    with guest.fault("msix_lost", {"times": 1}) as number:
        guest.check(look, 30)
        same("interrupts lost", guest.struck(number), 1)
    # Without an interrupt it takes 10 s again.
    start = time.monotonic()
    guest.check(look)
    took = time.monotonic() - start
    assert took < 9, f"the interrupt stays away: {took:.1f} s"
    guest.check("fbnic_unbind && fbnic_bind && ready 1500", 60)


@case(rows=(3, 6))
def lost_in_init_failure_mode(guest: Guest) -> None:
    """Without a network device, too, it is said that the device has gone, and removal works."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    with guest.fault("config_read", offset=DSN_LOW, value=0), guest.fault("config_read", offset=DSN_HIGH, value=0):
        guest.check("fbnic_bind && ! near_if; dmesg -C")
    with guest.fault("unplugged", config=True):
        guest.run("cat /sys/class/hwmon/hwmon*/temp1_input", 30)
        said = guest.check("dmesg | grep -ci 'device is gone\\|failed read'; true").strip()
        same("times it was said", said, "1")
        guest.check("fbnic_unbind", 30)
    guest.check("fbnic_bind && ready 1500", 60)
    traffic.ping(guest, 56)


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
def _pulled_out(guest: Guest, config: bool):
    """The device answers nothing and does nothing, under traffic, until the block ends.

    With `config` its link is down, and it has lost what it was told.
    """
    guest.check("ready 1500; start_traffic; sleep 0.5")
    with guest.fault("unplugged", config=config):
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
    with _pulled_out(guest, config=False):
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


_CHANGES = 'cat "/sys/class/net/$(near_if)/carrier_changes"'


@case(rows=(6, 15))
def no_link_without_a_device(guest: Guest) -> None:
    """Registers read all-ones, which looks like a link that is not locked: it does not come and go for ever."""
    try:
        # Of other modes all-ones is what a lock looks like, too.
        guest.do("firmware", link_speed="25", fec="none")
        guest.check("! is_loaded || unload_fbnic; ready 1500", 60)
        with _pulled_out(guest, config=False):
            time.sleep(2.5)
            changes = guest.check(f"dmesg -C; {_CHANGES}")
            time.sleep(6)
            said = guest.check("dmesg | grep -i 'link\\|xpcs'; true")
            same("what is said of the link of a device that was given up", said, "")
            same("changes of the carrier", guest.check(_CHANGES), changes)
    finally:
        guest.do("firmware", link_speed="100", fec="rs")
        guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
        guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)


@case(rows=(2, 6))
def pulled_out_and_removed(guest: Guest) -> None:
    """The device is gone under traffic, then the kernel removes it; plugged in again it works."""
    with _pulled_out(guest, config=True):
        guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
    guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)
    traffic.ping(guest, 1000)


# The far end knows the address of the NIC under test without asking.
_KNOWN_AFAR = """
dev=$(near_if) && read -r mac <"/sys/class/net/$dev/address" &&
far ip neigh replace "$NEAR4" lladdr "$mac" dev "$FAR_IF" nud permanent
"""
_NOT_STOPPED = (
    "drivers/net/ethernet/meta/fbnic/fbnic_pci.c:171 takes a device that does not answer, or has not heard, "
    "for one that has stopped"
)
_STOPPED_UNHEARD = "drivers/net/ethernet/meta/fbnic/fbnic_ethtool.c:1654 takes a device that has not heard for one that has stopped"


@contextlib.contextmanager
def _memory_is_left_alone(guest: Guest):
    """The queues are given up in this block; afterwards no frame goes to the memory that was given back."""
    guest.check(f"ready 1500; {_KNOWN_AFAR}")
    yield
    before = guest.stats()["rx_placed"]
    guest.run("far timeout 5 ping -n -q -c 50 -i 0.01 -W 1 $NEAR4 >/dev/null")
    same("frames to memory that was given back", guest.stats()["rx_placed"] - before, 0)
    guest.check('far ip neigh del "$NEAR4" dev "$FAR_IF"')
    guest.check('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot', 60)
    guest.check("echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500", 60)
    traffic.ping(guest, 56)


@case(rows=(6,), c_bug=_NOT_STOPPED)
def silent_while_stopped(guest: Guest) -> None:
    """Registers read all-ones while the interface goes down, and then no more: the device is kept off memory."""
    with _memory_is_left_alone(guest), guest.fault("unplugged", config=False):
        guest.check(_NOTICED, 40)
        guest.check('ip link set "$(near_if)" down', 60)


@case(rows=(6,), c_bug=_NOT_STOPPED)
def deaf_while_stopped(guest: Guest) -> None:
    """Writes to registers are lost while the interface goes down: the device is kept off memory."""
    with _memory_is_left_alone(guest), guest.fault("csr_write_lost", first=0, last=0x5FFFF):
        guest.check('ip link set "$(near_if)" down', 60)


@case(rows=(6,), c_bug=_STOPPED_UNHEARD)
def deaf_while_changed(guest: Guest) -> None:
    """Writes to the registers of queues are lost while queues are replaced: the device is kept off memory."""
    with _memory_is_left_alone(guest), guest.fault("csr_write_lost", first=0x40000, last=0x40FFF):
        guest.run('ethtool -L "$(near_if)" combined 1', 60)
