# SPDX-License-Identifier: GPL-2.0
"""Sizes of the modules, from their section headers."""

import subprocess
from pathlib import Path


def of_modules(modules: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Bytes of text and of data by driver, as `size` counts them."""
    found: dict[str, dict[str, float]] = {"module text, bytes": {}, "module data, bytes": {}}
    for name, path in modules.items():
        if path.exists():
            done = subprocess.run(["size", str(path)], capture_output=True, text=True, check=True)
            text, data, bss = (int(word) for word in done.stdout.splitlines()[1].split()[:3])
            found["module text, bytes"][name] = text
            found["module data, bytes"][name] = data + bss
    return found
