# SPDX-License-Identifier: GPL-2.0
"""Boots the guest with the emulated NIC and drives it from the host side."""
