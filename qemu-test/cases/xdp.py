# SPDX-License-Identifier: GPL-2.0
"""XDP programs in the driver: what becomes of frames, what is counted, what is refused."""

import random
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL

from harness import netdev_genl, packets, paths, traffic, xdp
from harness.case import case, same
from harness.vm import Guest, Spec

FAR_MAC = "02:00:00:00:5e:ed"
# The longest MTU at which frames stay in one piece by default, and one at which they do not.
ONE_PIECE, SPLIT = 1500, 9000
# Lengths around every boundary of the buffers: the shortest frame, the largest in one piece, pages.
LENGTHS = (60, 61, 127, 128, 1513, 1514, 1535, 1536, 1537, 4096, 5000, 5632, 5633, 8191, 9014)
# By these bytes a frame is known again; no program takes them away.
PART = slice(32, 40)
_EVENT = "/sys/kernel/tracing/events/xdp/xdp_exception/enable"


def _near_mac(guest: Guest) -> str:
    return guest.check('cat "/sys/class/net/$(near_if)/address"').strip()


def _frames(guest: Guest, lengths: tuple[int, ...], seed: int = 7) -> list[bytes]:
    """Frames for the NIC under test, each different from all others."""
    rng = random.Random(seed)
    start = struct.pack(">H", packets.EXPERIMENTAL)
    return [
        packets.frame(_near_mac(guest), FAR_MAC, start + rng.randbytes(length - 14)) for length in lengths
    ]


def _echoes(guest: Guest, frames: list[bytes], want: int | None = None) -> list[bytes]:
    """Puts frames on the cable and returns what comes back of them, also in part.

    Waits until it is as many as `want`, all by default; of more or unwanted ones it sees those that
    come soon.
    """
    known = {frame[PART] for frame in frames}
    want = len(frames) if want is None else want
    got: list[bytes] = []
    patience = time.monotonic() + 15
    with guest.wire() as wire:
        wire.send(*frames)
        while True:
            came = wire.receive(0.3 if want else 1)
            got += [frame for frame in came if any(part in frame for part in known)]
            if len(got) >= want or time.monotonic() > patience:
                return got


@contextmanager
def _exceptions(guest: Guest, *verdicts: str) -> Iterator[None]:
    """Meanwhile the kernel has to report these verdicts as exceptions, as often as they are given."""
    guest.check(f"cd /sys/kernel/tracing; echo >trace; echo 1 >{_EVENT}; echo 1 >tracing_on")
    yield
    trace = guest.check(f"cd /sys/kernel/tracing; echo 0 >{_EVENT}; cat trace; echo >trace")
    same("exceptions", re.findall(r"xdp_exception: prog_id=\d+ action=(\S+)", trace), list(verdicts))


def _received(guest: Guest) -> tuple[int, int, int]:
    stats = guest.check(
        'cd "/sys/class/net/$(near_if)/statistics"; cat rx_packets rx_bytes rx_dropped'
    )
    packets_, bytes_, dropped = map(int, stats.split())
    return packets_, bytes_, dropped


@case()
def xdp_verdicts(guest: Guest) -> None:
    """Frames are passed or dropped as programs say, counted as received, and exceptions reported."""
    guest.check(f"ready {ONE_PIECE}")
    frames = _frames(guest, (60, 100, 1514) * 4)
    for value, reported in (
        (xdp.PASS, ()),
        (xdp.DROP, ()),
        (xdp.ABORTED, ("ABORTED",) * 12),
        (xdp.REDIRECT, ("REDIRECT",) * 12),
        (77, ("0x4d",) * 12),
    ):
        with xdp.attached(guest, xdp.verdict(value)), _exceptions(guest, *reported):
            before = _received(guest)
            same(f"frames back after {value}", _echoes(guest, frames, 0), [])
            after = _received(guest)
            traffic.ping(guest, 1400, 3)
        grown = [new - old for new, old in zip(after, before)]
        assert grown[0] >= 12 and grown[1] >= sum(map(len, frames)), f"verdict {value}: {grown}"
        # The stack drops what it does not know, a program's drop is none.
        same(f"dropped after {value}", grown[2], 12 if value == xdp.PASS else 0)
    traffic.ping(guest, 1400)


