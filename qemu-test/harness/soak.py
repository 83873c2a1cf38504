# SPDX-License-Identifier: GPL-2.0
"""The command `make soak`: traffic and changes of everything, for as long as told.

What happens is decided by a seed alone, so a run that fails can be had again. Between two
checkpoints the driver is reconfigured under traffic at random; at a checkpoint it is unloaded, and
everything it has ever allocated has to be back.
"""

import argparse
import contextlib
import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import accel, case, kernels, netdev_genl, packets, paths, xdp
from .faults import ControlError
from .hostile import ALLOWED
from .vm import Guest, GuestError, Spec

# Free memory moves by some allocator caches from one checkpoint to the next; a leaked ring or
# page pool in each of the loads between two looks is far above this.
_SLACK_KB = 12 << 10
# Checkpoints that fill caches which stay.
_WARM = 2
# Further checkpoints that a verdict on memory takes. Of less than three in a third one odd sample would decide.
_SETTLED = 9
_ACTIONS_TO_CHECKPOINT = 12
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

# Packets pass again, however much traffic there is besides.
_ALIVE = "wait_for 30 has_carrier $(near_if) && wait_for 30 ping -n -q -c 1 -W 1 $FAR4"

# What the emulated NIC may do wrong for a moment, without a reset being needed afterwards.
_FAULTS: tuple[tuple[str, dict], ...] = (
    ("msix_lost", {}),
    ("msix_storm", {}),
    ("link_flap", {"period_ms": 300}),
    ("dma_refused", {"dir": "read"}),
    ("dma_refused", {"dir": "write"}),
    ("dma_late", {"ms": 20}),
    ("rcd", {"field": "any"}),
    ("rcd_omitted", {}),
    ("rcd_duplicated", {}),
    ("rcd_swapped", {}),
    ("tcd", {"field": "any"}),
    ("tcd_omitted", {}),
    ("tcd_duplicated", {}),
    ("fw_silent", {}),
    ("fw_delay", {"ms": 500}),
    ("fw_mangled", {"how": "random"}),
)
_FAULT_MS = 1500

# Up to which size frames stay in one buffer, unless header_split has said something else.
_THRESHOLD = 1536
# Programs for a moment: those may lose packets that one which stays must pass.
_VERDICTS = {"drop": xdp.DROP, "pass": xdp.PASS, "tx": xdp.TX}
# Ports of the streams, and one of nobody.
_NOBODY = 9999
_PORTS = (5201, 5202, _NOBODY)
_MOST_RULES = 16

Action = Callable[["Soak"], str]
_ACTIONS: list[tuple[int, Action]] = []


def _action(weight: int) -> Callable[[Action], Action]:
    """Makes a function an action: it returns the bash that does it, by the dice of the run."""

    def register(function: Action) -> Action:
        _ACTIONS.append((weight, function))
        return function

    return register


