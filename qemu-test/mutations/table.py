# SPDX-License-Identifier: GPL-2.0
"""The mutations, as the files *.toml beside this one list them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness import case

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

    def apply(self, tree: Path) -> None:
        """Breaks the copy of the driver in `tree`. Raises ValueError when it no longer can."""
        if self.in_guest and self.test not in {test.name for test in case.ALL}:
            raise ValueError(f"there is no test {self.test} any more")
        path = tree / self.file
        text = path.read_text() if path.exists() else ""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"does not apply any more: its text is {found} times in {self.file}")
        path.write_text(text.replace(self.old, self.new))


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
