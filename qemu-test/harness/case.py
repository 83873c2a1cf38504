# SPDX-License-Identifier: GPL-2.0
"""What a test in a guest is, and the list of all of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from . import kernels
from .vm import Guest

DRIVERS = ("rust", "c")
# FILE:LINE in the kernel's source, and a sentence.
_C_BUG = re.compile(r"drivers/\S+\.[ch]:\d+ \S")


@dataclass(frozen=True)
class Case:
    """One test. `function` raises GuestError or AssertionError when it fails."""

    name: str
    function: Callable[[Guest], None]
    drivers: tuple[str, ...]
    spoils: bool
    """Leaves the guest in a state that no other test should meet."""
    allowed: tuple[str, ...]
    """Console lines that are no trouble in this test: patterns."""
    rows: tuple[int, ...]
    """The rows of Documentation/status.md that this test is evidence for."""
    c_bug: str
    """Why the upstream driver fails this test by a fault of its own: FILE:LINE and what is wrong."""
    kernels: tuple[str, ...]
    """The kernels it can run on."""
    machine: Callable[[str, str], Guest] | None
    """Makes the guest it wants instead of the usual one, for a driver and an accelerator. Tests in a
    row that want the same share it."""


ALL: list[Case] = []


def case(
    drivers: tuple[str, ...] = DRIVERS,
    spoils: bool = False,
    allowed: tuple[str, ...] = (),
    rows: tuple[int, ...] = (),
    c_bug: str = "",
    kernels: tuple[str, ...] = kernels.NAMES,
    machine: Callable[[str, str], Guest] | None = None,
) -> Callable[[Callable[[Guest], None]], Callable[[Guest], None]]:
    """Makes a function a test. Its name and its docstring are what the report says.

    With `c_bug` the test has to fail with the upstream driver: it is run all the same, its failure
    counts as explained, and a success fails the run, because the explanation is then wrong.
    """
    assert not c_bug or _C_BUG.match(c_bug), f"c_bug names no line of the C driver: {c_bug}"

    def register(function: Callable[[Guest], None]) -> Callable[[Guest], None]:
        name = function.__name__.replace("_", "-")
        ALL.append(Case(name, function, drivers, spoils, allowed, rows, c_bug, kernels, machine))
        return function

    return register


def same(what: str, got: object, want: object) -> None:
    """Fails unless two values are equal, and says which."""
    assert got == want, f"{what}: got {got!r}, want {want!r}"
