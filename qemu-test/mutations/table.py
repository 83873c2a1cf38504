# SPDX-License-Identifier: GPL-2.0
"""The mutations, as the files *.toml beside this one list them."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness import case, treechecks

_FIELDS = {"name", "row", "what", "file", "old", "new", "test", "says"}


@dataclass(frozen=True)
class Mutation:
    """One way to break the driver, and the test that has to notice."""

    name: str
    row: int
    """The row of Documentation/status.md whose capability is broken."""
    what: str
    """What is broken, in a sentence."""
    file: str
    old: str
    """Text of the file, in it exactly once."""
    new: str
    test: str
    """A test in the guest by its name, tree/NAME of harness.treechecks, or unit/FILE of qemu-test/unit."""
    says: str
    """A pattern in what the failing test says, so that no other fault passes for this one."""
    alone: bool = False
    """Nothing works any more, so that no other mutation can be tried in the same build."""

    @property
    def in_guest(self) -> bool:
        """Whether the test needs a guest."""
        return "/" not in self.test

    def check(self, tree: Path) -> str:
        """Returns the file's text as it is in `tree`. Raises ValueError when it can no longer be broken."""
        if not self._has_test(tree):
            raise ValueError(f"there is no test {self.test} any more")
        path = tree / self.file
        text = path.read_text() if path.exists() else ""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"does not apply any more: its text is {found} times in {self.file}")
        return text

    def apply(self, tree: Path) -> None:
        """Breaks the copy of the driver in `tree`. Raises ValueError when it no longer can."""
        text = self.check(tree)
        (tree / self.file).write_text(text.replace(self.old, self.new))

    def _has_test(self, tree: Path) -> bool:
        kind, _, name = self.test.partition("/")
        if kind == "tree":
            return hasattr(treechecks, name)
        if kind == "unit":
            return name == "lib" or (tree / "qemu-test" / "unit" / "tests" / f"{name}.rs").exists()
        return self.test in {test.name for test in case.ALL}


def rotten(tree: Path) -> list[str]:
    """What no longer fits the driver in `tree`: a line for each mutation that can no longer be tried."""
    found = []
    for mutation in load():
        try:
            mutation.check(tree)
            re.compile(mutation.says)
        except (ValueError, re.error) as error:
            found.append(f"{mutation.name}: {error}")
    return found


def load() -> list[Mutation]:
    """All mutations, by row."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["mutation"]:
            missing = _FIELDS - entry.keys()
            assert not missing, f"{path.name}: {entry.get('name')} lacks {', '.join(sorted(missing))}"
            found.append(Mutation(**entry))
    names = [mutation.name for mutation in found]
    assert len({*names}) == len(names), "two mutations have the same name"
    return sorted(found, key=lambda mutation: mutation.row)