@dataclass
class Soak:
    """One run on a guest that has the driver loaded or not, as it likes."""

    guest: Guest
    seed: int
    seconds: float
    progress: Callable[[str], None] = lambda line: None
    faults: bool = True
    """Whether the emulated NIC misbehaves now and then."""
    rng: random.Random = field(init=False)
    mtu: int = 1500
    threshold: int = _THRESHOLD
    """Longest frame that comes in one buffer, in bytes."""
    program: str = ""
    """The XDP program that has stayed: "one" takes frames of one buffer, "frags" all; empty for none."""
    rules: int = 0
    """How many rules about flows there are."""
    done: Counter = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    """Available memory of the guest in KiB, at each checkpoint."""
    resident: list[int] = field(default_factory=list)
    """Resident memory of the emulated NIC's process in KiB, at each checkpoint."""
    recent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self) -> str:
        """Runs to the end of the time. Returns a summary."""
        end = time.monotonic() + self.seconds
        self.guest.check("ready 1500 && start_traffic")
        weights = [weight for weight, _ in _ACTIONS]
        while time.monotonic() < end:
            for _ in range(_ACTIONS_TO_CHECKPOINT):
                if time.monotonic() >= end:
                    break
                action = self.rng.choices(_ACTIONS, weights)[0][1]
                self._do(action.__name__, action(self))
            self.checkpoint()
            left = max(0, round(end - time.monotonic()))
            self.progress(f"{left} s left, {self}")
        return f"{self}, {self._memory_is_flat()}"

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        memory = f"{self.memory[-1] >> 10} MiB available" if self.memory else ""
        return f"{self.done.total()} actions ({kinds}), {len(self.memory)} checkpoints, {memory}"

    def checkpoint(self) -> None:
        """Unloads the driver under traffic, looks for what it has left, and loads it again."""
        if self.guest.emulator:
            self.guest.disarm()
        # What comes after the unload succeeds whatever has become of that, so a failure ends the script.
        self._do("unload", f"watch_page_pools\nunload_fbnic && stop_traffic && page_pools_gone || exit 1\n{_FORGET}")
        available = self.guest.check(
            "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; awk '/MemAvailable/ { print $2 }' /proc/meminfo"
        )
        self.memory.append(int(available))
        if self.guest.emulator:
            status = Path(f"/proc/{self.guest.emulator.pid}/status").read_text()
            # Its own memory: what it has ever touched of the guest's counts as resident, too.
            self.resident.append(int(re.search(r"RssAnon:\s+(\d+)", status)[1]))
        self.forget()
        self._do("load", "ready 1500 && transfer_in 1 && transfer_out 1 && start_traffic")

    def fits_one(self, mtu: int | None = None) -> bool:
        """Whether all frames of an MTU, by default the present one, come in one buffer."""
        return (mtu or self.mtu) + 14 <= self.threshold

    def forget(self) -> None:
        """The driver is loaded or bound anew: settings are what they are at first."""
        self.mtu, self.threshold, self.program, self.rules = 1500, _THRESHOLD, "", 0

    def _do(self, name: str, script: str) -> None:
        self.recent = [*self.recent[-9:], f"{name}: {script}"]
        near = "dev=$(near_if)\nset -e\n" if name not in ("unload", "load") else ""
        alive = f"\n{_ALIVE}" if near else ""
        try:
            self.guest.check(near + script + alive, 120)
            self.guest.check_healthy(ALLOWED if self.faults else ())
        except GuestError as error:
            history = "\n".join(self.recent)
            raise GuestError(
                f"seed {self.seed}, action {self.done.total() + 1}: {error}\nlast actions:\n{history}"
            ) from error
        self.done[name] += 1

    def _memory_is_flat(self) -> str:
        """Raises when memory has gone somewhere. Returns what was found, which may be that nobody can tell."""
        least = _WARM + _SETTLED
        if len(self.memory) < least:
            return f"too few to tell whether memory is lost bit by bit, which takes {least}"
        for what, samples in (("guest", self.memory), ("fbnic-emu", self.resident)):
            settled = samples[_WARM:]
            third = len(settled) // 3
            if not third:  # There is no fbnic-emu.
                continue
            moved = statistics.median(settled[:third]) - statistics.median(settled[-third:])
            # The guest must not lose available memory, the process must not grow.
            lost = moved if what == "guest" else -moved
            if lost > _SLACK_KB:
                raise GuestError(f"seed {self.seed}: {what} has lost {lost} KiB: {samples}")
        return "no memory lost bit by bit"


@_action(3)
def rings(soak: Soak) -> str:
    """Sizes of all rings; the hardware's limits are powers of two."""
    sizes = [1 << soak.rng.randrange(low, 13) for low in (7, 6, 6, 7)]
    names = ("rx", "rx-mini", "rx-jumbo", "tx")
    wish = " ".join(f"{name} {size}" for name, size in zip(names, sizes))
    # Asked for what there is already, ethtool fails with status 80.
    return f"ethtool -G $dev {wish} || [ $? = 80 ]"


@_action(3)
def channels(soak: Soak) -> str:
    """Queues that serve both directions, or one each."""
    choice = soak.rng.choice(
        ("combined 1 rx 0 tx 0", "combined 2 rx 0 tx 0", "combined 1 rx 1 tx 0", "combined 1 rx 0 tx 1")
    )
    # Status 1 with a message says that nothing has changed.
    return f"ethtool -X $dev default; ethtool -L $dev {choice} || ethtool -l $dev >/dev/null"


