# SPDX-License-Identifier: GPL-2.0
"""The tests that run in a guest. Importing this package fills harness.case.ALL, in running order."""

from . import load, traffic, integrity, ethtool, netdev, power, failures, absence, lifecycle, soak, allocations  # noqa: F401
