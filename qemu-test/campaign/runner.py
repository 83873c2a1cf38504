# SPDX-License-Identifier: GPL-2.0
"""Runs sessions in guests: many in one boot, a new boot when the host did not survive."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import hostile
from harness.console import STALE_BREAKPOINT
from harness.faults import ControlError
from harness.vm import Guest, GuestError, Spec

from .findings import Finding, finding, findings
from .sessions import Session, session

# Sessions in one guest. Its log would grow too long to be searched otherwise.
BATCH = 200
# Seconds from one word about the progress to the next.
_SILENCE = 30
# Seconds that packets may stay away before the driver is loaded anew, and that an activity may take, which is
# longer than the kernel needs to complain of a task that hangs; a slow kernel's seconds are longer already.
# Longer waits, and what helps short of a new load, are in the tests that look at recovery alone.
_LIMITS, _LIMITS_SLOW = (2, 60), (0.4, 15)
# How often a guest may fail to boot, which no device under test has a part in, before that is an error.
_BOOTS = 3

# How a session ends: packets pass again without help; once the interface has been down; once the driver has been
# loaded anew; not even then, and the guest is given up; or the kernel has panicked or hangs.
ENDS = RECOVERED, RESTARTED, RELOADED, LOST, DIED = "recovered", "restarted", "reloaded", "lost", "died"


# Checks of the debug kernel that cost the most: lockdep alone runs a third of all instructions. Guests that run at
# once share them, see `run_together`; all others, KASAN first, are on in all guests.
LOCKDEP, KMEMLEAK = COSTLY = ("lockdep", "kmemleak")


@dataclass
class Verdict:
    """How the sessions of one driver ended."""

    driver: str
    ends: dict[int, str] = field(default_factory=dict)
    """How the session of each seed ended: one of ENDS."""
    seconds: float = 0
    found: dict[Finding, list[int]] = field(default_factory=dict)
    """Places of trouble with the seeds that led there."""
    watched: dict[str, set[int]] = field(default_factory=lambda: {check: set() for check in COSTLY})
    """The seeds whose session ran under each of the costly checks of a kernel that has them."""

    @property
    def sessions(self) -> int:
        """How many were run."""
        return len(self.ends)

    @property
    def clean(self) -> bool:
        """No input of the device did anything to the host."""
        return not self.found and not {LOST, DIED} & set(self.ends.values())

    def counts(self) -> dict[str, int]:
        """How many sessions ended in each way."""
        return {end: list(self.ends.values()).count(end) for end in ENDS}

    def lines(self, module: Path) -> list[str]:
        """A report for people. `module` is the driver with its debug information."""
        rate = self.sessions / self.seconds if self.seconds else 0
        counts = self.counts()
        ends = f"{counts[RECOVERED]} recovered by themselves, {counts[RESTARTED]} once the interface had been down, "
        report = [
            f"{self.driver}: {self.sessions} sessions, {rate:.2f} per second, {len(self.found)} findings, "
            f"{counts[DIED]} deaths of the host; {ends}{counts[RELOADED]} after a new load, {counts[LOST]} not at all"
        ]
        for trouble, seeds in self.found.items():
            shown = " ".join(map(str, seeds[:8])) + (" ..." if len(seeds) > 8 else "")
            places = " < ".join(trouble.places(module))
            report.append(f"  {trouble}\n    {places}\n    {len(seeds)} times: seeds {shown}")
        return report

    def add(self, other: "Verdict") -> None:
        """Adds what happened in another guest at the same time."""
        self.ends |= other.ends
        self.seconds = max(self.seconds, other.seconds)
        for trouble, seeds in other.found.items():
            self.found.setdefault(trouble, []).extend(seeds)
        for check, watched in other.watched.items():
            self.watched[check] |= watched


def run_together(
    spec: Spec,
    seeds: list[int],
    guests: int,
    seconds: float,
    say: Callable[[str], None],
    kept: Callable[[Verdict], None] = lambda _: None,
) -> Verdict:
    """Runs the sessions of `seeds` in several guests at once.

    The first one has all checks the kernel can do, the second all but kmemleak, the others neither that nor
    lockdep. Only the first one, whose kmemleak needs it too, notes who allocated and freed each object. Which
    session comes to which guest is left to chance.

    `kept` is given the verdict so far now and then, so that what was run is not lost with what is running.
    """
    rest = iter(seeds)
    campaigns = [
        Campaign(replace(spec, name=f"{spec.name}-{number}"), say, checks=COSTLY[: max(0, 3 - number)])
        for number in range(1, guests + 1)
    ]
    failures: list[Exception] = []

    def run(campaign: Campaign) -> None:
        try:
            campaign.run(rest, seconds)
        except Exception as error:  # An error that ends this thread alone would pass for a campaign that is over.
            failures.append(error)

    threads = [threading.Thread(target=run, args=(campaign,), daemon=True) for campaign in campaigns]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(1)
        if time.monotonic() - start > _SILENCE or not any(thread.is_alive() for thread in threads):
            start = time.monotonic()
            verdict = _sum(spec, campaigns)
            say(f"{verdict.sessions} of {len(seeds)} sessions in {verdict.seconds:.0f} s")
            kept(verdict)
    if failures:
        raise failures[0]
    return _sum(spec, campaigns)


def _sum(spec: Spec, campaigns: list["Campaign"]) -> Verdict:
    verdict = Verdict(spec.driver)
    for campaign in campaigns:
        verdict.add(campaign.verdict)
    return verdict


class Campaign:
    """The sessions of one driver."""

    def __init__(
        self,
        spec: Spec,
        say: Callable[[str], None] = print,
        guest: Guest | None = None,
        coverage: Callable[[str], None] | None = None,
        checks: tuple[str, ...] = COSTLY,
    ):
        """`guest` is one of the caller's, in which all sessions are to be run.

        `coverage` is given the console of each guest that was told to report what ran.
        `checks` are those of COSTLY that a kernel does which can.
        """
        self.verdict = Verdict(spec.driver)
        self._spec = spec if KMEMLEAK in checks else replace(spec, cmdline=f"{spec.cmdline} kmemleak=off")
        self._checks = checks if spec.kernel.name == "debug" else ()
        self._say = say
        self._borrowed = guest
        self._coverage = coverage
        self._guest: Guest | None = guest
        self._in_batch = 0

    def run(self, seeds: Iterator[int], seconds: float) -> Verdict:
        """Runs the sessions of `seeds`, as many as fit into the time."""
        start = time.monotonic()
        try:
            while time.monotonic() - start < seconds and (seed := next(seeds, None)) is not None:
                self._session(session(seed))
                self.verdict.seconds = time.monotonic() - start
            self._take_leave()
        finally:
            self._give_up()
        return self.verdict

    def __enter__(self) -> "Campaign":
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()

    def only(self, what: Session) -> Verdict:
        """What comes of one session alone."""
        self.verdict = Verdict(self._spec.driver)
        self._session(what)
        return self.verdict

    def _session(self, what: Session, again: bool = True) -> None:
        guest = self._ready()
        mark = len(guest.console.text())
        try:
            end = self._suffer(guest, what)
        except (GuestError, ControlError) as error:
            self._say(f"{what}: {str(error).splitlines()[0]}")
            end = DIED
            time.sleep(1)
        said = guest.console.text()[mark:]
        if end == DIED and again and STALE_BREAKPOINT in said:
            self._say("QEMU had run a breakpoint that was gone; once more")
            self._give_up()
            return self._session(what, again=False)
        for trouble in findings(said):
            self._found(trouble, what)
        self.verdict.ends[what.seed] = end
        for check in self._checks:
            self.verdict.watched[check].add(what.seed)
        if end in (LOST, DIED):
            # The next guest of this name begins a new log.
            name = f"fuzz-{self._spec.driver}-seed-{what.seed}.console"
            guest.console.path.with_name(name).write_text(guest.console.text())
            self._give_up()

    def _suffer(self, guest: Guest, what: Session) -> str:
        patience, longest = _LIMITS if guest.spec.kernel.slowness == 1 else _LIMITS_SLOW
        # What is on the console can be told apart later; asking the guest to say it costs as much as a ping.
        guest.console.note(f"session {what.seed}")
        for request in what.requests:
            guest.control(request)
        for activity in what.activities:
            hostile.work(guest, activity, longest)
        if hostile.recovers(guest, patience):
            return RECOVERED
        if hostile.restarts(guest, patience):
            return RESTARTED
        return RELOADED if hostile.reload(guest) else LOST

    def _found(self, trouble: Finding, what: Session) -> None:
        seeds = self.verdict.found.setdefault(trouble, [])
        if not seeds:
            self._say(f"{what}: {trouble}")
        seeds.append(what.seed)

    def _ready(self) -> Guest:
        """A guest whose driver works."""
        if self._guest and self._in_batch >= BATCH:
            self._take_leave()
            self._give_up()
        if not self._guest:
            if self._borrowed:
                raise GuestError("the guest was lost")
            self._guest = self._boot()
            self._in_batch = 0
        self._in_batch += 1
        return self._guest

    def _boot(self) -> Guest:
        for attempt in range(1, _BOOTS + 1):
            guest = Guest(self._spec)
            try:
                guest.start()
                if KMEMLEAK in self._checks:
                    guest.run("forget_leaks")
                self._spare(guest)
                hostile.prepare(guest)
                return guest
            except (GuestError, ControlError) as error:
                guest.stop()
                self._say(f"attempt {attempt} to boot: {str(error).splitlines()[0]}")
                if attempt == _BOOTS:
                    raise
            except BaseException:
                guest.stop()
                raise
        raise AssertionError("the last attempt returns or raises")

    def _spare(self, guest: Guest) -> None:
        """Switches off what costs too much to be on in all guests."""
        if self._spec.kernel.name != "debug":
            return
        for what, check in (("lockdep", LOCKDEP), ("stacks", KMEMLEAK)):
            if check not in self._checks:
                guest.check(
                    "[ -e /sys/module/failcall ] || insmod /guest/ko/failcall.ko; "
                    f"echo off >/sys/module/failcall/parameters/{what}"
                )

    def _take_leave(self) -> None:
        """The driver can be unloaded, and none of the memory is left that it had in the sessions of this guest."""
        guest = self._guest
        if not guest or self._borrowed or not self.verdict.ends:
            return
        last = session(max(self.verdict.ends))
        mark = len(guest.console.text())
        try:
            guest.disarm()
            guest.check("is_loaded || exit 0; unload_fbnic", 60)
            report = guest.run("no_leak", 60) if KMEMLEAK in self._checks else None
        except (GuestError, ControlError) as error:
            self._say(f"at the end of a guest: {error}")
            self._found(finding("the driver stays, after one of the sessions before", []), last)
            report = None
        if report and report.status:
            lines = report.output.partition("unreferenced object")[2].splitlines()
            self._found(finding("kmemleak, after one of the sessions before", lines), last)
        for trouble in findings(guest.console.text()[mark:]):
            self._found(trouble, last)

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
