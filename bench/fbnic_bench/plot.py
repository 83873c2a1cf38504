# SPDX-License-Identifier: GPL-2.0
"""Draws results as SVG for the documentation."""

import math
from html import escape

from . import curves, report
from .results import Results, median

COLOURS = {"rust": "#c1502e", "c": "#4a6fa5", "e1000e": "#7a9a5b", "igb": "#9a7ab0", "virtio": "#999"}
OTHER = "#666"

# Measures of the bars, in pixels.
LEFT, WIDTH, BAR, GAP, TOP = 190, 460, 14, 14, 60
# Measures of one panel of curves: plot area, and what lies around it for numbers and titles.
PANEL_W, PANEL_H, MARGIN_L, MARGIN_T, PITCH_X, PITCH_Y = 300, 150, 48, 80, 380, 225
COLUMNS = 2


def _document(width: float, height: float, title: str, body: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'font-family="sans-serif" font-size="11">\n'
        f"<!-- SPDX-License-Identifier: GPL-2.0 -->\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="10" y="20" font-size="13">{escape(title)}</text>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _legend(nics: list[str], left: float) -> str:
    return "".join(
        f'<rect x="{left + 90 * i}" y="36" width="12" height="12" fill="{COLOURS.get(n, OTHER)}"/>'
        f'<text x="{left + 90 * i + 17}" y="46">{escape(n)}</text>'
        for i, n in enumerate(nics)
    )


def _when(results: Results, part: str) -> str:
    taken = results.taken.get(part, f"{results.commit}, {results.date}")
    return f"{taken}, {results.kernel}"


def bars(results: Results) -> str:
    """Instructions per packet: a group of bars for each row, one for each driver."""
    nics = report.names(results.counted)
    groups = []
    for row, by_nic in results.counted.items():
        values = {n: by_nic[n].figures["instructions"] for n in nics if n in by_nic}
        groups.append((report.title(row), values))
    largest = max((max(v) for _, values in groups for v in values.values()), default=1)
    parts, y = [_legend(nics, LEFT)], TOP
    for title, values in groups:
        middle = y + len(values) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        for nic, samples in values.items():
            parts.append(_bar(y, samples, WIDTH / largest, COLOURS.get(nic, OTHER)))
            y += BAR
        y += GAP
    title = f"Driver instructions per packet, median with range: {_when(results, 'counted')}"
    return _document(LEFT + WIDTH + 70, y + 10, title, parts)


def _bar(y: float, samples: list[float], scale: float, colour: str) -> str:
    value = median(samples)
    low, high = LEFT + min(samples) * scale, LEFT + max(samples) * scale
    return (
        f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>'
        f'<path d="M{low:.1f} {y + BAR / 2 - 1}H{high:.1f}" stroke="#000"/>'
        f'<text x="{high + 5:.0f}" y="{y + BAR - 4}">{value:.0f}</text>'
    )


def lines(results: Results) -> str:
    """Instructions per packet along each curve: a panel for each, a line for each driver."""
    nics = sorted({n for points in results.curves.values() for n in report.names(points)})
    parts = [_legend(nics[::-1], MARGIN_L)]
    for index, (name, points) in enumerate(results.curves.items()):
        x = MARGIN_L + index % COLUMNS * PITCH_X
        y = MARGIN_T + index // COLUMNS * PITCH_Y
        parts.append(_panel(x, y, name, points))
    rows = math.ceil(len(results.curves) / COLUMNS)
    title = f"Driver instructions per packet, median with range: {_when(results, 'curves')}"
    return _document(COLUMNS * PITCH_X + 20, MARGIN_T + rows * PITCH_Y, title, parts)


def _panel(x: float, y: float, name: str, points: dict[str, dict[str, dict]]) -> str:
    """One curve with its axes: the value that changes to the right on a logarithmic scale,
    instructions upwards from 0."""
    known = curves.BY_NAME.get(name)
    title, axis = (known.title, known.axis) if known else (name, "")
    largest = max(
        max(figures["instructions"]) for by_nic in points.values() for figures in by_nic.values()
    )
    top = _round_up(largest)
    values = [int(point) for point in points]
    span = math.log(max(values) / min(values)) or 1
    places = {str(v): x + math.log(v / min(values)) / span * PANEL_W for v in values}
    parts = [_axes(x, y, title, axis, top, places)]
    for nic in report.names(points):
        along = [
            (places[point], by_nic[nic]["instructions"])
            for point, by_nic in points.items()
            if nic in by_nic
        ]
        parts.append(_line(along, y + PANEL_H, PANEL_H / top, COLOURS.get(nic, OTHER)))
    return "\n".join(parts)


def _axes(x: float, y: float, title: str, axis: str, top: float, places: dict[str, float]) -> str:
    parts = [
        f'<text x="{x}" y="{y - 8}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{x} {y}V{y + PANEL_H}H{x + PANEL_W}" fill="none" stroke="#000"/>',
    ]
    for step in range(1, 5):
        at = y + PANEL_H * (1 - step / 4)
        parts.append(
            f'<path d="M{x} {at:.1f}h{PANEL_W}" stroke="#ddd"/>'
            f'<text x="{x - 5}" y="{at + 4:.1f}" text-anchor="end">{top * step / 4:.0f}</text>'
        )
    for point, at in places.items():
        label = f'<text x="{at:.1f}" y="{y + PANEL_H + 15}" text-anchor="middle">{int(point):,}</text>'
        parts.append(label)
    unit = f'<text x="{x + PANEL_W}" y="{y + PANEL_H + 30}" text-anchor="end">{escape(axis)}</text>'
    return "\n".join([*parts, unit])


def _line(along: list[tuple[float, list[float]]], base: float, scale: float, colour: str) -> str:
    middle = " ".join(f"{at:.1f},{base - median(values) * scale:.1f}" for at, values in along)
    ranges = "".join(
        f"M{at:.1f} {base - min(values) * scale:.1f}V{base - max(values) * scale:.1f}"
        for at, values in along
    )
    return (
        f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<path d="{ranges}" stroke="{colour}"/>'
    )


def _round_up(value: float) -> float:
    """The next number of the form 1, 2, 4 or 8 times a power of ten that divides well by four."""
    power = 10 ** math.floor(math.log10(max(value, 1)))
    return next(power * n for n in (1, 2, 4, 8, 10, 20) if power * n >= value)
