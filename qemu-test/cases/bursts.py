# SPDX-License-Identifier: GPL-2.0
"""Bursts of packets: how often the device is told of them."""

from harness import packets
from harness.case import case, same
from harness.packets import TCP, Flow
from harness.vm import Guest

FAR_MAC, MARK_MAC = "02:00:00:00:00:02", "02:00:00:00:5e:ed"
FLOW = Flow("192.0.2.1", "192.0.2.2", TCP, 1025, 40001)
# Of a packet socket: segments of TCP over IPv4.
TCPV4 = 1
HEADERS = 14 + 20 + 20


def _burst(segments: int, size: int) -> str:
    """A line for `frames send`: one packet that the stack cuts into a burst of segments."""
    segment = packets.transport(FLOW, bytes(segments * size), "partial")
    frame = packets.frame(FAR_MAC, MARK_MAC, packets.internet(FLOW, segment))
    return (packets.offload_header(34, 16, TCPV4, HEADERS, size) + frame).hex()


def _send(guest: Guest, name: str, line: str, around: str = "") -> tuple[list[bytes], str]:
    """Sends a burst; returns the frames that it became on the cable, and what the command said."""
    said = []
    command = f"burst() {{ /guest/files/frames send {name} <<<{line} >/dev/null; }}\n{around or 'burst'}"
    with guest.wire() as wire:
        frames = wire.during(lambda: said.append(guest.run(command)))
    return [frame for frame in frames if frame[6:12] == packets.mac(MARK_MAC)], said[0].output


def _prepare(guest: Guest) -> str:
    """One queue, whose bursts the stack makes and BQL does not cut short."""
    name = guest.check("near_if").strip()
    guest.check(
        f"ethtool -L {name} combined 1; ethtool -K {name} tso off; ready 1500;"
        f"echo 10000000 >/sys/class/net/{name}/queues/tx-0/byte_queue_limits/limit_min"
    )
    return name


def _restore(guest: Guest, name: str) -> None:
    guest.check(
        f"echo 0 >/sys/class/net/{name}/queues/tx-0/byte_queue_limits/limit_min;"
        f"ethtool -K {name} tso on; ethtool -L {name} combined 2; ready 1500"
    )


@case(rows=(16,))
def one_doorbell_per_burst(guest: Guest) -> None:
    """The device is told once of a burst of 40 packets, not of each of them."""
    guest.check("ready 1500")
    name = _prepare(guest)
    before = guest.stats()["mmio_writes_by"]["twq_tail"]
    frames, _ = _send(guest, name, _burst(40, 500))
    rings = guest.stats()["mmio_writes_by"]["twq_tail"] - before
    same("frames", len(frames), 40)
    # Packets of the stack's own may come between.
    assert 1 <= rings <= 8, f"{rings} doorbells for a burst of 40 packets"
    _restore(guest, name)


@case(rows=(16,))
def burst_ends_in_a_drop(guest: Guest) -> None:
    """When the last packet of a burst cannot be mapped, the device is told of those before it."""
    guest.check("load_failcall && ready 1500")
    name = _prepare(guest)
    # Neighbours that are asked for would ring the doorbell, too.
    guest.check("sleep 1")
    _, said = _send(guest, name, _burst(20, 500), "failing dma_map_page_attrs -1 0 3 burst; echo $calls")
    mappings = int(said.split()[-1])
    assert mappings >= 20, f"{mappings} mappings for 20 packets: {said}"
    around = f"failing dma_map_page_attrs -1 {mappings} 3 burst; echo $fired"
    frames, said = _send(guest, name, _burst(20, 500), around)
    same("mappings that have failed", said.split()[-1:], ["1"])
    same("frames of a burst of 20 whose last is dropped", len(frames), 19)
    _restore(guest, name)
    guest.check("unload_fbnic; ready 1500")
