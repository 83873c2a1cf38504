# SPDX-License-Identifier: GPL-2.0
"""The tests that run in a guest. Importing this package fills harness.case.ALL, in running order."""

from . import (  # noqa: F401
    load,
    registers,
    traffic,
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
    firmware,
    link,
    power,
    failures,
    absence,
    lifecycle,
    cables,
    hostile,
    soak,
    allocations,
)
