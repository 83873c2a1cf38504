# SPDX-License-Identifier: GPL-2.0
"""The smallest part of a session that still does harm.

A session has at most five parts, so all choices of them are tried, the smallest first: what is found is the
least, and no search is needed that could miss it.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.vm import Spec

from .runner import Campaign, Verdict
from .sessions import Session

# Times that each part is tried: much depends on which packet is under way when.
_TRIES = 2


def parts(what: Session) -> Iterator[Session]:
    """All sessions with something left out, the smallest first, and then the whole."""
    # The first request is the seed of what the device chooses.
    seed, *requests = what.requests
    units = [("requests", request) for request in requests] + [("activities", name) for name in what.activities]
    for size in range(1, len(units) + 1):
        for chosen in itertools.combinations(units, size):
            kept = {kind: tuple(unit for of, unit in chosen if of == kind) for kind in ("requests", "activities")}
            yield replace(what, requests=(seed, *kept["requests"]), activities=kept["activities"])


def shrink(spec: Spec, what: Session, say: Callable[[str], None]) -> tuple[Session, Verdict] | None:
    """The first of them after which there is a finding, with what was found; nothing when none has one."""
    with Campaign(spec, say) as campaign:
        for part in parts(what):
            for _ in range(_TRIES):
                say(f"trying {part}")
                verdict = campaign.only(part)
                if not verdict.clean:
                    return part, verdict
    return None
