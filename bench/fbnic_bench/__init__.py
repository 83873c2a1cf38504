# SPDX-License-Identifier: GPL-2.0
"""Measures the Rust driver beside the C driver: instructions by function, and throughput."""
