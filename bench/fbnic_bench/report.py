# SPDX-License-Identifier: GPL-2.0
"""Shows results: tables for the terminal, a picture for the documentation."""

from html import escape

from . import throughput, workloads
from .counts import demangle
from .results import Counted, Results, median, spread

# Figures beside the instructions, in the order of the table.
FIGURES = (
    "calls out of the driver",
    "C helper calls",
    "polls",
    "interrupts",
    "instructions in all of the kernel",
)
COLOURS = {"rust": "#c1502e", "c": "#4a6fa5", "e1000e": "#7a9a5b", "igb": "#9a7ab0", "virtio": "#999"}


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


def _title(row: str) -> str:
    return workloads.BY_NAME[row].title if row in workloads.BY_NAME else row


def instructions(results: Results) -> str:
    """The main table: instructions of the driver per packet."""
    nics = _nics(results.counted)
    rows = []
    for row, by_nic in results.counted.items():
        cells = [_title(row)]
        for nic in nics:
            values = by_nic[nic].figures["instructions"] if nic in by_nic else []
            cells += [f"{median(values):.1f}", f"{spread(values):.1%}"] if values else ["-", "-"]
        cells.append(_ratio(by_nic, "instructions"))
        rows.append(cells)
    head = ["driver instructions per packet", *(x for n in nics for x in (n, "spread"))]
    return table([*head, "rust/c"], rows)


def others(results: Results) -> str:
    """Calls, polls, interrupts and what the emulator saw, per packet."""
    nics = _nics(results.counted)
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
            names = demangle(top)
            rows = [[_short(names[n]), f"{medians[n]:.2f}"] for n in top if medians[n] >= 0.005]
            if rows:
                parts.append(table([f"{row} {nic}: {what} per packet", ""], rows))
    return "\n\n".join(parts)


def rates(results: Results) -> str:
    """Throughput and its ratios to the C driver and to QEMU's NICs."""
    nics = _nics(results.throughput)
    rows = []
    for name, by_nic in results.throughput.items():
        cells = [throughput.TITLES.get(name, name)]
        for nic in nics:
            values = by_nic.get(nic, [])
            cells.append(f"{number(median(values))} ±{spread(values) / 2:.0%}" if values else "-")
        rows.append(cells + [_quotient(by_nic, "rust", nic) for nic in nics if nic != "rust"])
    return table(["throughput", *nics, *(f"rust/{n}" for n in nics if n != "rust")], rows)


def _quotient(by_nic: dict[str, list[float]], a: str, b: str) -> str:
    if a in by_nic and b in by_nic and median(by_nic[b]):
        return f"{median(by_nic[a]) / median(by_nic[b]):.2f}"
    return "-"


def _nics(rows: dict) -> list[str]:
    order = list(COLOURS)
    names = {nic for by_nic in rows.values() for nic in by_nic}
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))


def _ratio(by_nic: dict[str, Counted], figure: str) -> str:
    return _quotient({n: c.figures.get(figure, []) for n, c in by_nic.items()}, "rust", "c")


def _short(name: str) -> str:
    return name if len(name) <= 100 else name[:48] + " ... " + name[-46:]


def text(results: Results, functions: bool = True) -> str:
    """All tables."""
    parts = [f"{results.commit}, {results.date}, kernel {results.kernel}, {results.qemu}"]
    if results.counted:
        parts += [instructions(results), others(results)]
        if functions:
            parts += [by_function(results, row) for row in results.counted]
    if results.throughput:
        parts.append(rates(results))
    if results.sizes:
        nics = _nics(results.sizes)
        parts.append(
            table(
                ["sizes and times", *nics],
                [[n, *(number(v.get(k, 0)) for k in nics)] for n, v in results.sizes.items()],
            )
        )
    return "\n\n".join(parts)


def svg(results: Results) -> str:
    """Bars of the instructions per packet, one group per row."""
    nics = _nics(results.counted)
    groups = []
    for row, by_nic in results.counted.items():
        values = {n: by_nic[n].figures["instructions"] for n in nics if n in by_nic}
        groups.append((_title(row), values))
    left, width, bar, gap, top = 190, 460, 14, 14, 60
    largest = max((max(v) for _, values in groups for v in values.values()), default=1)
    parts, y = [], top
    for title, values in groups:
        middle = y + len(values) * bar / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        for nic, samples in values.items():
            value, scale = median(samples), width / largest
            low, high = left + min(samples) * scale, left + max(samples) * scale
            centre = y + bar / 2
            parts.append(
                f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="{bar - 2}" '
                f'fill="{COLOURS.get(nic, "#666")}"/>'
                f'<path d="M{low:.1f} {centre - 1}H{high:.1f}" stroke="#000"/>'
                f'<text x="{high + 5:.0f}" y="{y + bar - 4}">{value:.0f}</text>'
            )
            y += bar
        y += gap
    legend = "".join(
        f'<rect x="{left + 90 * i}" y="36" width="12" height="12" fill="{COLOURS.get(n, "#666")}"/>'
        f'<text x="{left + 90 * i + 17}" y="46">{escape(n)}</text>'
        for i, n in enumerate(nics)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y + 10}" '
        f'font-family="sans-serif" font-size="11">\n'
        f"<!-- SPDX-License-Identifier: GPL-2.0 -->\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="10" y="20" font-size="13">Driver instructions per packet, median with range: '
        f"{escape(results.commit)}, {escape(results.date)}, {escape(results.kernel)}</text>\n"
        f"{legend}\n" + "\n".join(parts) + "\n</svg>\n"
    )
