# SPDX-License-Identifier: GPL-2.0
"""The campaign: hostile sessions made from seeds, the same for both drivers."""
