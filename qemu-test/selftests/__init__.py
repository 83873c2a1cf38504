# SPDX-License-Identifier: GPL-2.0
"""Runs tools/testing/selftests/drivers/net of the kernel in the guest, Rust beside C."""
