# SPDX-License-Identifier: GPL-2.0
"""The tests that run in a guest. Importing this package fills harness.case.ALL, in running order."""

from . import load, registers, traffic, integrity, ethtool, netdev, firmware, link, power, failures, absence, lifecycle, hostile, soak, allocations  # noqa: F401
