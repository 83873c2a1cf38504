# SPDX-License-Identifier: GPL-2.0
"""The driver's and the device's life: down and up, unbind, many loads, reset, loss of the device."""

import os

from harness import traffic
from harness.case import case, same
from harness.vm import Guest, Spec

# Free memory may move a little between two looks; a leak of a ring per load is far above this.
MEMORY_SLACK_KB = 16 << 10
# How often loads_under_traffic loads; the first five fill caches that stay.
_LOADS = max(6, int(os.environ.get("LOADS") or 20))


@case(rows=(13, 14))
def down_and_up(guest: Guest) -> None:
    """ip link down and up five times, the first with traffic running."""
    guest.check("ready 1500")
    guest.check("start_traffic")
    for _ in range(5):
        guest.check('ip link set "$(near_if)" down; near_up 1500')
    guest.check("stop_traffic")
    guest.check("ready 1500")
    traffic.ping(guest, 56)


@case(rows=(11,))
def change_mtu(guest: Guest) -> None:
    """The MTU changes while the interface is up; values out of range are refused."""
    guest.check("ready 1500")
    for mtu in (9000, 1280, 1500):
        guest.check(f"ready {mtu}")
        traffic.ping(guest, mtu - 28, 3, extra="-M do")
    for mtu in (10, 20000):
        status = guest.run(f'ip link set "$(near_if)" mtu {mtu}').status
        assert status != 0, f"an MTU of {mtu} was taken"


@case(rows=(2,))
def unbind_and_bind(guest: Guest) -> None:
    """The driver lets go of a running device through sysfs and takes it again."""
    guest.check("ready 1500")
    guest.check(
        "slot=$(fbnic_slot); cd /sys/bus/pci/drivers/fbnic; echo $slot >unbind;"
        " ! near_if || fail 'still there'; echo $slot >bind; wait_for 10 near_if && ready 1500",
        60,
    )
    traffic.ping(guest, 56)


@case(rows=(2,))
def loads_under_traffic(guest: Guest) -> None:
    """Load, move packets, unload while they still move, again and again, and nothing is left behind."""
    guest.check("ready 1500 && unload_fbnic && watch_page_pools")
    memory = []
    for _ in range(_LOADS):
        guest.check("load_cycle", 90)
        memory.append(int(guest.check("awk '/MemAvailable/ { print $2 }' /proc/meminfo")))
    guest.check("page_pools_gone")
    lost = memory[4] - memory[-1]
    assert lost < MEMORY_SLACK_KB, f"{lost} KiB less after {_LOADS - 5} more loads: {memory}"


@case()
def guest_reboot(guest: Guest) -> None:
    """A guest that resets with the driver loaded finds a working device after it."""
    guest.check("ready 1500")
    guest.check("start_traffic")
    guest.reboot()
    guest.check("ready 1500")
    traffic.ping(guest, 56)


@case()
def qemu_gone_and_back(guest: Guest) -> None:
    """QEMU is killed under traffic; the same fbnic-emu then serves the next QEMU."""
    guest.check("ready 1500")
    guest.check("start_traffic")
    guest.stop_qemu()
    guest.start_qemu()
    guest.check("ready 1500")
    traffic.ping(guest, 56)


@case(rows=(2, 6))
def removal_under_traffic(guest: Guest) -> None:
    """The device is taken off the bus through sysfs while packets move, and found again."""
    guest.check("ready 1500; start_traffic; sleep 0.5")
    guest.check(
        'echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/remove"; ! fbnic_slot || fail "still there";'
        " stop_traffic; echo 1 >/sys/bus/pci/rescan; wait_for 10 near_if && ready 1500",
        60,
    )
    traffic.ping(guest, 56)


@case(rows=(2,))
def resources(guest: Guest) -> None:
    """The driver claims BAR0 and BAR4 only, and DMA addresses are 46 bits wide, or else 32."""
    guest.check("load_failcall")
    claimed = guest.check("awk '$3 == \"fbnic\" || $NF == \"fbnic\" { print $1 }' /proc/iomem").split()
    bars = guest.check(
        'sed -n "1p;5p" "/sys/bus/pci/devices/$(fbnic_slot)/resource" | sed "s/0x0*//g" |'
        " while read -r first last _; do echo $first-$last; done"
    ).split()
    same("claimed memory", sorted(claimed), sorted(bars))
    bits = 'cat "/sys/bus/pci/devices/$(fbnic_slot)/"{dma_mask_bits,consistent_dma_mask_bits}'
    same("DMA address bits", guest.check(bits).split(), ["46", "46"])
    guest.check("fbnic_unbind; failing dma_set_mask -5 1 3 fbnic_bind; [ $fired = 1 ] && near_if")
    same("DMA address bits where 46 are refused", guest.check(bits).split(), ["32", "32"])
    guest.check(
        "fbnic_unbind; failing dma_set_mask -5 -1 3 fbnic_bind; [ $status != 0 ] && nothing_left"
    )
    guest.check("echo 2 >/sys/module/failcall/parameters/channel_state; ! fbnic_bind && nothing_left")
    guest.check("echo 1 >/sys/module/failcall/parameters/channel_state; fbnic_bind && ready 1500")
    traffic.ping(guest, 56)


@case(rows=(2,))
def few_vectors(guest: Guest) -> None:
    """A device with three interrupt vectors has one queue; one with two is not taken."""
    driver = guest.spec.driver
    for vectors in (3, 2):
        spec = Spec(name=f"guest-vectors-{driver}", driver=driver, accel=guest.spec.accel)
        spec.emulator_args = ["--vectors", str(vectors)]
        with Guest(spec) as small:
            if vectors == 2:
                small.run("insmod_with_deps /guest/ko/$DRIVER.ko")
                assert small.run("near_if || devlink dev show | grep .").status, "a device with 2 vectors was taken"
                small.check("nothing_left")
                continue
            small.check("ready 1500")
            same("receive queues", small.check('ls "/sys/class/net/$(near_if)/queues" | grep -c rx').strip(), "1")
            traffic.ping(small, 1000)


@case(spoils=True, rows=(6,))
def device_vanishes(guest: Guest) -> None:
    """fbnic-emu dies: the driver notices, gives up the device and can be unloaded.

    No traffic runs meanwhile, because QEMU 11.1 fails an assertion of its own when a vfio-user
    device goes away between a posted write and its dispatch.
    """
    guest.check("ready 1500")
    guest.kill_emulator()
    # A device that the driver has given up is absent for ethtool.
    guest.check('dev=$(near_if); absent() { ! ethtool "$dev"; }; wait_for 15 absent')
    guest.check("dmesg | tail -n 5 | grep -q 'fbnic 0000:'")
    assert guest.run("ping -n -q -c 2 -W 1 $FAR4").status != 0, "packets pass without a device"
    guest.run('ip link set "$(near_if)" down', 60)
    guest.check("unload_fbnic", 90)
    same("network device", guest.run("near_if").output.strip(), "")
