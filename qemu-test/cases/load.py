# SPDX-License-Identifier: GPL-2.0
"""Loading the driver, what it tells about itself, unloading it."""

import json

from harness import tlv
from harness.case import case, same
from harness.vm import Guest


@case(rows=(2, 11))
def load_and_identify(guest: Guest) -> None:
    """insmod gives a network device whose names and address are those of the hardware."""
    guest.check("load_fbnic")
    info = dict(
        line.split(": ", 1)
        for line in guest.check('ethtool -i "$(near_if)"').splitlines()
        if ": " in line
    )
    same("driver", info.get("driver"), "fbnic")
    same("bus-info", info.get("bus-info"), guest.check("fbnic_slot").strip())
    assert info.get("firmware-version", "").strip(), f"no firmware version: {info}"
    address = guest.check('cat "/sys/class/net/$(near_if)/address"').strip()
    same("MAC address", address, guest.check("pci_serial_mac").strip())


# What firmware announces besides the link: version and commit of everything there is.
_VERSIONS = {
    0x00: (1, 2, 3, 4), 0x06: "running", 0x04: (5, 6, 7, 8), 0x0C: "stored",
    0x0D: (9, 10, 11, 12), 0x0F: "boot", 0x0E: (13, 14, 15, 16), 0x10: "stored-boot",
    0x11: (17, 18, 19, 20), 0x12: "undi",
}  # fmt: skip
_SHOWN = {
    "running": {
        "fw": "01.02.03-004", "fw.commit": "running",
        "fw.bootloader": "09.10.11-012", "fw.bootloader.commit": "boot",
    },
    "stored": {
        "fw": "05.06.07-008", "fw.commit": "stored",
        "fw.bootloader": "13.14.15-016", "fw.bootloader.commit": "stored-boot",
        "fw.undi": "17.18.19-020", "fw.undi.commit": "undi",
    },
}  # fmt: skip


def _announcement() -> bytes:
    """Capabilities of the firmware with these versions."""
    parts = [tlv.attribute(0x0A, b"\x04"), tlv.attribute(0x0B, b"\x02")]
    for number, value in _VERSIONS.items():
        data = value.encode() + b"\0" if isinstance(value, str) else bytes(reversed(value))
        parts.append(tlv.attribute(number, data))
    return tlv.message(0x11, *parts)


@case(rows=(5, 10))
def devlink_info(guest: Guest) -> None:
    """devlink dev info names the driver, the serial number, and each version that firmware announces."""
    guest.check("ready 1500")
    guest.do("fw_send", hex=_announcement().hex())
    guest.check("wait_for 5 eval 'devlink dev info | grep -q 01.02.03-004'")
    (info,) = json.loads(guest.check("devlink -j dev info"))["info"].values()
    same("driver", info["driver"], "fbnic")
    serial = guest.check(
        'od -An -v -tx1 -j 260 -N 8 "/sys/bus/pci/devices/$(fbnic_slot)/config"'
    ).split()
    same("serial_number", info["serial_number"], "-".join(reversed(serial)))
    same("versions", info["versions"], _SHOWN)
    guest.check("unload_fbnic; ready 1500")


@case(rows=(15,))
def carrier_and_speed(guest: Guest) -> None:
    """The link comes up with carrier; ethtool agrees with sysfs on the speed."""
    guest.check("ready 1500")
    report = guest.check('ethtool "$(near_if)"')
    assert "Link detected: yes" in report, report
    speed = guest.check('cat "/sys/class/net/$(near_if)/speed"').strip()
    assert f"Speed: {speed}Mb/s" in report, f"sysfs says {speed}, ethtool:\n{report}"


@case(rows=(12, 19))
def queues_and_interrupts(guest: Guest) -> None:
    """Each processor has a queue, and flows from the wire spread over all of them."""
    guest.check("ready 1500")
    queues = int(guest.check('ls -d "/sys/class/net/$(near_if)/queues/"rx-* | wc -l'))
    same("receive queues", queues, int(guest.check("nproc")))
    count = "awk '/-TxRx-/ { print $2 + $3 }' /proc/interrupts"
    before = [int(n) for n in guest.check(count).split()]
    # Only TCP is spread by its ports. Nobody listens there: every attempt is one packet in.
    attempt = "far socat -u OPEN:/etc/hosts TCP:$NEAR4:$port 2>/dev/null"
    guest.check(f"for port in {{7000..7029}}; do {attempt} && fail 'somebody listens'; done; true")
    after = [int(n) for n in guest.check(count).split()]
    same("queues with an interrupt", len(before), queues)
    assert all(b > a for a, b in zip(before, after)), f"interrupts went from {before} to {after}"


@case(rows=(2,))
def unload(guest: Guest) -> None:
    """rmmod leaves nothing: no device, no page of a page pool, no interrupt, no devlink."""
    guest.check("ready 1500; watch_page_pools")
    guest.check("ping -n -q -c 50 -i 0.01 -s 1400 $FAR4")
    guest.check('ip link set "$(near_if)" down')
    same("module references", guest.check("reference_count").strip(), "0")
    guest.check("unload_fbnic")
    same("network device", guest.run("near_if").output.strip(), "")
    same("devlink devices", guest.check("devlink dev show").strip(), "")
    same("interrupts", guest.run("grep fbnic /proc/interrupts").output.strip(), "")
    enabled = guest.check('cat "/sys/bus/pci/devices/$(fbnic_slot)/enable"').strip()
    same("how often the device is enabled", enabled, "0")
    guest.check("page_pools_gone")