@_action(2)
def mtu(soak: Soak) -> str:
    """Frames of another size, at both ends of the cable."""
    wish = soak.rng.choice((1280, 1500, 2000, 4000, 4100, 9000))
    if soak.program == "one" and not soak.fits_one(wish):
        return f"! ip link set $dev mtu {wish} 2>/dev/null"
    soak.mtu = wish
    return f"ready {soak.mtu}"


@_action(2)
def rss(soak: Soak) -> str:
    """Another table, another key, other fields of the headers."""
    key = ":".join(f"{soak.rng.randrange(256):02x}" for _ in range(54))
    fields = soak.rng.choice(("sd", "sdfn", "v"))
    return (
        "queues=$(ls -d /sys/class/net/$dev/queues/rx-* | wc -l)\n"
        f"ethtool -X $dev hkey {key}\n"
        f"ethtool -X $dev equal $((1 + {soak.rng.randrange(64)} % queues))\n"
        f"ethtool -N $dev rx-flow-hash tcp4 {fields} || true\n"
        "ethtool -x $dev >/dev/null; ethtool -X $dev default"
    )


@_action(2)
def filters(soak: Soak) -> str:
    """Promiscuous modes and lists of addresses, in and out of the filter's size."""
    count = soak.rng.choice((1, 3, 30, 70))
    mode = soak.rng.choice(("promisc", "allmulticast"))
    return (
        f"ip link set $dev {mode} on\n"
        f"for i in $(seq {count}); do ip maddr add $(printf 01:00:5e:00:88:%02x $i) dev $dev; done\n"
        f"ip link set $dev {mode} off\n"
        f"for i in $(seq {count}); do ip maddr del $(printf 01:00:5e:00:88:%02x $i) dev $dev; done"
    )


@_action(2)
def moderation(soak: Soak) -> str:
    """Interrupt moderation, from none to a lot."""
    usecs = [soak.rng.choice((0, 1, 10, 50, 300)) for _ in range(2)]
    frames = soak.rng.choice((0, 1, 16, 256))
    return f"ethtool -C $dev rx-usecs {usecs[0]} tx-usecs {usecs[1]} rx-frames {frames} || [ $? = 80 ]"


@_action(2)
def features(soak: Soak) -> str:
    """Offloads off and on again, one of them under traffic."""
    name = soak.rng.choice(("tso", "gro", "rx", "tx", "sg", "rxhash"))
    return f"ethtool -K $dev {name} off; sleep 0.2; ethtool -K $dev {name} on; ethtool -K $dev tso on"


@_action(1)
def header_split(soak: Soak) -> str:
    """The size up to which frames stay in one piece."""
    threshold = soak.rng.choice((0, 256, 1536))
    # The guest's ethtool is too old to know it. That it is refused says that nothing has changed.
    with contextlib.suppress(netdev_genl.NetlinkError):
        netdev_genl.set_header_threshold(soak.guest, threshold)
        soak.threshold = threshold
    # What comes in several buffers is lost to a program that takes one.
    assert soak.program != "one" or soak.fits_one(), f"a threshold of {threshold} was taken"
    return f": header threshold {threshold}"


@_action(1)
def pause(soak: Soak) -> str:
    """Pause frames, each direction on or off."""
    rx, tx = (soak.rng.choice(("on", "off")) for _ in range(2))
    return f"ethtool -A $dev rx {rx} tx {tx} || ethtool -a $dev >/dev/null"


@_action(3)
def down_and_up(soak: Soak) -> str:
    """The interface down under traffic, a number of times."""
    times = soak.rng.randrange(1, 4)
    return f"for i in $(seq {times}); do ip link set $dev down; near_up {soak.mtu}; done"


@_action(1)
def rebind(soak: Soak) -> str:
    """The driver lets go of the device through sysfs and takes it again."""
    soak.forget()
    return (
        f"{_FORGET}\n"
        "slot=$(fbnic_slot); echo $slot >/sys/bus/pci/drivers/fbnic/unbind\n"
        "echo $slot >/sys/bus/pci/drivers/fbnic/bind; wait_for 10 near_if; ready 1500"
    )


@_action(1)
def sleep(soak: Soak) -> str:
    """Suspend to idle, as far as the devices, or until only a processor has to halt."""
    level = soak.rng.choice(("devices", "platform"))
    return (
        "echo 1 >/sys/module/suspend/parameters/pm_test_delay || true\n"
        f"echo {level} >/sys/power/pm_test; echo freeze >/sys/power/state; echo none >/sys/power/pm_test"
    )


