# SPDX-License-Identifier: GPL-2.0
"""Builds what the bench needs beside the driver: the QEMU plugin and the guest's program."""

import subprocess
from pathlib import Path

from harness import paths

BENCH = paths.PROJECT / "bench"
OUTPUT = paths.PROJECT / "build" / "bench"
PLUGIN = OUTPUT / "target" / "release" / "libtcg_count.so"
MARK = OUTPUT / "bench-mark"


def build() -> None:
    """Brings both up to date; prints only when something goes wrong."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    manifest = BENCH / "tcg-count" / "Cargo.toml"
    _run(
        *("cargo", "build", "--quiet", "--release", "--locked"),
        *("--manifest-path", str(manifest), "--target-dir", str(OUTPUT / "target")),
    )
    source = BENCH / "mark" / "bench-mark.c"
    if not MARK.exists() or MARK.stat().st_mtime < source.stat().st_mtime:
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s"]
        _run("gcc-14", *flags, "-o", str(MARK), str(source))


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=Path("/"))
    if done.returncode != 0:
        raise SystemExit(f"bench: {command[0]} failed, see above")
