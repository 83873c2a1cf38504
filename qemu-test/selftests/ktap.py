# SPDX-License-Identifier: GPL-2.0
"""Reads what a selftest prints: KTAP, or the lines of net/forwarding/lib.sh."""

import re
from dataclasses import dataclass, field, replace

from .results import FAIL, PASS, SKIP, XFAIL, Outcome

_KTAP = re.compile(r"(not )?ok \d+ ?(?:- )?([^#]*?)\s*(?:#\s*(.*))?$")
_FORWARDING = re.compile(r"(?:TEST: )(.*?)\s*\[\s*(OK|FAIL|SKIP|XFAIL)\s*\]")
_PLAN = re.compile(r"1\.\.(\d+)$")
_FORWARDING_WORDS = {"OK": PASS, "FAIL": FAIL, "SKIP": SKIP, "XFAIL": XFAIL}


@dataclass
class Output:
    """What was found in the output of one program."""

    cases: dict[str, Outcome] = field(default_factory=dict)
    planned: int | None = None
    remarks: list[str] = field(default_factory=list)
    """Lines that are no result, the newest last."""


def parse(text: str, program: str) -> Output:
    """Reads lines that begin with milliseconds (guest/selftest.sh puts them there)."""
    output = Output()
    begun, since = 0.0, []
    for line in text.splitlines():
        stamp, _, rest = line.partition(" ")
        if not stamp.isdigit():
            continue
        now = int(stamp) / 1000
        plan = _PLAN.match(rest)
        found = None if plan else _result(rest, program)
        if plan:
            output.planned, begun = int(plan[1]), now
        elif found:
            name, result, comment = found
            reason = "" if result == PASS else comment or explain(since)
            _add(output.cases, name, Outcome(result, reason, round(now - begun, 1)))
            begun, since = now, []
        elif rest.startswith("\t") and output.cases and not since:
            # net/forwarding/lib.sh tells the reason after the result.
            name, outcome = output.cases.popitem()
            output.cases[name] = replace(outcome, reason=outcome.reason or rest.strip())
        elif rest.strip():
            since.append(rest)
            output.remarks.append(rest)
    return output


def _result(line: str, program: str) -> tuple[str, str, str] | None:
    """Name, result and comment, if the line is the result of a case."""
    match = _KTAP.match(line)
    if match:
        comment = (match[3] or "").strip()
        word = comment.split(" ")[0].rstrip(":").upper()
        result = FAIL if match[1] else {"SKIP": SKIP, "XFAIL": XFAIL}.get(word, PASS)
        if result in (SKIP, XFAIL):
            comment = comment[len(word) :].strip(" :")
        name = match[2].strip().removeprefix(f"{program.rpartition('.')[0]}.")
        return name.removeprefix(f"{program}.") or program, result, comment
    match = _FORWARDING.match(line)
    if match:
        return match[1].strip(), _FORWARDING_WORDS[match[2]], ""
    return None


def _add(cases: dict[str, Outcome], name: str, outcome: Outcome) -> None:
    """Some programs give several cases one name; they get numbers."""
    unique, count = name, 1
    while unique in cases:
        count += 1
        unique = f"{name} ({count})"
    cases[unique] = outcome


def explain(lines: list[str]) -> str:
    """The line that tells best why a case has failed."""
    comments = [line.lstrip("# ").strip() for line in lines]
    for pattern in (r"Check failed", r"STDERR: .", r"Exception\| *\S*(?:Error|Exception|Ex|Failure)\b", r"error|Error|fail"):
        for line in reversed(comments):
            if re.search(pattern, line):
                return line.replace("Exception|", "").strip()
    return comments[-1] if comments else ""