@case()
def xdp_passes_every_frame(guest: Guest) -> None:
    """With a program that passes all, TCP and jumbo frames get through, and so does metadata."""
    guest.check(f"ready {SPLIT}")
    for program in (
        xdp.verdict(xdp.PASS, ethertype=packets.IPV4),
        xdp.adjusted(meta=-32, value=xdp.PASS),
    ):
        with xdp.attached(guest, program):
            guest.check("transfer_in 1 && transfer_out 1")
            for size in (56, 1472, 8972):
                traffic.ping(guest, size, 5)
            assert not _echoes(guest, _frames(guest, LENGTHS), 0), "frames came back"


@case()
def xdp_sends_every_frame_back(guest: Guest) -> None:
    """Frames of every length and kind come back as they went in, in one piece and in several."""
    guest.check("ready 9212; ethtool -L \"$(near_if)\" combined 1; ready 9212")
    before = xdp.counters(guest), netdev_genl.read(guest).stats
    code = xdp.Program(bytes.fromhex("b700000003000000" "9500000000000000"))
    with xdp.attached(guest, code):
        done = subprocess.run(
            [paths.FRAMES, "wire", guest.tap_path, _near_mac(guest), FAR_MAC, "9226"],
            capture_output=True, text=True, timeout=300,
        )
        print(done.stdout.strip())
        same("status", done.returncode, 0)
        sent = int(re.search(r"sent: (\d+)", done.stdout)[1])
    guest.check(f"ready {ONE_PIECE}")
    after = xdp.counters(guest), netdev_genl.read(guest).stats
    grown = {key: after[0][key] - before[0][key] for key in after[0]}
    assert grown["packets"] >= sent and grown["bytes"] >= 60 * sent, f"{sent} sent, counted {grown}"
    same("dropped", grown["dropped"], 0)
    # The interface counts them as well, beside a few of the kernel's own.
    for key, least in (("tx_packets", grown["packets"]), ("tx_bytes", grown["bytes"]), ("rx_packets", sent)):
        assert after[1][key] - before[1][key] >= least, f"{key}: {before[1][key]} to {after[1][key]}"
    guest.check('ethtool -L "$(near_if)" combined 2; ready 1500')


@case()
def xdp_changes_frames(guest: Guest) -> None:
    """Programs write, and move both ends of frames, also far; what is sent back is what they made."""
    for mtu, lengths, programs in (
        # Behind a frame in one piece there is what is left of a block of 128 bytes.
        (ONE_PIECE, (60, 140, 1000, 1514), ((0, 16), (-14, 0), (14, 0), (-100, 4), (30, -10))),
        (ONE_PIECE, (60, 140, 1290), ((0, 60), (-20, 68))),
        (SPLIT, (60, 1536, 1537, 5000, 9014), ((0, -20), (-14, 0), (14, 0), (20, -20))),
        # Fragments go as a whole.
        (SPLIT, (5000, 9014), ((0, -3600), (0, -4900))),
    ):
        guest.check(f"ready {mtu}")
        frames = _frames(guest, lengths)
        for head, tail in programs:
            with xdp.attached(guest, xdp.adjusted(head, tail)):
                got = _echoes(guest, frames)
            same(f"frames after {head}, {tail} at {mtu}", len(got), len(frames))
            for number, (frame, came) in enumerate(zip(frames, got)):
                _same_frame(f"frame {number} after {head}, {tail} at {mtu}", frame, came, head, tail)
    guest.check(f"ready {SPLIT}")
    frames = _frames(guest, (60, 1536, 1537, 5000, 9014))
    first = b"\x06\x11\x22\x33"
    with xdp.attached(guest, xdp.written(first)):
        got = _echoes(guest, frames)
    same("frames with other first bytes", [came[:60] for came in got], [first + frame[4:60] for frame in frames])
    guest.check(f"ready {ONE_PIECE}")
    traffic.ping(guest, 1472)


