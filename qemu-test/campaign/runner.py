# SPDX-License-Identifier: GPL-2.0
"""Runs sessions in guests: many in one boot, a new boot when the host did not survive."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness import hostile
from harness.faults import ControlError
from harness.vm import Guest, GuestError, Spec

from .findings import Finding, findings
from .sessions import Session, session

# Sessions in one guest. Its log would grow too long to be searched otherwise.
BATCH = 200
# Seconds from one word about the progress to the next.
_SILENCE = 30
# Seconds packets may stay away before the driver is loaded anew; a slow kernel's seconds are longer already.
# Longer waits are in the tests that look at recovery alone.
_PATIENCE, _PATIENCE_SLOW = 3, 1


@dataclass
class Verdict:
    """How the sessions of one driver ended."""

    driver: str
    sessions: int = 0
    seconds: float = 0
    recovered: int = 0
    """Packets passed again without help."""
    restarted: int = 0
    """They passed once the interface had been down."""
    reloaded: int = 0
    """They passed after the driver had been loaded anew."""
    lost: int = 0
    """They did not even then; the guest was given up."""
    deaths: int = 0
    """The kernel panicked or hung."""
    found: dict[Finding, list[int]] = field(default_factory=dict)
    """Places of trouble with the seeds that led there."""

    @property
    def clean(self) -> bool:
        """No input of the device did anything to the host."""
        return not self.found and not self.deaths and not self.lost

    def lines(self) -> list[str]:
        """A report for people."""
        rate = self.sessions / self.seconds if self.seconds else 0
        ends = f"{self.recovered} recovered by themselves, {self.restarted} after down and up, "
        ends += f"{self.reloaded} after a new load, {self.lost} not at all"
        report = [
            f"{self.driver}: {self.sessions} sessions, {rate:.2f} per second, {len(self.found)} findings, "
            f"{self.deaths} deaths of the host; {ends}"
        ]
        for finding, seeds in self.found.items():
            shown = " ".join(map(str, seeds[:8])) + (" ..." if len(seeds) > 8 else "")
            report.append(f"  {finding}\n    {len(seeds)} times: seeds {shown}")
        return report


class Campaign:
    """The sessions of one driver."""

    def __init__(
        self,
        spec: Spec,
        say: Callable[[str], None] = print,
        guest: Guest | None = None,
        coverage: Callable[[str], None] | None = None,
    ):
        """`guest` is one of the caller's, in which all sessions are to be run.

        `coverage` is given the console of each guest that was told to report what ran.
        """
        self.verdict = Verdict(spec.driver)
        self._spec = spec
        self._say = say
        self._borrowed = guest
        self._coverage = coverage
        self._guest: Guest | None = guest
        self._in_batch = 0

    def run(self, seeds: list[int], seconds: float) -> Verdict:
        """Runs the sessions of `seeds`, as many as fit into the time."""
        start = said = time.monotonic()
        try:
            for seed in seeds:
                if time.monotonic() - start > seconds:
                    break
                self._session(session(seed))
                self.verdict.sessions += 1
                self.verdict.seconds = time.monotonic() - start
                if time.monotonic() - said > _SILENCE:
                    said = time.monotonic()
                    self._say(f"{self.verdict.sessions} of {len(seeds)} sessions in {self.verdict.seconds:.0f} s")
        finally:
            self._give_up()
        return self.verdict

    def _session(self, what: Session) -> None:
        guest = self._ready()
        mark = len(guest.console.text())
        dead = False
        try:
            self._suffer(guest, what)
        except (GuestError, ControlError) as error:
            self._say(f"{what}: {str(error).splitlines()[0]}")
            dead = True
            time.sleep(1)
        self._judge(guest, what, mark, dead)

    def _suffer(self, guest: Guest, what: Session) -> None:
        guest.run(f"echo 'session {what.seed}' >/dev/kmsg", 20)
        for request in what.requests:
            guest.control(request)
        for activity in what.activities:
            hostile.work(guest, activity, 60)
        verdict = self.verdict
        patience = _PATIENCE if guest.spec.kernel.slowness == 1 else _PATIENCE_SLOW
        if hostile.recovers(guest, patience):
            verdict.recovered += 1
        elif hostile.restarts(guest, patience):
            verdict.restarted += 1
        elif hostile.reload(guest):
            verdict.reloaded += 1
        else:
            verdict.lost += 1
            raise GuestError("no packet passes even after a new load of the driver")

    def _judge(self, guest: Guest, what: Session, mark: int, dead: bool) -> None:
        for finding in findings(guest.console.text()[mark:]):
            seeds = self.verdict.found.setdefault(finding, [])
            if not seeds:
                self._say(f"{what}: {finding}")
            seeds.append(what.seed)
        if dead:
            self.verdict.deaths += 1
            self._give_up()

    def _ready(self) -> Guest:
        """A guest whose driver works."""
        if self._guest and self._in_batch >= BATCH:
            self._give_up()
        if not self._guest:
            if self._borrowed:
                raise GuestError("the guest was lost")
            self._guest = Guest(self._spec)
            self._guest.start()
            hostile.prepare(self._guest)
            self._in_batch = 0
        self._in_batch += 1
        return self._guest

    def _give_up(self) -> None:
        guest, self._guest = self._guest, None
        if not guest or self._borrowed:
            return
        if self._coverage:
            with contextlib.suppress(GuestError):
                guest.run("report_coverage")
        guest.stop()
        if self._coverage:
            self._coverage(guest.console.text())
