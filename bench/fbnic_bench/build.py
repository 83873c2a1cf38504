# SPDX-License-Identifier: GPL-2.0
"""Builds what the bench needs beside the driver: the QEMU plugin and the guest's programs."""

import subprocess
from pathlib import Path

from harness import paths

BENCH = paths.PROJECT / "bench"
OUTPUT = paths.PROJECT / "build" / "bench"
PLUGIN = OUTPUT / "target" / "release" / "libtcg_count.so"
MARK, RR, XDP = (OUTPUT / name for name in ("bench-mark", "bench-rr", "bench-xdp"))


def build() -> None:
    """Brings all up to date; prints only when something goes wrong."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    manifest = BENCH / "tcg-count" / "Cargo.toml"
    _run(
        *("cargo", "build", "--quiet", "--release", "--locked"),
        *("--manifest-path", str(manifest), "--target-dir", str(OUTPUT / "target")),
    )
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s"]
    for program in (MARK, RR, XDP):
        source = BENCH / "mark" / f"{program.name}.c"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            _run("gcc-14", *flags, "-o", str(program), str(source))


def in_guest(program: Path) -> str:
    """Where the harness puts a file that it was told to bring along."""
    return f"/guest/files/{program.name}"


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=Path("/"))
    if done.returncode != 0:
        raise SystemExit(f"bench: {command[0]} failed, see above")