def _same_frame(what: str, sent: bytes, came: bytes, head: int, tail: int) -> None:
    """`came` is `sent` with the ends moved: what is new in front may be anything, behind it is zero."""
    front = max(-head, 0)
    want = sent[max(head, 0) :] + bytes(max(tail, 0))
    want = want[: len(want) + min(tail, 0)]
    # The shortest frame there is.
    want += bytes(max(60 - front - len(want), 0))
    same(f"length of {what}", len(came), front + len(want))
    assert came[front:] == want, f"{what}: {came[front:][:200].hex()}, want {want[:200].hex()}"


@case()
def xdp_refusals(guest: Guest) -> None:
    """A program for frames in one piece only comes and stays where frames are in one piece."""
    one, several = xdp.verdict(xdp.PASS, frags=False), xdp.verdict(xdp.PASS)
    name = guest.check(f"ready {SPLIT}; near_if").split()[-1]
    _is_refused(guest, one)
    with xdp.attached(guest, several):
        _split_above(guest, 0)
        traffic.ping(guest, 8000, 3)
    guest.check(f"ready {ONE_PIECE}")
    _is_refused(guest, one)
    _split_above(guest, 1536)
    with xdp.attached(guest, one):
        for mtu in (SPLIT, 1523):
            assert guest.run(f"ip link set {name} mtu {mtu}").status, f"an MTU of {mtu} was taken"
        for threshold in (1513, 0):
            same(f"answer to {threshold}", _threshold_error(guest, threshold), EINVAL)
        guest.check(f"ip link set {name} mtu 1522 && ip link set {name} mtu 1500")
        _split_above(guest, 1514)
        _split_above(guest, 3584)
        # In a buffer of 4096 bytes there are 256 in front of the frame, and 320 behind.
        guest.check("ready 3506")
        traffic.ping(guest, 3478, 3)
        guest.check(f"ready {ONE_PIECE}")
    _split_above(guest, 1536)


def _is_refused(guest: Guest, program: xdp.Program) -> None:
    """The driver refuses the program and says why."""
    event = "/sys/kernel/tracing/events/xdp/bpf_xdp_link_attach_failed/enable"
    guest.check(f"cd /sys/kernel/tracing; echo >trace; echo 1 >{event}; echo 1 >tracing_on")
    answer = xdp.refused(guest, program)
    assert f"os error {xdp.NOT_SUPPORTED}" in answer, answer
    trace = guest.check(f"cd /sys/kernel/tracing; echo 0 >{event}; cat trace; echo >trace")
    assert "fbnic: MTU too high, or HDS threshold is too low for single buffer XDP" in trace, trace


def _threshold_error(guest: Guest, threshold: int) -> int:
    try:
        netdev_genl.set_header_threshold(guest, threshold)
    except netdev_genl.NetlinkError as error:
        return error.errno
    return 0


def _split_above(guest: Guest, threshold: int) -> None:
    """Frames longer than `threshold` bytes are received in several pieces."""
    netdev_genl.set_header_threshold(guest, threshold)
    guest.check('wait_for 20 has_carrier "$(near_if)"; wait_for 10 ping -nqc 1 -W 1 $FAR4')


@case()
def xdp_longer_than_allowed(guest: Guest) -> None:
    """A frame in several pieces is kept from a program that does not take such, and counted."""
    guest.check(f"ready {ONE_PIECE}")
    errors = 'cat "/sys/class/net/$(near_if)/statistics/rx_length_errors"'
    before = int(guest.check(errors))
    with xdp.attached(guest, xdp.verdict(xdp.TX, frags=False)):
        frames = _frames(guest, (1514, 1600, 5000, 1000))
        same("frames back", _echoes(guest, frames, 2), [frames[0], frames[3]])
        same("length errors", int(guest.check(errors)) - before, 2)


