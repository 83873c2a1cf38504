# SPDX-License-Identifier: GPL-2.0
"""The tests that need no guest: unit tests, lints, and a kernel build without a word of warning."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import paths
from .report import FAILED, PASSED, Report

WORKSPACES = {
    "device-model": paths.PROJECT / "device-model",
    "frames": paths.PROJECT / "qemu-test" / "frames",
    "unit": paths.PROJECT / "qemu-test" / "unit",
    "bench": paths.PROJECT / "bench" / "tcg-count",
}
GENERATED = ("_generated.rs", "_layout.c", ".o", ".ko", ".cmd", ".rmeta", ".mod.c")
# A line of `cargo test` that names the program, or the crate with documentation, whose tests follow.
_RUNNING = re.compile(r"\s+(?:Running .*/(\w+)-[0-9a-f]+\)|(Doc-tests \w+))$")
_RESULT = re.compile(r"test (.+?)(?: - should panic.*)? \.\.\. (ok|FAILED|ignored)")


def run(report: Report) -> None:
    """Runs all of them."""
    report.heading("Tests on the host")
    for name, directory in WORKSPACES.items():
        if (directory / "Cargo.toml").exists():
            _workspace(report, name, directory)
    for name, function in (
        ("kernel-build-no-warnings", kernel_build),
        ("kernel-rustfmt", kernel_rustfmt),
        ("module-symbols-exist", module_symbols),
        ("spdx-headers", spdx_headers),
        ("shell-syntax", shell_syntax),
        ("bench-evaluation", bench_evaluation),
        ("selftests-evaluation", selftests_evaluation),
    ):
        if report.wants(name):
            report.run(name, function)


def _workspace(report: Report, name: str, directory: Path) -> None:
    checks = {
        f"{name}-rustfmt": ["cargo", "fmt", "--all", "--check"],
        f"{name}-clippy": ["cargo", "clippy", "-q", "--locked", "--workspace", "--all-targets"]
        + ["--", "-D", "warnings"],
    }
    for check, command in checks.items():
        if report.wants(check):
            report.run(check, lambda command=command: _command(command, directory))
    if report.wants(f"{name}-tests"):
        _cargo_test(report, name, directory)


def _cargo_test(report: Report, name: str, directory: Path) -> None:
    """Runs a workspace's tests and counts each of them."""
    begun = time.monotonic()
    command = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]
    result = _call(command, directory, KERNEL_SRC=str(paths.PREFIX / "linux"))
    seconds = time.monotonic() - begun
    log = paths.LOGS / f"{name}-tests.log"
    log.write_text(result.stdout)
    outcomes = _outcomes(name, result.stdout)
    report.outcomes |= outcomes
    bad = [test for test, outcome in outcomes.items() if outcome == FAILED]
    if result.returncode and not bad:
        tail = "\n".join(result.stdout.splitlines()[-30:])
        report.add(f"{name}-tests", FAILED, seconds, tail)
        return
    word = "FAIL" if bad else "ok  "
    good = len(outcomes) - len(bad)
    print(f"{word} {name}-tests: {good} of {len(outcomes)} ({seconds:.1f} s)", flush=True)
    for test in bad:
        print(f"     | {test}, see {log.relative_to(paths.PROJECT)}", flush=True)


def _outcomes(workspace: str, output: str) -> dict[str, str]:
    """What cargo says about each test, by WORKSPACE/FILE::TEST; FILE tells tests apart in a table."""
    outcomes, file = {}, ""
    for line in output.splitlines():
        if running := _RUNNING.match(line):
            file = running[1] or running[2]
        elif (test := _RESULT.match(line)) and test[2] != "ignored":
            outcomes[f"{workspace}/{file}::{test[1]}"] = PASSED if test[2] == "ok" else FAILED
    return outcomes


