# SPDX-License-Identifier: GPL-2.0
"""The tests that run in a guest. Importing this package fills harness.case.ALL, in running order."""

from . import (  # noqa: F401
    load,
    registers,
    traffic,
    # Early, as they take longest: no other guest shall have to wait for the one that runs them.
    hostile,
    rxmeta,
    bursts,
    counters,
    integrity,
    receive,
    offload,
    segmentation,
    ethtool,
    netdev,
    queues,
    rss,
    ntuple,
    xdp,
    firmware,
    link,
    power,
    failures,
    cves,
    rings,
    absence,
    lifecycle,
    cables,
    soak,
    allocations,
)
