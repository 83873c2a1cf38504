# SPDX-License-Identifier: GPL-2.0
"""Builds a copy of the driver with mutations and runs the tests that have to notice them.

A build and a boot take a minute, so mutations that different tests notice share one. What a failing
test says tells which of them it has met; where that leaves a doubt, a mutation is tried by itself.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import case, paths, treechecks
from harness.command import call, synchronise, tracked
from harness.suite import Session

from .table import Mutation

# OTHERWISE: a test has failed, but has not said what it was to say.
KILLED, OTHERWISE, SURVIVED, UNUSABLE = "killed", "OTHERWISE", "SURVIVED", "UNUSABLE"

_WORK = paths.PROJECT / "build" / "mutate"
_TREE = _WORK / "tree"
# The unit tests are compiled in the copy, with what they take from the emulated NIC.
_ALSO = ("device-model/", "qemu-test/unit/", "qemu-test/lib/", "qemu-test/build")
_MOST = 12


@dataclass(frozen=True)
class Verdict:
    """What became of a mutation."""

    mutation: Mutation
    outcome: str
    detail: str


class _Tolerant(Session):
    """Keeps a guest in which a test has failed, if the driver can be unloaded: a boot takes longer."""

    def failed(self, test: case.Case) -> None:
        """Cleans up, or ends the guest."""
        if test.machine:
            return super().failed(test)
        guest = self.guest
        tidy = "stop_traffic; for link in vl7 mv0; do ip link del $link; done; ! is_loaded || unload_fbnic"
        try:
            assert guest
            guest.disarm()
            guest.check(f"{{ {tidy}; }} >/dev/null 2>&1; ! is_loaded", 30)
            guest.check_healthy()
        except Exception:  # A guest that cannot even do this is of no use.
            self.close()


class Runner:
    """Tries mutations. `tell` gets a verdict as soon as it is known."""

    def __init__(self, accelerator: str, tell: Callable[[Verdict], None]):
        self.accelerator = accelerator
        self.tell = tell
        # The tests in the guest take the driver, and leave their logs, here.
        paths.LOGS = _WORK / "logs"
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        paths.MODULES["rust"] = _TREE / "fbnic.ko"

    def run(self, mutations: list[Mutation]) -> None:
        """Tries all of them, those first that need no guest."""
        for mutation in mutations:
            if not mutation.in_guest:
                self._try([mutation], _on_host)
        for batch in _batches([mutation for mutation in mutations if mutation.in_guest]):
            self._try(batch, self._in_guest)

    def _try(self, batch: list[Mutation], judge: Callable[[list[Mutation]], Iterable[Verdict]]) -> None:
        _fresh_tree()
        usable, doubtful = [], []
        for mutation in batch:
            try:
                mutation.apply(_TREE)
                usable.append(mutation)
            except ValueError as error:
                # Of several mutations another one may have changed the same text.
                if len(batch) > 1:
                    doubtful.append(mutation)
                else:
                    self.tell(Verdict(mutation, UNUSABLE, str(error)))
        for verdict in judge(usable) if usable else ():
            # Of several mutations it may have been another one.
            if len(usable) > 1 and verdict.outcome != KILLED:
                doubtful.append(verdict.mutation)
            else:
                self.tell(verdict)
        for mutation in doubtful:
            self._try([mutation], judge)

    def _in_guest(self, batch: list[Mutation]) -> Iterator[Verdict]:
        if failure := _build():
            yield from (Verdict(mutation, UNUSABLE, failure) for mutation in batch)
            return
        session = _Tolerant("rust", 0, self.accelerator)
        try:
            for mutation in batch:
                yield _judge(mutation, lambda m=mutation: session.run(_test(m)))
        finally:
            session.close()


def _test(mutation: Mutation) -> case.Case:
    return next(test for test in case.ALL if test.name == mutation.test)


def _batches(mutations: list[Mutation]) -> Iterator[list[Mutation]]:
    """Mutations that may share a build: no two have the same test."""
    rest = list(mutations)
    while rest:
        batch = [rest.pop(0)]
        for mutation in list(rest):
            crowded = batch[0].alone or mutation.alone or len(batch) == _MOST
            if not crowded and mutation.test not in {other.test for other in batch}:
                batch.append(mutation)
                rest.remove(mutation)
        yield batch


def _judge(mutation: Mutation, test: Callable[[], object]) -> Verdict:
    """Runs a test, which has to fail, and for the right reason."""
    try:
        test()
    except KeyboardInterrupt:
        raise
    except Exception as error:  # Whatever it is, the test has failed.
        said = str(error) or type(error).__name__
        if re.search(mutation.says, said, re.MULTILINE):
            return Verdict(mutation, KILLED, "")
        return Verdict(mutation, OTHERWISE, f"not {mutation.says!r}, but {said[-1500:]}")
    return Verdict(mutation, SURVIVED, f"{mutation.test} passes")


def _fresh_tree() -> None:
    """A copy of the sources as they are, in which only what has changed is compiled again."""
    also = [name for name in tracked("*") if name.startswith(_ALSO)]
    synchronise(_TREE, *treechecks.SOURCES, "Makefile", *also)


def _build() -> str:
    """Builds the module in the copy. Returns why that fails, or nothing."""
    command = ["make", "--no-print-directory", f"KDIR={treechecks.KBUILD}", f"CC={treechecks.CC}", "-j2"]
    (_TREE / "fbnic.ko").unlink(missing_ok=True)
    result = call(command, _TREE, MAKEFLAGS="")
    return "" if result.returncode == 0 else "does not build:\n" + "\n".join(result.stdout.splitlines()[-20:])


def _on_host(batch: list[Mutation]) -> list[Verdict]:
    (mutation,) = batch
    kind, _, name = mutation.test.partition("/")
    if kind == "tree":
        return [_judge(mutation, lambda: _tree_check(name))]
    return [_unit_test(mutation, name)]


def _unit_test(mutation: Mutation, name: str) -> Verdict:
    target = ["--lib"] if name == "lib" else ["--test", name]
    command = ["cargo", "test", "--quiet", "--locked", *target]
    result = call(command, _TREE / "qemu-test" / "unit", KERNEL_SRC=str(paths.PREFIX / "linux"))
    if "could not compile" in result.stdout:
        return Verdict(mutation, UNUSABLE, "does not compile:\n" + result.stdout[-1500:])

    def verdict() -> None:
        assert result.returncode == 0, result.stdout

    return _judge(mutation, verdict)


def _tree_check(name: str) -> None:
    with _project(_TREE):
        getattr(treechecks, name)()


@contextlib.contextmanager
def _project(tree: Path) -> Iterator[None]:
    """The checks of the tree look at another one."""
    before = paths.PROJECT
    paths.PROJECT = tree
    try:
        yield
    finally:
        paths.PROJECT = before
