# SPDX-License-Identifier: GPL-2.0
"""The ways a cable of fbnic-emu can lead, with the driver under test at each of them."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness import packets, paths, pcap
from harness.case import case, same
from harness.vm import Guest, GuestError, Spec

# The NICs by what their cables lead to, each with the last octet of its address.
PAIR, PEER, PASST, LOOPBACK, LISTENER, TAP = NICS = range(1, 7)
# A NIC of no guest.
STRANGER = 7
NAMES = dict(zip((*NICS, STRANGER), ("pair", "peer", "passt", "loopback", "listener", "tap", "stranger")))
TAP_NAME = "fbnictap"
# What passt calls the machine it runs on, and the guest, where there is no interface to copy from.
PASST_HOST, PASST_GUEST = "169.254.2.2", "169.254.2.1"
PUT_PORT, GET_PORT = 5301, 5302

_LIBRARY_FILE = "/run/cables.sh"
# nic N: the network device whose address ends in N. The other functions are about one of them.
_LIBRARY = """
nic() { ip -br link | awk -v mac="02:fb:1c:00:00:0$1" '$3 == mac { print $1 }'; }
slot() { basename "$(readlink -f "/sys/class/net/$(nic $1)/device")"; }
up() {
    ip address replace "$2" dev "$(nic $1)" && ip link set "$(nic $1)" mtu "${3:-1500}" up
    # Packets pass once the stack, too, has taken note of the carrier.
    wait_for 30 eval "ip link show dev \"$(nic $1)\" | grep -q 'state UP'" || fail "no carrier on NIC $1"
}
no_carrier() { ! has_carrier "$(nic $1)"; }
lost() { wait_for 20 no_carrier $1 || fail "the carrier of NIC $1 stays"; }
answers() {
    wait_for 20 ping -n -q -c 1 -W 1 "$1" || fail "no answer from $1"
    ping -n -q -i 0.02 -W 2 -c 20 -s 1400 "$1" >/dev/null || fail "some answers from $1 are missing"
}
"""


class Site(Guest):
    """A guest with a NIC at the end of every kind of cable, and what is at the other ends.

    All of that lives in a network namespace of its own, because a tap and passt's ports would
    otherwise be those of the machine.
    """

    def __init__(self, driver: str, accelerator: str):
        super().__init__(Spec(name=f"guest-cables-{driver}", driver=driver, accel=accelerator, emulator=None))
        self._others: dict[str, subprocess.Popen] = {}
        self.has_tap = os.access("/dev/net/tun", os.R_OK | os.W_OK)
        self._nics = [number for number in NICS if number != TAP or self.has_tap]
        self.spec.qemu_args = [word for number in self._nics for word in self._device(number)]

    def start(self) -> None:
        """Starts the other ends and the NICs, then the guest, and loads the driver."""
        # This process holds the namespace; whoever enters it needs its number.
        hold = "ip link set lo up; exec sleep 100000"
        self._others["room"] = self._spawn(["unshare", "--net", "--", "sh", "-c", hold], "room")
        _until("there is a network namespace", lambda: "UP" in self.outside("ip -br link show lo"))
        self.start_passt()
        # What is sent to one port can be fetched from the other.
        listen, file = "bind=127.0.0.1,reuseaddr,fork", self.path("sent")
        self.spawn("put", ["socat", "-u", f"TCP-LISTEN:{PUT_PORT},{listen}", f"CREATE:{file}"])
        self.spawn("get", ["socat", "-U", f"TCP-LISTEN:{GET_PORT},{listen}", f"FILE:{file}"])
        self.emulate("pair", [PAIR, PEER])
        cables = {
            PASST: f"unix:{self.path('passt.wire')}",
            LOOPBACK: "loopback",
            LISTENER: f"unix-listen:{self.path('wire2')}",
            TAP: f"tap:{TAP_NAME}",
        }
        single = [number for number in self._nics if number in cables]
        self.emulate("single", single, [cables[number] for number in single])
        super().start()
        self.check(f"cat >{_LIBRARY_FILE} <<'END'\n{_LIBRARY}\nEND\nload_fbnic")
        self.check(f"wait_for 20 eval '[ $(ip -br link | grep -c 02:fb:1c:) = {len(self._nics)} ]'")

    def stop(self) -> None:
        """Ends the guest first: QEMU does not like its NICs to vanish."""
        with contextlib.suppress(GuestError):
            self.stop_qemu()
        for name in list(self._others):
            self.end(name)
        super().stop()

    def check_healthy(self, allowed: tuple[str, ...] = ()) -> None:
        """As with any guest; and nothing at the other ends may have ended by itself."""
        super().check_healthy(allowed)
        ended = [name for name, process in self._others.items() if process.poll() is not None]
        if ended:
            raise GuestError(f"ended: {', '.join(ended)}")

    def path(self, name: str) -> Path:
        """A file beside the guest's sockets."""
        return self._directory / name

    def capture(self, number: int) -> Path:
        """The capture of a NIC's cable."""
        return self.path(f"{NAMES[number]}.pcap")

    def inside(self, script: str) -> str:
        """Runs bash in the guest that knows the NICs by number. Returns what it printed."""
        return self.check(f". {_LIBRARY_FILE}\n{script}", 90)

    def outside(self, script: str) -> str:
        """Runs bash at the other ends of the cables. Returns what it printed."""
        command = self._in_room(["bash", "-c", script])
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode:
            raise GuestError(f"{script}: {result.stdout}{result.stderr}")
        return result.stdout

    def spawn(self, name: str, command: list[str]) -> None:
        """Starts a process at the other ends, which ends with the guest."""
        self._others[name] = self._spawn(self._in_room(command), name)

    def end(self, name: str) -> None:
        """Ends such a process without a word."""
        process = self._others.pop(name)
        process.kill()
        process.wait()

    def start_passt(self) -> None:
        """Starts passt, which hands what the guest sends to its gateway to 127.0.0.1."""
        socket = self.path("passt.wire")
        socket.unlink(missing_ok=True)
        self.spawn("passt", ["passt", "--foreground", "--runas", "0", "--ipv4-only", "--socket", str(socket)])
        _until("passt listens", socket.exists)

    def emulate(self, name: str, numbers: list[int], cables: list[str] | None = None) -> None:
        """Starts an fbnic-emu with these NICs and their cables, each with a capture."""
        command = [str(paths.EMULATOR), *(word for cable in cables or [] for word in ("--cable", cable))]
        for number in numbers:
            command += ["--socket", str(self._socket(number)), "--mac", f"02:fb:1c:00:00:{number:02x}"]
            command += ["--pcap", str(self.capture(number))]
        self.spawn(f"emu-{name}", command)
        _until(f"fbnic-emu serves {name}", lambda: all(self._socket(number).exists() for number in numbers))

    def _in_room(self, command: list[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._others['room'].pid}/ns/net", "--", *command]

    def _socket(self, number: int) -> Path:
        return self.path(f"nic-{NAMES[number]}")

    def _device(self, number: int) -> list[str]:
        socket = {"type": "unix", "path": str(self._socket(number))}
        device = {"driver": "vfio-user-pci", "bus": f"rp{number}", "socket": socket}
        return ["-device", f"pcie-root-port,id=rp{number},chassis={number},x-speed=5", "-device", json.dumps(device)]


def _until(what: str, condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise GuestError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def _captured(site: Site, number: int, *ends: str) -> None:
    """Fails unless the capture of a NIC's cable has packets both ways between two addresses."""
    found = [frame[26:34] for frame in pcap.frames(site.capture(number)) if frame[12:14] == b"\x08\0"]
    for one, other in (ends, ends[::-1]):
        count = found.count(packets.ip(one) + packets.ip(other))
        assert count >= 20, f"{count} packets from {one} to {other} in the capture"


@case(machine=Site)
def cable_in_memory(site: Site) -> None:
    """Two NICs of one process are joined, with captures; the far one's driver goes and comes back."""
    near, far, peer = "203.0.113.1", "203.0.113.2", "ip netns exec peer"
    slot = site.inside(f"slot {PEER}").strip()
    both_up = f"""
        ip link set "$(nic {PEER})" name peer0 netns peer
        ip -n peer address add {far}/24 dev peer0 && ip -n peer link set peer0 mtu 9000 up
        up {PAIR} {near}/24 9000; answers {far}
    """
    site.inside(f"ip netns add peer; {both_up}")
    site.inside(f"_transfer '{peer}' '' {far} 2 && _transfer '' '{peer}' {near} 2")
    site.inside(f"echo {slot} >/sys/bus/pci/drivers/fbnic/unbind; ! ping -n -q -c 1 -W 1 {far}")
    site.inside(f"echo {slot} >/sys/bus/pci/drivers/fbnic/bind; wait_for 20 eval 'nic {PEER} | grep .'; {both_up}")
    _captured(site, PAIR, near, far)
    _captured(site, PEER, far, near)


@case(machine=Site)
def cable_to_passt(site: Site) -> None:
    """passt is a way out for TCP; when it ends the link is lost, and the next passt brings it back."""
    talk = f"""
        up {PASST} {PASST_GUEST}/16
        head -c 2000000 /dev/urandom >/tmp/sent
        socat -u FILE:/tmp/sent TCP:{PASST_HOST}:{PUT_PORT},connect-timeout=20 || fail 'no way out'
        comes_back() {{ socat -u TCP:{PASST_HOST}:{GET_PORT} CREATE:/tmp/got && cmp /tmp/sent /tmp/got; }}
        wait_for 20 comes_back || fail "$(comes_back)"
    """
    site.inside(talk)
    site.end("passt")
    site.inside(f"lost {PASST}")
    site.start_passt()
    site.inside(talk)
    _captured(site, PASST, PASST_GUEST, PASST_HOST)


@case(machine=Site)
def cable_to_tap(site: Site) -> None:
    """A tap leads to the machine; with its interface the link goes, and comes back."""
    if not site.has_tap:
        print("not tried: no permission for /dev/net/tun")
        return
    outside, inside = "198.51.100.1", "198.51.100.2"
    tap_up = f"ip address add {outside}/24 dev {TAP_NAME} && ip link set {TAP_NAME} up"
    talk = f"up {TAP} {inside}/24; answers {outside}"
    site.outside(tap_up)
    site.inside(talk)
    site.outside(f"ip link set {TAP_NAME} down; ip link set {TAP_NAME} up; ping -n -q -c 20 -i 0.02 -W 2 {inside}")
    site.outside(f"ip link delete {TAP_NAME}")
    site.inside(f"lost {TAP}")
    site.outside(f"ip tuntap add {TAP_NAME} mode tap && {tap_up}")
    site.inside(talk)
    _captured(site, TAP, inside, outside)


@case(machine=Site)
def cable_loopback(site: Site) -> None:
    """Every frame comes back as it was sent, also after the interface was down."""
    here, nowhere = "192.0.2.33", "192.0.2.34"
    # Echo requests that come back are for an address of nobody: the kernel drops them behind tcpdump.
    watch = f"tcpdump -Z root -l -n -Q in -c 20 -i $dev 'dst host {nowhere}'"
    talk = f"""
        up {LOOPBACK} {here}/24
        dev=$(nic {LOOPBACK})
        ip neighbour replace {nowhere} lladdr "$(<"/sys/class/net/$dev/address")" nud permanent dev $dev
        timeout 20 {watch} >/tmp/seen 2>/tmp/watch &
        wait_for 10 grep -q listening /tmp/watch
        ping -n -q -i 0.02 -c 20 -s 1400 -W 1 {nowhere} >/dev/null
        wait $! || fail "$(grep -c ICMP /tmp/seen) of 20 frames came back"
    """
    site.inside(talk)
    site.inside(f'ip link set "$(nic {LOOPBACK})" down; {talk}')
    wanted = packets.ip(here) + packets.ip(nowhere)
    frames = [frame for frame in pcap.frames(site.capture(LOOPBACK)) if frame[26:34] == wanted]
    # Sequence numbers tell the echoes apart; each is in the capture as it went and as it came.
    same("frames", len(frames), 80)
    same("different frames", len(set(frames)), 40)


@case(machine=Site)
def cable_between_emulators(site: Site) -> None:
    """Two processes are joined by a socket; the one that listens serves one peer after the other."""
    near, far = "198.18.0.1", "198.18.0.2"
    wire = f"unix:{site.path('wire2')}"
    # A peer without a guest is a peer: the link is up, and goes with it.
    site.emulate("stranger", [STRANGER], [wire])
    site.inside(f"up {LISTENER} {near}/24")
    site.end("emu-stranger")
    site.inside(f"lost {LISTENER}")
    spec = Spec(name=f"{site.spec.name}-2", driver=site.spec.driver, accel=site.spec.accel, cable=wire)
    with Guest(spec) as other:
        other.check(f"load_fbnic; ip address add {far}/24 dev $(near_if); ip link set $(near_if) up")
        site.inside(f"up {LISTENER} {near}/24; answers {far}")
        other.check(f"ping -n -q -c 20 -i 0.02 -s 1400 -W 2 {near}")
        other.check_healthy()
    site.inside(f"lost {LISTENER}")
    _captured(site, LISTENER, near, far)