# The kernel changes its code for every program that comes or goes, and TCG may miss that while another
# processor runs there (see cases/xdp.py). So no other one does.
_ALONE = "echo 0 >/sys/devices/system/cpu/cpu1/online"
_TOGETHER = "echo 1 >/sys/devices/system/cpu/cpu1/online"
_DETACH = f"""
if [ -e /run/soak.pid ]; then
	{_ALONE}
	kill $(cat /run/soak.pid) 2>/dev/null || true
	wait_for 10 eval '! kill -0 $(cat /run/soak.pid)'
	rm -f /run/soak.pid /run/soak.log
	{_TOGETHER}
fi
"""
_FORGET = f"{_DETACH}\nrm -f /run/soak.rules"
_FRAMES_XDP = "setsid /guest/files/frames xdp $dev"


@_action(3)
def program(soak: Soak) -> str:
    """An XDP program comes to stay, or goes, or several take turns for a moment."""
    kind = soak.rng.choice(("one", "frags"))
    refused = kind == "one" and not soak.fits_one()
    deed = soak.rng.choice(("stay", "turns", "go"))
    verdicts = soak.rng.choices(list(_VERDICTS), k=soak.rng.randrange(1, 5))
    turns = soak.rng.randrange(1, 8)
    soak.program = "" if deed != "stay" or refused else kind
    begin = f"{_DETACH}\n{_ALONE}\n"
    if refused:
        only = xdp.verdict(xdp.PASS, False)
        return f"{begin} s=0; /guest/files/frames xdp $dev 1 {only} 2>/dev/null || s=$?; {_TOGETHER}; [ $s = 2 ]"
    if deed == "stay":
        # It sees every packet, and passes it.
        stays = xdp.verdict(xdp.PASS, kind == "frags", packets.IPV4)
        return (
            f"{begin}{_FRAMES_XDP} 0 {stays} >/run/soak.log 2>&1 & echo $! >/run/soak.pid\n"
            f"s=0; wait_for 10 grep -q attached /run/soak.log || s=1; {_TOGETHER}; cat /run/soak.log; [ $s = 0 ]"
        )
    if deed == "turns":
        list_ = " ".join(str(xdp.verdict(_VERDICTS[v], kind == "frags", packets.IPV4)) for v in verdicts)
        return f"{begin} s=0; /guest/files/frames xdp $dev {turns} {list_} || s=$?; {_TOGETHER}; [ $s = 0 ]"
    return _DETACH


# The driver numbers its rules; the guest keeps the numbers.
_RULE_TOOLS = """
queues=$(ls -d /sys/class/net/$dev/queues/rx-* | wc -l)
touch /run/soak.rules
add() {
	local report
	report=$(ethtool -N $dev flow-type "$@")
	[[ $report == *"rule with ID "* ]] && echo "${report##* }" >>/run/soak.rules
}
delete() {
	local number
	number=$(sed -n "$(($1 % $(wc -l </run/soak.rules) + 1))p" /run/soak.rules)
	ethtool -N $dev delete "$number"
	sed -i "/^$number\\$/d" /run/soak.rules
}
"""


@_action(3)
def rules(soak: Soak) -> str:
    """Rules that steer flows, those of the traffic among them, come and go."""
    dice = soak.rng
    gone, new = dice.randrange(soak.rules + 1), dice.randrange(1, 4) if soak.rules < _MOST_RULES else 0
    script = [f"delete {dice.randrange(64)}" for _ in range(gone)]
    for _ in range(new):
        kind, side, port = dice.choice(("tcp4", "udp4", "tcp6")), dice.choice(("src", "dst")), dice.choice(_PORTS)
        # Only what is for nobody may be dropped.
        action = "-1" if port == _NOBODY else f"$(({dice.randrange(64)} % queues))"
        script.append(f"add {kind} {side}-port {port} action {action}")
    soak.rules += new - gone
    return "\n".join([_RULE_TOOLS, *script, "ethtool -n $dev >/dev/null"])