def kernel_build() -> None:
    """Compiles the module in a copy of its sources, and accepts no warning of any tool.

    A copy that compiled cleanly stays, so that a repeated run compiles only what has changed.
    """
    copy = paths.PROJECT / "build" / "module-check"
    _synchronise(copy)
    make = ["make", "--no-print-directory", "-C", str(paths.PREFIX / "kbuild"), f"M={copy}"]
    result = _call([*make, "CC=x86_64-linux-gnu-gcc-14", "-j2", "modules"], paths.PROJECT)
    (paths.LOGS / "kernel-build.log").write_text(result.stdout)
    lines = result.stdout.splitlines()
    warnings = [line for line in lines if re.search(r"warning|WARNING", line)]
    if result.returncode or warnings:
        shutil.rmtree(copy)
    assert result.returncode == 0, "\n".join(lines[-40:])
    assert not warnings, "\n".join(warnings)
    assert (copy / "fbnic.ko").exists(), "no fbnic.ko came out"


def _synchronise(copy: Path) -> None:
    """Makes `copy` hold the module's sources as they are now."""
    patterns = ("Kbuild", "Kconfig", "*.rs", "*.c", "*.h", "*.awk", "bindgen_parameters")
    elsewhere = ("device-model/", "qemu-test/", "bench/")
    names = [name for name in _tracked(*patterns) if not name.startswith(elsewhere)]
    listing = copy / ".sources"
    if listing.exists() and listing.read_text().split("\n") != names:
        shutil.rmtree(copy)
    for name in names:
        source, target = paths.PROJECT / name, copy / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    listing.write_text("\n".join(names))


def kernel_rustfmt() -> None:
    """The kernel's own formatting, on the driver's sources."""
    sources = [p for p in _tracked("*.rs") if not p.startswith(("device-model/", "qemu-test/", "bench/"))]
    assert sources, "no source found"
    _command(["rustfmt", "--check", "--edition", "2021", *sources], paths.PROJECT)


def module_symbols() -> None:
    """Every symbol of Rust that the module wants is one that the distribution's kernel exports."""
    exported = {
        line.split("\t")[1]
        for line in (paths.PREFIX / "kbuild" / "Module.symvers").read_text().splitlines()
    }
    wanted = _command(["nm", "-u", "fbnic.ko"], paths.PROJECT).split()
    missing = [name for name in wanted if name.startswith("_R") and name not in exported]
    assert not missing, f"not exported: {missing[:5]}"


def spdx_headers() -> None:
    """Every source file names its licence in its first lines."""
    patterns = ("*.rs", "*.c", "*.h", "*.py", "*.sh", "Kbuild", "Makefile", "*.toml")
    bare = [
        name
        for name in _tracked(*patterns)
        if "SPDX-License-Identifier: GPL-2.0" not in (paths.PROJECT / name).read_text()[:200]
    ]
    assert not bare, ", ".join(bare)


def shell_syntax() -> None:
    """bash can read every shell script."""
    for name in _tracked("qemu-test/*", "bench/*", ".ci/run"):
        first = (paths.PROJECT / name).read_bytes()[:64]
        if first.startswith(b"#!/bin/bash") or name.endswith(".sh"):
            _command(["bash", "-n", name], paths.PROJECT)


def bench_evaluation() -> str:
    """The bench turns counts into figures as it should."""
    return _command([sys.executable, "-m", "unittest", "discover", "bench/tests"], paths.PROJECT)


def selftests_evaluation() -> str:
    """What the kernel's selftests print is read and judged as it should be."""
    directory = "qemu-test/selftests/tests"
    return _command([sys.executable, "-m", "unittest", "discover", directory], paths.PROJECT)


def _tracked(*patterns: str) -> list[str]:
    """Files of the project, generated ones left out, by pattern of their path or name."""
    skip = {"target", "build", ".git", "__pycache__"}
    found = []
    for path in sorted(paths.PROJECT.rglob("*")):
        relative = path.relative_to(paths.PROJECT)
        generated = path.name.endswith(GENERATED)
        if skip & set(relative.parts) or generated or not path.is_file():
            continue
        if any(relative.match(p) for p in patterns):
            found.append(str(relative))
    return found


def _call(
    command: list[str], directory: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
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


def _command(command: list[str], directory: Path) -> str:
    """Runs a command and returns its output, which is the reason when it fails."""
    result = _call(command, directory)
    assert result.returncode == 0, "\n".join(result.stdout.splitlines()[-40:])
    return result.stdout
