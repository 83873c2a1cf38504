# SPDX-License-Identifier: GPL-2.0
"""Shows the results: lines for the terminal, a page for the documentation."""

from .judge import Row
from .results import FAIL, PASS, SKIP, XFAIL, Outcome, Run


def line(program: str, driver: str, run: Run) -> str:
    """One line for a program that has just ended."""
    counts = ", ".join(
        f"{run.count(result)} {result}" for result in (PASS, FAIL, SKIP, XFAIL) if run.count(result)
    )
    return f"{driver:<5}{program:<32}{run.seconds:>6.1f} s  {counts}"


def cases(rows: list[Row]) -> str:
    """A table of cases for the terminal."""
    width = max((len(row.case) for row in rows), default=0) + 2
    lines, program = [], ""
    for row in rows:
        if row.program != program:
            program = row.program
            lines.append(f"\n{program:<{width + 2}}Rust           C")
        mark = "  <-- worse than C" if row.worse else "  <-- no longer waits" if row.stale else ""
        lines.append(
            f"  {row.case:<{width}}{_cell(row.rust):<15}{_cell(row.c):<15}{row.remark[:100]}{mark}".rstrip()
        )
    return "\n".join(lines).strip()


def page(rows: list[Row], rust: dict[str, Run], c: dict[str, Run]) -> str:
    """Documentation/selftests.md."""
    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0 -->",
        "",
        "# The kernel's own selftests",
        "",
        "Written by `make selftest`: `tools/testing/selftests/drivers/net` and `drivers/net/hw` of the kernel's",
        "source package, unmodified, on the emulated NIC, with the far end of the cable in a network namespace of",
        "its own. Two programs they call are not the real ones: `qemu-test/guest/tools` says how and why.",
        "",
        *_about(rust, c),
        "",
        "xfail: the test itself expects to fail on such a device. Seconds include what a program does between cases;",
        "those of a whole program include loading the driver before and unloading it afterwards.",
        "",
        *_totals(rows),
        "",
        "| program | Rust: pass | fail | skip, xfail | s | C: pass | fail | skip, xfail | s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_program(name, rust.get(name), c.get(name)) for name in {**rust, **c}),
        "",
        "| program | case | Rust | s | C | s | remark |",
        "|---|---|---|--:|---|--:|---|",
        *(_case(group) for group in _groups(rows)),
        "",
    ]
    return "\n".join(lines)


def _about(rust: dict[str, Run], c: dict[str, Run]) -> list[str]:
    """Commit and day of most programs, then of those that have run at another time."""
    ran: dict[str, dict[str, list[str]]] = {}
    for driver, runs in (("Rust", rust), ("C", c)):
        for name, run in runs.items():
            ran.setdefault(run.about, {}).setdefault(name, []).append(driver)
    most, *others = sorted(ran, key=lambda about: -len(ran[about])) or [""]
    drivers = 2 if rust and c else 1
    return [f"Run at {most}."] + [
        f"At {about}: "
        + ", ".join(name if len(by) == drivers else f"{name} with {by[0]}" for name, by in ran[about].items())
        + "."
        for about in others
    ]


def _totals(rows: list[Row]) -> list[str]:
    both = sum(_is(row.rust, PASS) and _is(row.c, PASS) for row in rows)
    waiting = sum(bool(row.wait) and _is(row.c, PASS) and not _is(row.rust, PASS) for row in rows)
    return [
        f"{len(rows)} cases: {both} pass with both drivers, "
        f"{sum(_is(row.rust, PASS) and not _is(row.c, PASS) for row in rows)} only with Rust, "
        f"{sum(_is(row.c, PASS) and not _is(row.rust, PASS) for row in rows)} only with C "
        f"({waiting} of these wait for a feature), "
        f"{sum(not _is(row.c, PASS) and not _is(row.rust, PASS) for row in rows)} with neither."
    ]


def _is(outcome: Outcome | None, result: str) -> bool:
    return outcome is not None and outcome.result == result


def _cell(outcome: Outcome | None) -> str:
    return f"{outcome.result:<5} {outcome.seconds:>5.1f} s" if outcome else "-"


def _program(name: str, rust: Run | None, c: Run | None) -> str:
    cells = []
    for run in (rust, c):
        if run:
            cells += [str(run.count(PASS)), str(run.count(FAIL)), str(run.count(SKIP, XFAIL)), f"{run.seconds:.0f}"]
        else:
            cells += ["-"] * 4
    return f"| {name} | {' | '.join(cells)} |"


def _case(group: list[Row]) -> str:
    """A line of the page for cases that share all but their names."""
    cells = []
    for outcomes in ([row.rust for row in group], [row.c for row in group]):
        ran = [outcome for outcome in outcomes if outcome]
        cells += [ran[0].result, f"{sum(o.seconds for o in ran):.1f}"] if ran else ["-", ""]
    remark = group[0].remark.replace("|", "\\|").replace("<", "&lt;")
    name = group[0].case if len(group) == 1 else f"{group[0].case} and {len(group) - 1} more"
    return f"| {group[0].program} | {name} | {' | '.join(cells)} | {remark[:300]} |"


def _groups(rows: list[Row]) -> list[list[Row]]:
    """Puts cases of a program together that neither driver passes, for one reason."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        results = tuple(o.result if o else "" for o in (row.rust, row.c))
        alike = row.remark and PASS not in results
        groups.setdefault((row.program, results, row.remark) if alike else row, []).append(row)
    return list(groups.values())
