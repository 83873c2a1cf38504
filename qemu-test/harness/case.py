# SPDX-License-Identifier: GPL-2.0
"""What a test in a guest is, and the list of all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from .vm import Guest

DRIVERS = ("rust", "c")


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


ALL: list[Case] = []


def case(
    drivers: tuple[str, ...] = DRIVERS,
    spoils: bool = False,
    allowed: tuple[str, ...] = (),
) -> Callable[[Callable[[Guest], None]], Callable[[Guest], None]]:
    """Makes a function a test. Its name and its docstring are what the report says."""

    def register(function: Callable[[Guest], None]) -> Callable[[Guest], None]:
        name = function.__name__.replace("_", "-")
        ALL.append(Case(name, function, drivers, spoils, allowed))
        return function

    return register


def same(what: str, got: object, want: object) -> None:
    """Fails unless two values are equal, and says which."""
    assert got == want, f"{what}: got {got!r}, want {want!r}"
