# SPDX-License-Identifier: GPL-2.0
"""Packets between the driver under test and the e1000e at the far end of the cable."""

from harness import traffic
from harness.case import case
from harness.vm import Guest

# Rates under emulation say little; this only tells traffic from a trickle of retransmissions.
SOME_MEGABITS = 5


def _tcp(guest: Guest, mtu: int, options: str = "", reverse: bool = False) -> None:
    guest.check(f"ready {mtu}")
    result = traffic.iperf(guest, options, reverse=reverse)
    print(f"{result.megabits:.0f} Mb/s, {result.retransmits} retransmits")
    assert result.megabits > SOME_MEGABITS / guest.spec.kernel.slowness, f"only {result.megabits:.2f} Mb/s"


def _udp(guest: Guest, size: int, reverse: bool) -> None:
    guest.check("ready 9000")
    # What a slow kernel's socket has no room for is lost too, whatever the driver does.
    bits = 20_000_000 // guest.spec.kernel.slowness
    result = traffic.iperf(guest, f"-u -b {bits} -l {size}", reverse=reverse)
    print(f"{result.megabits:.0f} Mb/s, {result.lost_percent:.1f} % lost")
    assert result.megabits > SOME_MEGABITS / guest.spec.kernel.slowness, f"only {result.megabits:.2f} Mb/s"
    assert result.lost_percent < 10, f"{result.lost_percent:.1f} % lost"


@case()
def ping_56(guest: Guest) -> None:
    """Echoes of the usual size, IPv4 and IPv6, none lost."""
    guest.check("ready 1500")
    traffic.ping(guest, 56)
    traffic.ping(guest, 56, address="2001:db8::2")


@case()
def ping_1472(guest: Guest) -> None:
    """Echoes that fill a frame of 1500 bytes, not fragmented."""
    guest.check("ready 1500")
    traffic.ping(guest, 1472, extra="-M do")


@case(rows=(16, 17))
def ping_8972(guest: Guest) -> None:
    """Echoes that fill a jumbo frame of 9000 bytes, not fragmented."""
    guest.check("ready 9000")
    traffic.ping(guest, 8972, extra="-M do")


@case()
def ping_every_size(guest: Guest) -> None:
    """Sizes around every boundary of padding, header and page; contents are compared by ping."""
    guest.check("ready 9000")
    sizes = "0 1 17 18 19 46 64 127 128 129 214 215 255 256 500 1023 2000 2047 2048 3800 4054 4096 8150 8972"
    output = guest.check(
        f"for size in {sizes}; do"
        " out=$(ping -n -c 3 -i 0.02 -W 2 -M do -p a55a0ff0 -s $size $FAR4) && "
        '! grep -q "wrong data" <<<"$out" || fail "size $size: $out"; done'
    )
    assert not output.strip(), output


@case(rows=(16,))
def tcp_out(guest: Guest) -> None:
    """TCP from the driver under test."""
    _tcp(guest, 1500)


@case(rows=(17,))
def tcp_in(guest: Guest) -> None:
    """TCP to the driver under test."""
    _tcp(guest, 1500, reverse=True)


@case()
def tcp_both_ways(guest: Guest) -> None:
    """TCP in both directions at once, several streams."""
    _tcp(guest, 1500, "--bidir -P 2")


@case(rows=(16, 17))
def tcp_jumbo(guest: Guest) -> None:
    """TCP with frames of 9000 bytes, both directions at once."""
    _tcp(guest, 9000, "--bidir")


@case(rows=(16,))
def udp_out(guest: Guest) -> None:
    """Datagrams from the driver under test, small and jumbo."""
    _udp(guest, 1400, reverse=False)
    _udp(guest, 8900, reverse=False)


@case(rows=(17,))
def udp_in(guest: Guest) -> None:
    """Datagrams to the driver under test, small and jumbo."""
    _udp(guest, 1400, reverse=True)
    _udp(guest, 8900, reverse=True)


@case()
def contents_survive(guest: Guest) -> None:
    """Random bytes sent over TCP, both ways, at both frame sizes, arrive unchanged."""
    for mtu in (1500, 9000):
        guest.check(f"ready {mtu} && transfer_out 4 && transfer_in 4", 120)


@case(rows=(11,))
def counters_agree(guest: Guest) -> None:
    """The interface's counters grow by at least what was sent, and by no errors."""
    guest.check("ready 1500")
    read = (
        'for f in tx_packets tx_bytes rx_packets rx_bytes tx_errors rx_errors; do'
        ' cat "/sys/class/net/$(near_if)/statistics/$f"; done'
    )
    before = [int(n) for n in guest.check(read).split()]
    guest.check("ping -n -q -c 100 -i 0.01 -s 1000 $FAR4")
    after = [int(n) for n in guest.check(read).split()]
    tx_packets, tx_bytes, rx_packets, rx_bytes, tx_errors, rx_errors = (
        b - a for a, b in zip(before, after)
    )
    assert 100 <= tx_packets <= 150 and 100 <= rx_packets <= 150, (tx_packets, rx_packets)
    assert 104200 <= tx_bytes <= 115000 and 104200 <= rx_bytes <= 115000, (tx_bytes, rx_bytes)
    assert tx_errors == rx_errors == 0, (tx_errors, rx_errors)
