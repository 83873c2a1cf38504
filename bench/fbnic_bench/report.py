# SPDX-License-Identifier: GPL-2.0
"""Shows results as tables for the terminal."""

from . import curves, throughput, workloads
from .counts import demangle
from .results import Counted, Results, median, spread

# Figures beside the instructions, in the order of the table.
FIGURES = (
    "calls out of the driver",
    "C helper calls",
    "page_pool allocations",
    "page_pool fast path share",
    "page_pool slow path share",
    "MMIO reads",
    "MMIO writes",
    "mailbox writes",
    "doorbells",
    "polls",
    "interrupts",
    "interrupts sent",
)
# NICs in the order in which they are shown.
ORDER = ("rust", "c", "pair", "e1000e", "igb", "virtio")
# Those that are shown in relation to the pair of emulated NICs, whose cable is like theirs.
LIKE_PAIR = ("e1000e", "igb", "virtio")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as they need to be, the first one to the left."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * w for w in widths], *rows]:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """A figure with as many digits as it deserves."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def title(row: str) -> str:
    """What a counted row is called."""
    return workloads.BY_NAME[row].title if row in workloads.BY_NAME else row


def instructions(results: Results) -> str:
    """The main table: instructions of the driver per packet."""
    nics = names(results.counted)
    rows = []
    for row, by_nic in results.counted.items():
        cells = [title(row)]
        for nic in nics:
            values = by_nic[nic].figures["instructions"] if nic in by_nic else []
            cells += [f"{median(values):.1f}", f"{spread(values):.1%}"] if values else ["-", "-"]
        cells.append(_ratio(by_nic, "instructions"))
        rows.append(cells)
    head = ["driver instructions per packet", *(x for n in nics for x in (n, "spread"))]
    return table([*head, "rust/c"], rows)


def others(results: Results) -> str:
    """Calls, polls, interrupts and what the emulator saw, per packet."""
    nics = names(results.counted)
    rows = []
    for row, by_nic in results.counted.items():
        seen = {n for c in by_nic.values() for n in c.figures if n.startswith("emulator ")}
        for name in (*FIGURES, *sorted(seen)):
            values = [median(by_nic[n].figures.get(name, [])) if n in by_nic else 0 for n in nics]
            if any(v >= 0.0005 for v in values):
                rows.append([f"{row}: {name}", *(number(v) for v in values), _ratio(by_nic, name)])
    return table(["per packet", *nics, "rust/c"], rows)


def by_function(results: Results, row: str, limit: int = 14) -> str:
    """The functions of each driver on one row, and what they call outside."""
    parts = []
    for nic, counted in results.counted[row].items():
        for what, values in (("instructions", counted.functions), ("calls", counted.calls)):
            medians = {name: median(v) for name, v in values.items()}
            top = sorted(medians, key=medians.__getitem__, reverse=True)[:limit]
            readable = demangle(top)
            rows = [[_short(readable[n]), f"{medians[n]:.2f}"] for n in top if medians[n] >= 0.005]
            if rows:
                parts.append(table([f"{row} {nic}: {what} per packet", ""], rows))
    return "\n\n".join(parts)


def rates(results: Results) -> str:
    """Throughput, and the ratios to the C driver and to QEMU's NICs."""
    nics = names(results.throughput)
    ratios = [("rust", nic) for nic in nics if nic not in ("rust", "pair")]
    ratios += [("pair", nic) for nic in nics if nic in LIKE_PAIR and "pair" in nics]
    rows = []
    for name, by_nic in results.throughput.items():
        cells = [throughput.TITLES.get(name, name)]
        for nic in nics:
            values = by_nic.get(nic, [])
            cells.append(f"{number(median(values))} ±{spread(values) / 2:.0%}" if values else "-")
        rows.append(cells + [_paired(by_nic, a, b) for a, b in ratios])
    return table(["throughput", *nics, *(f"{a}/{b}" for a, b in ratios)], rows)


def _paired(by_nic: dict[str, list[float]], a: str, b: str) -> str:
    """Median of the ratios within each round, in which the machine was as busy for both."""
    values, others = by_nic.get(a, []), by_nic.get(b, [])
    if len(values) != len(others) or not all(others):
        return _quotient(by_nic, a, b)
    return f"{median([x / y for x, y in zip(values, others)]):.2f}" if values else "-"


def _quotient(by_nic: dict[str, list[float]], a: str, b: str) -> str:
    if a in by_nic and b in by_nic and median(by_nic[b]):
        return f"{median(by_nic[a]) / median(by_nic[b]):.2f}"
    return "-"


def names(rows: dict) -> list[str]:
    """The NICs that have a figure in some row."""
    found = {nic for by_nic in rows.values() for nic in by_nic}
    return sorted(found, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))


def _ratio(by_nic: dict[str, Counted], figure: str) -> str:
    return _quotient({n: c.figures.get(figure, []) for n, c in by_nic.items()}, "rust", "c")


def _short(name: str) -> str:
    return name if len(name) <= 100 else name[:48] + " ... " + name[-46:]


def curve(results: Results, name: str) -> str:
    """The points of one curve, each figure with its spread, and what the drivers have in relation."""
    points = results.curves[name]
    nics = names(points)
    figures = [
        figure
        for figure in points[next(iter(points))][nics[0]]
        if any(median(by_nic[n][figure]) >= 0.0005 for by_nic in points.values() for n in by_nic)
    ]
    rows = []
    for point, by_nic in points.items():
        for figure in figures:
            values = {nic: by_nic[nic].get(figure, []) for nic in nics if nic in by_nic}
            cells = [f"{number(median(v))} ±{spread(v) / 2:.0%}" for v in values.values()]
            rows.append([f"{point}: {figure}", *cells, _quotient(values, "rust", "c")])
    known = curves.BY_NAME.get(name)
    head = f"{known.title} ({known.axis})" if known else name
    return table([head, *nics, "rust/c"], rows)


def per_queue(results: Results) -> str:
    """Memory of one queue: what the most queues take more than one, by queue."""
    points = results.curves[curves.QUEUES.name]
    fewest, most = min(points, key=int), max(points, key=int)
    if fewest == most:
        return ""
    cells = {}
    for nic in names(points):
        low, high = (median(points[p][nic]["memory, bytes"]) for p in (fewest, most))
        cells[nic] = (high - low) / (int(most) - int(fewest))
    return table(["memory", *cells], [["bytes per queue", *(number(v) for v in cells.values())]])


def _constants(results: Results) -> str:
    nics = names(results.sizes)
    rows = [[n, *(number(v.get(k, 0)) for k in nics)] for n, v in results.sizes.items()]
    return table(["sizes", *nics], rows)


def text(results: Results, functions: bool = True) -> str:
    """All tables."""
    parts = [f"{results.commit}, {results.date}, kernel {results.kernel}, {results.qemu}"]
    parts += [f"{name}: taken at {when}" for name, when in results.taken.items()]
    if results.counted:
        parts += [instructions(results), others(results)]
        if functions:
            parts += [by_function(results, row) for row in results.counted]
    parts += [curve(results, name) for name in results.curves]
    if curves.QUEUES.name in results.curves:
        parts.append(per_queue(results))
    if results.throughput:
        parts.append(rates(results))
    if results.sizes:
        parts.append(_constants(results))
    if results.missing:
        rows = [[what, why] for what, why in results.missing.items()]
        parts.append(table(["not measured", "because"], rows))
    return "\n\n".join(part for part in parts if part)
