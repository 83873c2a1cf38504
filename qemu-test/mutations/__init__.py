# SPDX-License-Identifier: GPL-2.0
"""Breaks the driver on purpose, to see that a test fails for each capability that is broken."""