def _one_processor(driver: str, accelerator: str) -> Guest:
    """A guest in which no processor runs what another one is changing.

    The kernel changes the call of a program in place. TCG may go on running the breakpoint that stood there
    for a moment when the kernel has finished, and the guest dies of it (known since QEMU 8.0).
    """
    cpus = 1 if accelerator == "tcg" else 2
    return Guest(Spec(name=f"guest-xdp-{driver}", driver=driver, accel=accelerator, cpus=cpus))


@case(machine=_one_processor)
def xdp_comes_and_goes_under_traffic(guest: Guest) -> None:
    """Programs are attached, replaced and detached while packets pass; none of these is lost."""
    guest.check(f"ready {ONE_PIECE}; far_server")
    programs = " ".join(map(str, (xdp.verdict(xdp.DROP), xdp.verdict(xdp.PASS), xdp.verdict(xdp.TX))))
    output = guest.check(
        "iperf3 -c $FAR4 -R -t 20 >/run/iperf.log 2>&1 & iperf=$!\n"
        "ping -n -q -i 0.005 -c 400 $FAR4 >/run/ping.log 2>&1 & ping=$!\n"
        f'/guest/files/frames xdp "$(near_if)" 50 {programs} || exit 1\n'
        "wait $ping || exit 1; kill $iperf; cat /run/ping.log; wait $iperf; cat /run/iperf.log",
        120,
    )
    assert " 0% packet loss" in output, output
    assert re.search(r"[1-9][0-9.]* [MG]bits/sec", output), output
    guest.check(f"ready {ONE_PIECE}")


@case()
def xdp_stays_across_changes(guest: Guest) -> None:
    """With other channels, rings, MTU, or after down and up, a program still sends frames back."""
    name = guest.check(f"ready {ONE_PIECE}; near_if").split()[-1]
    channels = ("combined 1 rx 0 tx 0", "combined 0 rx 1 tx 1", "combined 2 rx 0 tx 0", "combined 1 rx 1 tx 0")
    changes = [f"ethtool -L {name} {split}" for split in channels]
    changes += [f"ethtool -L {name} combined 1 rx 0 tx 1", f"ethtool -L {name} combined 2 rx 0 tx 0"]
    changes += [f"ethtool -G {name} tx 64 rx 64 rx-mini 64", f"ethtool -G {name} tx 1024 rx 1024 rx-mini 256"]
    changes += [f"ip link set {name} down; ip link set {name} up", f"ip link set {name} mtu {SPLIT}"]
    changes += [f"ip link set {name} mtu {ONE_PIECE}"]
    frames = _frames(guest, (60, 200, 1514, 700))
    with xdp.attached(guest, xdp.verdict(xdp.TX)):
        for change in changes:
            guest.check(f"{change} && wait_for 20 has_carrier {name} && wait_for 10 ping -nqc 1 -W 1 $FAR4")
            before = xdp.counters(guest)
            same(f"frames back after {change}", _echoes(guest, frames), frames)
            after = xdp.counters(guest)
            same(f"counted after {change}", after["packets"] - before["packets"], len(frames))
        for threshold in (0, 1536):
            _split_above(guest, threshold)
            same(f"frames back with {threshold}", _echoes(guest, frames), frames)
    traffic.ping(guest, 1400)


