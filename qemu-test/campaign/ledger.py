# SPDX-License-Identifier: GPL-2.0
"""What campaigns have run so far, kept with the sources: which seeds, on what, and what came of it."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from harness import paths
from harness.hostile import ACTIVITIES
from harness.vm import Spec

from .runner import COSTLY, DIED, ENDS, LOST, RECOVERED, RELOADED, RESTARTED, Verdict
from .sessions import session

LEDGER = paths.PROJECT / "Documentation" / "campaign.json"
# What people read of it: the page has one table with this head.
PAGE = paths.PROJECT / "Documentation" / "hardening.md"
_HEAD = (
    "| driver | sessions | hours | under lockdep | under kmemleak | recovered by itself | or after down and up "
    "| needed a new load | host died | findings |"
)
_RULE = "|---|" + "--:|" * 9
# Seeds of a finding that are kept.
_SHOWN = 20

Slice = dict[str, Any]


def generator() -> str:
    """Names the sessions that seeds stand for: another name, other sessions."""
    text = json.dumps([ACTIVITIES, [str(session(seed)) for seed in range(1, 1001)]])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(path: Path = LEDGER) -> list[Slice]:
    """All slices, the oldest first."""
    return json.loads(path.read_text()) if path.exists() else []


def next_seed(slices: list[Slice], driver: str, kernel: str) -> int:
    """The first seed that nobody has run yet on this driver and kernel with today's sessions."""
    name = generator()
    ends = [
        one["first"] + one["count"]
        for one in slices
        if (one["driver"], one["kernel"], one["generator"]) == (driver, kernel, name)
    ]
    return max(ends, default=1)


def run_of(verdict: Verdict, first: int) -> int:
    """How many seeds from `first` on were run without a gap: of several guests some are ahead."""
    count = 0
    while first + count in verdict.ends:
        count += 1
    return count


def slice_of(verdict: Verdict, spec: Spec, first: int) -> Slice:
    """What a campaign that began with the seed `first` has run without a gap."""
    end = first + run_of(verdict, first)
    kept = Verdict(verdict.driver, {seed: how for seed, how in verdict.ends.items() if seed < end}, verdict.seconds)
    head = {
        "driver": verdict.driver,
        "kernel": spec.kernel.name,
        "release": spec.kernel.release(),
        "commit": os.environ.get("CAMPAIGN_COMMIT", "unknown"),
        "generator": generator(),
        "first": first,
        "count": end - first,
        "seconds": round(verdict.seconds),
    }
    watched = {check: sum(seed < end for seed in seeds) for check, seeds in verdict.watched.items()}
    return head | watched | kept.counts() | {
        "findings": [
            {
                "times": len(seeds),
                "seeds": sorted(seeds)[:_SHOWN],
                "what": str(finding),
                "at": finding.places(spec.unstripped()),
            }
            for finding, seeds in verdict.found.items()
        ],
    }


def save(slices: list[Slice], path: Path = LEDGER) -> None:
    """Writes all of them; a slice is a line but for its findings, so that changes are easy to read."""
    path.write_text("[\n" + ",\n".join(_text(one) for one in slices) + "\n]\n")


def rows(slices: list[Slice], kernel: str = "debug") -> str:
    """The table of the page: sums by driver."""
    lines = [_HEAD, _RULE]
    for driver, name in (("rust", "Rust"), ("c", "C")):
        mine = [one for one in slices if (one["driver"], one["kernel"]) == (driver, kernel)]
        # Sessions that ended so were not told apart in the first slices.
        sums = {what: sum(one.get(what, 0) for one in mine) for what in ("count", "seconds", *COSTLY, *ENDS)}
        counts = (sums[what] for what in (*COSTLY, RECOVERED, RESTARTED, RELOADED, DIED))
        found = {f"{finding['what']} {finding['at']}" for one in mine for finding in one["findings"]}
        cells = [name, f"{sums['count']:,}", f"{sums['seconds'] / 3600:.1f}", *(f"{count:,}" for count in counts)]
        lines.append(f"| {' | '.join(cells)} | {len(found)} |")
    return "\n".join(lines)


def publish(slices: list[Slice], page: Path = PAGE) -> None:
    """Puts the sums into the page for people."""
    before, head, after = page.read_text().partition(_HEAD)
    if not head:
        raise ValueError(f"{page} has no table of the campaign")
    _, _, rest = after.partition("\n\n")
    page.write_text(f"{before}{rows(slices)}\n\n{rest}")


def _text(one: Slice) -> str:
    head = json.dumps({name: value for name, value in one.items() if name != "findings"})
    findings = ",".join(f"\n  {json.dumps(finding)}" for finding in one["findings"])
    return f' {head[:-1]}, "findings": [{findings}]}}'


def table(slices: list[Slice]) -> list[str]:
    """Sums by driver and kernel, and every finding with the times it was made."""
    lines = []
    for driver, kernel in sorted({(one["driver"], one["kernel"]) for one in slices}):
        mine = [one for one in slices if (one["driver"], one["kernel"]) == (driver, kernel)]
        total = Counter({name: sum(one[name] for one in mine) for name in ("count", "seconds", *COSTLY, DIED, LOST)})
        found: Counter[str] = Counter()
        for one in mine:
            for finding in one["findings"]:
                found[f"{finding['what']} {' < '.join(finding['at'])}"] += finding["times"]
        lines.append(
            f"{driver}, {kernel} kernel: {total['count']} sessions in {total['seconds'] / 3600:.1f} h "
            f"({', '.join(f'{total[check]} under {check}' for check in COSTLY)}), "
            f"{len(found)} findings, {total[DIED]} deaths of the host, {total[LOST]} links lost"
        )
        lines += [f"  {times:5} times  {what}" for what, times in found.most_common()]
    return lines
