# SPDX-License-Identifier: GPL-2.0
"""Commands on the host, and the project's own files, for the tests that need no guest."""

import os
import shutil
import subprocess
from pathlib import Path

from . import paths

_GENERATED = ("_generated.rs", "_layout.c", ".o", ".ko", ".cmd", ".rmeta", ".mod.c")
_ELSEWHERE = {"target", "build", ".git", "__pycache__"}
# Programs of their own beside the driver.
OTHERS = ("device-model/", "qemu-test/", "bench/")


def call(command: list[str], directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, with its output and its errors in one string."""
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def output_of(command: list[str], directory: Path) -> str:
    """Runs a command and returns its output, which is the reason when it fails."""
    result = call(command, directory)
    assert result.returncode == 0, "\n".join(result.stdout.splitlines()[-40:])
    return result.stdout


def tracked(*patterns: str) -> list[str]:
    """Files of the project, generated ones left out, by pattern of their path or name."""
    found = []
    for path in sorted(paths.PROJECT.rglob("*")):
        relative = path.relative_to(paths.PROJECT)
        generated = path.name.endswith(_GENERATED)
        if _ELSEWHERE & set(relative.parent.parts) or generated or not path.is_file():
            continue
        if any(relative.match(p) for p in patterns):
            found.append(str(relative))
    return found


def synchronise(copy: Path, *patterns: str) -> None:
    """Makes `copy` hold the driver's sources, and files named by their path, as they are now."""
    names = [
        name
        for name in tracked(*patterns)
        if name in patterns or not name.startswith(OTHERS)
    ]
    listing = copy / ".sources"
    if listing.exists() and listing.read_text().split("\n") != names:
        shutil.rmtree(copy)
    for name in names:
        source, target = paths.PROJECT / name, copy / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    listing.write_text("\n".join(names))