@case()
def xdp_full_ring(guest: Guest) -> None:
    """More frames than the ring holds while nothing is completed: the rest is dropped and counted."""
    name = guest.check(f"ready {ONE_PIECE}; near_if").split()[-1]
    guest.check(f"ethtool -L {name} combined 1; ethtool -G {name} tx 64; ready {ONE_PIECE}")
    frames = _frames(guest, (60,) * 200)
    with xdp.attached(guest, xdp.verdict(xdp.TX)):
        before = xdp.counters(guest)
        with guest.fault("tx_stall"):
            _echoes(guest, frames, 0)
        dropped = xdp.counters(guest)["dropped"] - before["dropped"]
        assert dropped, "nothing was dropped"
    guest.check(f"ethtool -G {name} tx 1024; ethtool -L {name} combined 2; ready {ONE_PIECE}")
    with xdp.attached(guest, xdp.verdict(xdp.TX)):
        same("frames back", _echoes(guest, frames[:20]), frames[:20])


@case()
def xdp_unload(guest: Guest) -> None:
    """The driver goes with a program attached and frames on their way, and leaves no page behind."""
    guest.check("! is_loaded || unload_fbnic; watch_page_pools")
    for value in (xdp.TX, xdp.DROP, xdp.PASS):
        guest.check(f"ready {SPLIT}")
        with xdp.attached(guest, xdp.verdict(value)):
            frames = _frames(guest, (60, 1514, 5000) * 20)
            with guest.wire() as wire:
                wire.send(*frames)
                guest.check("unload_fbnic")
                wire.receive(0.2)
    _unloaded_with_full_ring(guest)
    guest.check("page_pools_gone && no_leak && ready 1500", 120)
    traffic.ping(guest, 1400)


def _unloaded_with_full_ring(guest: Guest) -> None:
    """The driver goes while frames to be sent back wait in the ring, which the device does not look at."""
    guest.check(f"ready {SPLIT}")
    frames = _frames(guest, (60, 1514, 5000) * 20)
    before = _received(guest)[0]
    with xdp.attached(guest, xdp.verdict(xdp.TX)), guest.fault("tx_stall") as stall, guest.wire() as wire:
        wire.send(*frames)
        count = 'cat "/sys/class/net/$(near_if)/statistics/rx_packets"'
        guest.check(f"wait_for 20 eval '[ $({count}) -ge {before + len(frames)} ]'", 40)
        assert guest.struck(stall), "the device has sent what it got"
        guest.check("unload_fbnic", 40)


@case()
def xdp_features(guest: Guest) -> None:
    """The kernel is told exactly what works: basic actions, and frames in several pieces."""
    guest.check(f"ready {ONE_PIECE}")
    # NETDEV_XDP_ACT_BASIC and NETDEV_XDP_ACT_RX_SG.
    same("features", netdev_genl.xdp_features(guest), 1 << 0 | 1 << 5)


@case(
    c_bug="drivers/net/ethernet/meta/fbnic/fbnic_txrx.c:309 hands on the device's sum over a frame"
    " that a program has changed",
)
def xdp_changed_frame_has_no_sum(guest: Guest) -> None:
    """The sum the device has made of a frame is not believed once a program has seen it."""
    guest.check(f"ready {ONE_PIECE}; dmesg -C")
    near, far = "192.0.2.1", "192.0.2.2"
    echo = packets.internet(packets.Flow(far, near, packets.ICMP), _icmp_echo(random.Random(1).randbytes(200)))
    mac = guest.check("far cat /sys/class/net/$FAR_IF/address").strip()
    frame = packets.frame(_near_mac(guest), mac, echo, (packets.VLAN, 0x123))
    with xdp.attached(guest, xdp.without_tag(packets.VLAN)), guest.wire() as wire:
        wire.send(frame)
        answers = [got for got in wire.receive(1) if got[12:14] == b"\x08\x00" and got[34:36] == b"\0\0"]
    same("answers", len(answers), 1)
    assert "hw csum failure" not in guest.check("dmesg"), "the kernel has found the sum to be wrong"


def _icmp_echo(payload: bytes) -> bytes:
    message = struct.pack(">BBHHH", 8, 0, 0, 0x1234, 1) + payload
    return message[:2] + struct.pack(">H", 0xFFFF ^ packets.ones_sum(message)) + message[4:]
