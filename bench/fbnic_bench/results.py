# SPDX-License-Identifier: GPL-2.0
"""Collects figures over the rounds of a bench, keeps them as JSON, compares two of them."""

import datetime
import json
import os
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness import paths

from .counting import Sample

# A counted figure of the Rust driver may be this much above the committed one.
TOLERANCE = 0.03
# Figures that depend on the driver's code alone, and so are worth a check.
CHECKED = ("instructions", "calls out of the driver")


@dataclass
class Counted:
    """All samples of one row and driver: a list of values, one per round, for each figure."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    functions: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)
    kernel: dict[str, list[float]] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Adds one round."""
        self.figures.setdefault("packets", []).append(sample.packets)
        for mine, new in (
            (self.figures, sample.figures),
            (self.functions, sample.functions),
            (self.calls, sample.calls),
            (self.kernel, sample.kernel),
        ):
            for name, value in new.items():
                mine.setdefault(name, []).append(value)


@dataclass
class Results:
    """Everything one bench has found."""

    commit: str
    date: str
    kernel: str
    qemu: str
    # By row, then by NIC.
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)
    # By row, then by NIC: one value per round.
    throughput: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # By curve, then by point (text, because JSON knows no other keys), NIC and figure.
    curves: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = field(default_factory=dict)
    # By name, then by NIC.
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)
    # What could not be measured, with the reason.
    missing: dict[str, str] = field(default_factory=dict)
    # Commit and date of each of `counted`, `curves` and `throughput`, which may be renewed alone.
    taken: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def new() -> "Results":
        """Empty results of now."""
        qemu = subprocess.run(
            ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True
        )
        return Results(
            commit=os.environ.get("BENCH_COMMIT", "unknown"),
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            kernel=paths.kernel_release(),
            qemu=qemu.stdout.splitlines()[0],
        )

    @staticmethod
    def load(path: Path) -> "Results":
        """Results that were saved before."""
        data = json.loads(path.read_text())
        rows = data.pop("counted")
        results = Results(**data)
        results.counted = {r: {n: Counted(**c) for n, c in nics.items()} for r, nics in rows.items()}
        return results

    def take_over(self, new: "Results") -> None:
        """Replaces what `new` has measured afresh. Commit and date become those of `new`."""
        for name in ("commit", "date", "kernel", "qemu"):
            setattr(self, name, getattr(new, name))
        for name in ("counted", "curves", "throughput", "sizes"):
            getattr(self, name).update(getattr(new, name))
            if getattr(new, name):
                self.taken[name] = f"{new.commit}, {new.date}"
        measured = {f"{row}, {nic}" for row, by_nic in new.counted.items() for nic in by_nic}
        kept = {what: why for what, why in self.missing.items() if what not in measured}
        self.missing = kept | new.missing

    def save(self, path: Path) -> None:
        """Writes them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded(asdict(self)), indent=1, sort_keys=False)
        # A list of numbers is easier to read, and to compare, on one line.
        text = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text)
        path.write_text(text + "\n")

    def count(self, row: str, nic: str, sample: Sample) -> None:
        """Adds one round of a counted row."""
        self.counted.setdefault(row, {}).setdefault(nic, Counted()).add(sample)

    def draw(self, curve: str, point: int, nic: str, figures: dict[str, float]) -> None:
        """Adds one round of a point of a curve."""
        at = self.curves.setdefault(curve, {}).setdefault(str(point), {}).setdefault(nic, {})
        for name, value in figures.items():
            at.setdefault(name, []).append(value)

    def time(self, row: str, nic: str, value: float) -> None:
        """Adds one round of a throughput row."""
        self.throughput.setdefault(row, {}).setdefault(nic, []).append(value)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value


def median(values: list[float]) -> float:
    """The median, 0 of nothing."""
    return statistics.median(values) if values else 0.0


def spread(values: list[float]) -> float:
    """Largest less smallest value, relative to the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def worse(new: Results, committed: Results, nic: str = "rust") -> list[tuple[str, str]]:
    """Rows in which a counted figure of `nic` has grown by more than the tolerance, and how.

    What a busy machine adds are polls that find little to do, so the least of several rounds counts.
    """
    found = []
    for row, nics in committed.counted.items():
        if nic in nics and (reason := new.missing.get(f"{row}, {nic}")):
            found.append((row, f"cannot be measured any more: {reason}"))
        if nic not in nics or nic not in new.counted.get(row, {}):
            continue
        for name in CHECKED:
            before = median(nics[nic].figures.get(name, []))
            now = min(new.counted[row][nic].figures.get(name, []), default=0.0)
            if before and now > before * (1 + TOLERANCE):
                found.append((row, f"{name} per packet {now:.1f}, committed {before:.1f}"))
    return found
