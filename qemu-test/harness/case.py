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
    fresh: bool
    """Needs a guest of its own, and leaves it in a state no other test should meet."""
    reboots: bool
    """QEMU carries on when the guest resets; otherwise a reset ends it."""
    allowed: tuple[str, ...]
    """Console lines that are no trouble in this test: patterns."""


ALL: list[Case] = []


def case(
    drivers: tuple[str, ...] = DRIVERS,
    fresh: bool = False,
    reboots: bool = False,
    allowed: tuple[str, ...] = (),
) -> Callable[[Callable[[Guest], None]], Callable[[Guest], None]]:
    """Makes a function a test. Its name and its docstring are what the report says."""

    def register(function: Callable[[Guest], None]) -> Callable[[Guest], None]:
        name = function.__name__.replace("_", "-")
        ALL.append(Case(name, function, drivers, fresh or reboots, reboots, allowed))
        return function

    return register


def same(what: str, got: object, want: object) -> None:
    """Fails unless two values are equal, and says which."""
    assert got == want, f"{what}: got {got!r}, want {want!r}"
