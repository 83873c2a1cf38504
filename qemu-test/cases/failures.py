# SPDX-License-Identifier: GPL-2.0
"""Failures of kernel functions that the driver calls: each is undone, and the next try succeeds."""

from dataclasses import dataclass, replace

from harness import traffic
from harness.case import case
from harness.vm import Guest

ENOMEM, EBUSY, ENOSPC, EIO = -12, -16, -28, -5


@dataclass(frozen=True)
class Call:
    """A kernel function, and what it returns when it fails."""

    function: str
    value: int
    depth: int = 1
    """How far up the driver may be among its callers: the kernel's Rust wrappers lie between."""
    most: int = 6
    """Of more calls only the first so many fail, and a few between them and the last."""
    drivers: tuple[str, ...] = ("rust", "c")


# A null pointer.
NULL = 0
# Where allocations end up. The driver in Rust reaches them through the kernel's own crate.
MEMORY = (
    Call("__kmalloc_cache_noprof", NULL, drivers=("c",)),
    Call("__kmalloc_noprof", NULL, drivers=("c",)),
    Call("__kvmalloc_node_noprof", NULL, drivers=("c",)),
    Call("krealloc_node_align_noprof", NULL, 4, 14, drivers=("rust",)),
    Call("kvrealloc_node_align_noprof", NULL, 4, drivers=("rust",)),
)
PROBE = (
    Call("pci_enable_device_mem", EIO, 3, drivers=("rust",)),
    Call("pcim_enable_device", EIO, drivers=("c",)),
    Call("pci_request_region", EBUSY, drivers=("rust",)),
    Call("pci_iomap", NULL, drivers=("rust",)),
    Call("pcim_iomap_regions", EBUSY, drivers=("c",)),
    Call("devlink_alloc_ns", NULL, 2),
    Call("devlink_health_reporter_create", ENOMEM, 2),
    Call("pci_alloc_irq_vectors", ENOSPC),
    Call("request_threaded_irq", EBUSY, 2),
    Call("dma_alloc_attrs", NULL, 3),
    Call("dma_map_page_attrs", -1),
    Call("get_free_pages_noprof", NULL, drivers=("c",)),
    Call("alloc_etherdev_mqs", NULL),
    Call("mdiobus_alloc_size", NULL, drivers=("rust",)),
    Call("devm_mdiobus_alloc_size", NULL, drivers=("c",)),
    Call("__mdiobus_register", EIO, drivers=("rust",)),
    Call("__devm_mdiobus_register", EIO, drivers=("c",)),
    Call("phylink_create", ENOMEM),
    Call("xpcs_create_pcs_mdiodev", ENOMEM),
    Call("ptp_clock_register", ENOMEM),
    Call("hwmon_device_register_with_info", ENOMEM),
    Call("register_netdev", EBUSY),
    *MEMORY,
)
OPEN = (
    Call("dma_alloc_attrs", NULL, 3),
    Call("page_pool_create", ENOMEM),
    Call("page_pool_alloc_netmems", NULL, most=1),
    Call("__xdp_rxq_info_reg", ENOMEM),
    Call("xdp_rxq_info_reg_mem_model", ENOMEM),
    Call("netif_set_real_num_queues", ENOMEM),
    Call("request_threaded_irq", EBUSY, 2),
    *MEMORY,
)


# A change goes the way of opening, so fewer of many calls show that the old queues come back.
CHANGE = tuple(replace(call, most=min(call.most, 2)) for call in OPEN)


