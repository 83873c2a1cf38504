# SPDX-License-Identifier: GPL-2.0
"""The tests that need no guest: unit tests, lints, and a kernel build without a word of warning."""

import re
import sys
import time
from pathlib import Path

from mutations import table as mutations

from . import circumstances, paths, status, treechecks
from .command import OTHERS, call, output_of, tracked
from .report import FAILED, PASSED, Report

WORKSPACES = {
    "device-model": paths.PROJECT / "device-model",
    "frames": paths.PROJECT / "qemu-test" / "frames",
    "unit": paths.PROJECT / "qemu-test" / "unit",
    "bench": paths.PROJECT / "bench" / "tcg-count",
}
# A search that finds fewer shell scripts has missed some.
_LEAST_SCRIPTS = 30
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
        ("kernel-build-no-warnings", treechecks.external_build),
        ("in-tree-build", treechecks.in_tree_build),
        ("kconfig-gates", treechecks.kconfig_gates),
        ("kernel-rustfmt", kernel_rustfmt),
        ("module-symbols-exist", module_symbols),
        ("spdx-headers", spdx_headers),
        ("shell-syntax", shell_syntax),
        ("bad-start-explained", circumstances.refused_in_time),
        ("bad-step-explained", circumstances.steps_explain),
        ("interrupted-step", circumstances.steps_interrupted),
        ("every-row-has-a-test", every_row_has_a_test),
        ("mutations-apply", mutations_apply),
        ("bench-evaluation", bench_evaluation),
        ("selftests-evaluation", selftests_evaluation),
        ("campaign-evaluation", campaign_evaluation),
        ("console-evaluation", console_evaluation),
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
            report.run(check, lambda command=command: output_of(command, directory))
    if report.wants(f"{name}-tests"):
        _cargo_test(report, name, directory)


def _cargo_test(report: Report, name: str, directory: Path) -> None:
    """Runs a workspace's tests and counts each of them."""
    begun = time.monotonic()
    command = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]
    result = call(command, directory, KERNEL_SRC=str(paths.PREFIX / "linux"))
    seconds = time.monotonic() - begun
    log = paths.LOGS / f"{name}-tests.log"
    log.write_text(result.stdout)
    outcomes = _outcomes(name, result.stdout)
    where = log.relative_to(paths.PROJECT)
    for test, outcome in outcomes.items():
        report.count(test, outcome, f"see {where}" if outcome == FAILED else "")
    bad = [test for test, outcome in outcomes.items() if outcome == FAILED]
    if result.returncode and not bad:
        tail = "\n".join(result.stdout.splitlines()[-30:])
        report.add(f"{name}-tests", FAILED, seconds, tail)
        return
    word = "FAIL" if bad else "ok  "
    good = len(outcomes) - len(bad)
    print(f"{word} {name}-tests: {good} of {len(outcomes)} ({seconds:.1f} s)", flush=True)
    for test in bad:
        print(f"     | {test}, see {where}", flush=True)


def _outcomes(workspace: str, output: str) -> dict[str, str]:
    """What cargo says about each test, by WORKSPACE/FILE::TEST; FILE tells tests apart in a table."""
    outcomes, file = {}, ""
    for line in output.splitlines():
        if running := _RUNNING.match(line):
            file = running[1] or running[2]
        elif (test := _RESULT.match(line)) and test[2] != "ignored":
            outcomes[f"{workspace}/{file}::{test[1]}"] = PASSED if test[2] == "ok" else FAILED
    return outcomes


def kernel_rustfmt() -> None:
    """The kernel's own formatting, on the driver's sources."""
    sources = [p for p in tracked("*.rs") if not p.startswith(OTHERS)]
    assert sources, "no source found"
    output_of(["rustfmt", "--check", "--edition", "2021", *sources], paths.PROJECT)


def module_symbols() -> None:
    """Every symbol of Rust that the module wants is one that the distribution's kernel exports."""
    exported = {
        line.split("\t")[1]
        for line in (paths.PREFIX / "kbuild" / "Module.symvers").read_text().splitlines()
    }
    wanted = output_of(["nm", "-u", "fbnic.ko"], paths.PROJECT).split()
    missing = [name for name in wanted if name.startswith("_R") and name not in exported]
    assert not missing, f"not exported: {missing[:5]}"


def spdx_headers() -> None:
    """Every source file names its licence in its first lines."""
    patterns = ("*.rs", "*.c", "*.h", "*.py", "*.sh", "Kbuild", "Makefile", "*.toml")
    bare = [
        name
        for name in tracked(*patterns)
        if "SPDX-License-Identifier: GPL-2.0" not in (paths.PROJECT / name).read_text()[:200]
    ]
    assert not bare, ", ".join(bare)


def shell_syntax() -> str:
    """The shell that is to run it can read each script."""
    scripts = {name: shell for name in tracked("*") if (shell := _shell_of(name))}
    assert len(scripts) >= _LEAST_SCRIPTS, f"only {len(scripts)} scripts found"
    for name, shell in scripts.items():
        output_of([shell, "-n", name], paths.PROJECT)
    return f"{len(scripts)} scripts"


def _shell_of(name: str) -> str:
    """Which shell runs a file, by its first line or, if it is only read by others, its name. Empty for none."""
    with (paths.PROJECT / name).open("rb") as file:
        first = file.readline(64).strip()
    if first in (b"#!/bin/sh", b"#!/bin/bash"):
        return first.decode().removeprefix("#!/bin/")
    return "bash" if name.endswith(".sh") else ""


def every_row_has_a_test() -> None:
    """No row of the table of what works is without a test of the Rust driver."""
    missing = status.rows_without_test()
    assert not missing, f"no test claims rows {missing}"


def mutations_apply() -> None:
    """Each mutation of `make mutate` still finds its text in the driver, exactly once, and its test."""
    rotten = mutations.rotten(paths.PROJECT)
    assert not rotten, "\n".join(rotten)


def bench_evaluation() -> str:
    """The bench turns counts into figures as it should."""
    return output_of([sys.executable, "-m", "unittest", "discover", "bench/tests"], paths.PROJECT)


def campaign_evaluation() -> str:
    """Seeds, findings and the ledger of a campaign are what they should be."""
    directory = "qemu-test/campaign/tests"
    return output_of([sys.executable, "-m", "unittest", "discover", directory], paths.PROJECT)


def console_evaluation() -> str:
    """Trouble on a guest's console is found, and what failed is told, with the reason."""
    return output_of([sys.executable, "-m", "unittest", "discover", "qemu-test/harness/tests"], paths.PROJECT)


def selftests_evaluation() -> str:
    """What the kernel's selftests print is read and judged as it should be."""
    directory = "qemu-test/selftests/tests"
    return output_of([sys.executable, "-m", "unittest", "discover", directory], paths.PROJECT)