@_action(1)
def processors(soak: Soak) -> str:
    """A processor goes and comes back; interrupts move with it."""
    del soak
    return "echo 0 >/sys/devices/system/cpu/cpu1/online; sleep 0.5; echo 1 >/sys/devices/system/cpu/cpu1/online"


@_action(2)
def look(soak: Soak) -> str:
    """Whatever can be read is read."""
    del soak
    return (
        "for what in '' -S -a -c -g -k -l -x -d -i --show-fec --show-eee -T -m '-S --all-groups'; do\n"
        "  case $what in -S\\ *) ethtool -S $dev --all-groups ;; *) ethtool $what $dev ;; esac >/dev/null 2>&1 || true\n"
        "done\n"
        "devlink dev info >/dev/null; devlink health >/dev/null || true\n"
        "find /sys/kernel/debug/fbnic* -type f -exec timeout 5 head -c 65536 {} + >/dev/null 2>&1 || true\n"
        "ip -s -s link show $dev >/dev/null; cat /sys/class/net/$dev/statistics/* >/dev/null"
    )


@_action(2)
def traffic(soak: Soak) -> str:
    """Another mix: datagrams of random sizes at random pace beside the streams."""
    size, mbits = soak.rng.randrange(16, 8000), soak.rng.choice((5, 20, 100))
    return f"timeout 20 iperf3 -c $FAR4 -p 5201 -u -l {size} -b {mbits}M -t 2 >/dev/null 2>&1 || true"


@_action(3)
def fault(soak: Soak) -> str:
    """The NIC misbehaves for a moment. Down and up again, it works."""
    name, fields = soak.rng.choice(_FAULTS)
    # Without an IOMMU, which only that guest has, what is written late may go to memory that was a buffer once.
    astray = name == "dma_late" and soak.guest.spec.kernel.name != "checked"
    if not soak.faults or astray:
        return f"true # {name} is left out"
    # Firmware talks rarely, so there every occasion is taken; of the data path's only some.
    chance = {} if name.startswith(("fw", "link", "msix")) else {"one_in": soak.rng.choice((2, 20, 200))}
    soak.guest.arm(name, {"for_ms": _FAULT_MS, **chance}, **fields)
    return (
        f"# {name} {fields} {chance}\n"
        "timeout 5 cat /sys/bus/pci/devices/$(fbnic_slot)/hwmon/hwmon*/*_input >/dev/null 2>&1 || true\n"
        f"sleep 2; ip link set $dev down; near_up {soak.mtu}"
    )


def main() -> int:
    """Entry point. Returns the exit status."""
    options = _parse()
    spec = Spec(name=f"soak-{options.driver}", driver=options.driver, accel=accel.choose(), reboots=True)
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    kernel = kernels.chosen().name
    print(f"==> Soak, {options.driver} driver, {kernel} kernel, {options.seconds} s, SEED={options.seed}", flush=True)
    guest = Guest(spec)
    try:
        with guest:
            guest.check("forget_leaks")
            soak = Soak(guest, options.seed, options.seconds, lambda line: print(f"    {line}", flush=True))
            summary = soak.run()
            guest.check("unload_fbnic && no_leak", 300)
    except (GuestError, ControlError) as error:
        print(f"soak: {error}\n--- the console ended with:\n{guest.console.tail()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"soak: interrupted, SEED={options.seed}", file=sys.stderr)
        return 130
    print(f"clean: {summary}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qemu-test/soak", description=__doc__)
    environment = os.environ.get
    parser.add_argument("--time", default=environment("T") or "30m", help="how long: 90s, 30m, 2h (T=)")
    parser.add_argument("--seed", type=int, default=environment("SEED") or random.getrandbits(32))
    parser.add_argument("--driver", choices=case.DRIVERS, default=environment("DRIVER") or "rust")
    options = parser.parse_args()
    # argparse does not compare a default with the choices.
    if options.driver not in case.DRIVERS:
        parser.error(f"DRIVER={options.driver}: use one of {', '.join(case.DRIVERS)}")
    match = re.fullmatch(r"(\d+)([smh]?)", options.time)
    if not match:
        parser.error(f"T={options.time}: use for example 90s, 30m or 2h")
    number, unit = match.groups()
    options.seconds = int(number) * _UNITS[unit]
    return options


if __name__ == "__main__":
    sys.exit(main())