def _each(guest: Guest, calls: tuple[Call, ...], attempt: str, watch: str, rest: str) -> None:
    """Runs `attempt F V N D` for each function and many an N, first for none.

    After `rest` no DMA memory that was watched may be in use.
    """
    report = []
    for call in calls:
        if guest.spec.driver not in call.drivers:
            continue
        loop = f"""
            attempt {call.function} {call.value} 0 {call.depth}
            for n in $(some $calls {call.most}); do
                attempt {call.function} {call.value} $n {call.depth}
                echo "$n $outcome"
            done
            {rest}
            dma_gone || {{ fail "DMA memory is lost"; }}
        """
        output = guest.check(f"{_SOME}{watch}\n{attempt}{loop}", 180)
        guest.check_healthy()
        report.append(f"{call.function} {' '.join(output.split())}")
    print(f"{sum(line.count(' ') // 2 for line in report)} failures of {len(report)} functions")


# some CALLS MOST: the numbers of the calls to fail.
_SOME = """
some() {
    local n step=$((($1 - $2) / 3 + 1))
    for ((n = 1; n <= $1; n += n < $2 ? 1 : step)); do echo $n; done
}
"""

_PROBE = """
attempt() {
    failing "$@" fbnic_bind
    if [ $fired = 0 ]; then
        near_if >/dev/null || fail "after $1 has failed, nothing works any more"
    elif [ $status != 0 ]; then
        outcome=failed
    elif near_if >/dev/null; then
        outcome=without
    else
        devlink dev info | grep -q 'driver fbnic' || fail "$* leaves neither interface nor devlink"
        outcome=devlink
    fi
    fbnic_unbind
    nothing_left || fail "$* leaves something behind"
}
fbnic_unbind
"""


@case(rows=(2, 3))
def probe_failures(guest: Guest) -> None:
    """Every call of the kernel that can fail in probe fails once: nothing is left, the next works."""
    guest.check("load_failcall && fbnic_unbind && nothing_left")
    _each(guest, PROBE, _PROBE, "watch_dma map", "true")
    guest.check("fbnic_bind && ready 1500")
    traffic.ping(guest, 56)


_OPEN = """
fbnic_bind
dev=$(near_if)
attempt() {
    failing "$@" ip link set $dev up 2>/dev/null
    outcome=failed
    [ $status = 0 ] && outcome=without
    [ $status = 0 ] || [ $fired = 1 ] || fail "after $1 has failed, nothing works any more"
    ip link set $dev down
    ! grep "$dev-" /proc/interrupts || fail "$* leaves an interrupt behind"
}
"""


@case(rows=(11, 13, 14))
def open_failures(guest: Guest) -> None:
    """Every call that can fail when the interface goes up fails once: it stays down, and goes up next."""
    guest.check("load_failcall && fbnic_unbind")
    _each(guest, OPEN, _OPEN, "watch_dma", "fbnic_unbind")
    guest.check("load_failcall && ready 1500")
    traffic.ping(guest, 56)


_CHANGE = """
fbnic_bind
ready 1500
dev=$(near_if)
rings() { ethtool -g $dev | sed 1,/Current/d; }
attempt() {
    local before=$(rings) size=512
    grep -q 'TX:.*512' <<<"$before" && size=1024
    failing "$@" ethtool -G $dev tx $size rx $size rx-mini 256 2>/dev/null
    outcome=failed
    [ $status = 0 ] && outcome=without
    [ $status = 0 ] || [ $fired = 1 ] || fail "after $1 has failed, nothing works any more"
    [ $status = 0 ] || [ "$before" = "$(rings)" ] || fail "$*: refused, but changed: $(rings)"
    ip link show $dev | grep -q 'state UP' || fail "$*: the interface is not up any more"
}
"""


_CHANGE_REST = "wait_for 10 ping -n -q -c 1 -W 1 $FAR4 || fail 'no packet passes'; fbnic_unbind"


@case(rows=(13, 14, 20))
def ring_change_failures(guest: Guest) -> None:
    """Every call that can fail in a change of the rings fails once: the old rings go on."""
    guest.check("load_failcall && fbnic_unbind")
    _each(guest, CHANGE, _CHANGE, "watch_dma", _CHANGE_REST)
    guest.check("load_failcall && ready 1500")
    traffic.ping(guest, 56)
