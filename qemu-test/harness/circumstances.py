# SPDX-License-Identifier: GPL-2.0
"""Preparing under bad circumstances: one clear line says what to do, and the next try succeeds."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import paths
from .command import call

_SETUP = str(paths.PROJECT / "qemu-test" / "setup")
_ERROR = "error: "
# What a step of the set-up may print before it fails, and what the advice has to name.
_FAILURES = {
    "E: no-kernel: trixie-backports has no linux 7.3 for amd64": "newer checkout",
    "tar: ./usr/lib/x: Cannot write: No space left on device": "free some disk space",
    "Temporary failure resolving 'a.example'": "no network",
    "Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)": "no network",
    "newuidmap: uid range [1-65536) not allowed": "user namespaces",
}


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fbnic-bad-") as name:
        yield Path(name)


def _refused(what: str, command: list[str], says: str, **environment: str) -> None:
    """Fails unless the command ends with one error, which says the words, and advice below it."""
    result = call(command, paths.PROJECT, **environment)
    lines = result.stdout.splitlines()
    errors = [line for line in lines if line.startswith(_ERROR)]
    assert result.returncode == 1, f"{what}: status {result.returncode}: {result.stdout}"
    assert len(errors) == 1 and says in errors[0], f"{what}: {result.stdout}"
    assert lines[-1].startswith(" " * len(_ERROR)), f"{what}: no advice: {result.stdout}"


def refused_in_time() -> str:
    """What would stop a first run is said before anything is fetched, and leaves nothing in the way."""
    setup = [_SETUP]
    with _scratch() as scratch:
        cache = scratch / "cache"
        for program in ("flock", "perl", "apt-get"):
            environment = {"PATH": str(_programs_without(program, scratch)), "FBNIC_CACHE": str(cache)}
            _refused(f"no {program}", setup, f"missing on this machine: {program}", **environment)
        _refused("no home", ["env", "-u", "HOME", "-u", "FBNIC_CACHE", _SETUP], "neither HOME nor FBNIC_CACHE")
        _refused("a space in the path", setup, "space", FBNIC_CACHE=str(scratch / "a cache"))
        _refused("the cache in the tree", setup, "inside the source tree", FBNIC_CACHE="build/cache")
        mount = "mount -t tmpfs -o size=64M none {0} && mkdir -p {0}/v1 && {1} exec {2}"
        for what, before, says in (
            ("a small disk", "", "has 0 GB free"),
            ("a read-only disk", "mount -o remount,ro {0} &&", "cannot write to"),
        ):
            script = mount.format(scratch, before.format(scratch), _SETUP)
            _refused(what, ["unshare", "--mount", "bash", "-c", script], says, FBNIC_CACHE=str(scratch))
        powerless = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", _SETUP]
        _refused("no namespaces", powerless, "may not create namespaces", FBNIC_CACHE=str(cache))
        left = [str(path.relative_to(cache)) for path in cache.rglob("*")]
        assert set(left) <= {"v1", "v1/lock"}, f"left behind: {left}"
    return "9 circumstances"


def _programs_without(name: str, scratch: Path) -> Path:
    """A folder with all programs there are, except one."""
    directory = scratch / f"without-{name}"
    directory.mkdir()
    for folder in ("/usr/sbin", "/usr/bin"):
        for program in Path(folder).iterdir():
            link = directory / program.name
            if program.name != name and not link.is_symlink():
                link.symlink_to(program)
    return directory


# Runs one step, "work", whose command is the first argument.
_STEP = """
. qemu-test/lib/common.sh
. qemu-test/lib/steps.sh
run_step work key 5 'Doing the work' bash -c "$1"
"""


def _step(command: str) -> list[str]:
    return ["bash", "-c", _STEP, "bash", command]


def steps_explain() -> str:
    """A step that fails says why and what to do, is not taken for complete, and succeeds next time."""
    with _scratch() as cache:
        for words, advice in _FAILURES.items():
            result = call(_step(f'echo "{words}"; exit 3'), paths.PROJECT, FBNIC_CACHE=str(cache))
            lines = result.stdout.splitlines()
            assert result.returncode == 1, f"{words}: status {result.returncode}"
            assert f"{_ERROR}Doing the work failed" in lines, result.stdout
            assert any(advice in line for line in lines[lines.index(f"{_ERROR}Doing the work failed") :]), result.stdout
        mark = cache / "mark"
        for _ in range(2):
            result = call(_step(f"echo >>{mark}"), paths.PROJECT, FBNIC_CACHE=str(cache))
            assert result.returncode == 0, result.stdout
        assert mark.read_text() == "\n", "a complete step was done again"
    return f"{len(_FAILURES)} reasons"


def steps_interrupted() -> None:
    """A step that is interrupted ends with all it has started, and is done anew the next time."""
    with _scratch() as cache:
        mark = cache / "mark"
        # Its first half is there, and the process that does the second half is a grandchild.
        work = f"echo half >{mark}; sleep 1000 & wait"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            mark.unlink(missing_ok=True)
            process = _start(_step(work), cache)
            _wait(lambda: mark.exists() and _sleepers(cache))
            process.send_signal(number)
            output, _ = process.communicate(timeout=20)
            assert process.returncode == 130, f"signal {number}: status {process.returncode}: {output}"
            assert "interrupted" in output, output
            assert not _sleepers(cache), "a process of the step is left"
        result = call(_step(f"echo whole >{mark}"), paths.PROJECT, FBNIC_CACHE=str(cache))
        assert result.returncode == 0 and mark.read_text() == "whole\n", result.stdout


def _start(command: list[str], cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=paths.PROJECT,
        env={**os.environ, "FBNIC_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As under a terminal; the group is its own.
        preexec_fn=_ignore_nothing,
        start_new_session=True,
    )


def _ignore_nothing() -> None:
    # What nohup, or a shell that puts the tests in the background, lets be ignored would stay so.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _sleepers(cache: Path) -> list[int]:
    """Processes that have the cache in their environment and are a sleep for ever."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"sleep", b"1000"] and str(cache).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def _wait(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.02)
