# SPDX-License-Identifier: GPL-2.0
"""The command `make run`: boot, load the driver, move packets, sum up, leave a shell."""

import os
import sys
import time

from . import accel, paths, traffic
from .vm import Guest, GuestError, Spec


def main() -> int:
    """Entry point. Returns the exit status."""
    driver = os.environ.get("DRIVER") or "rust"
    if driver not in paths.MODULES:
        print(f"DRIVER={driver}: use one of {', '.join(paths.MODULES)}", file=sys.stderr)
        return 2
    spec = Spec(name=f"run-{driver}", driver=driver, accel=accel.choose())
    guest = Guest(spec)
    try:
        _heading(f"Booting Linux {paths.kernel_release()} in QEMU ({spec.accel.upper()})")
        with guest:
            summary = _show(guest)
            _sum_up(guest, summary)
            _leave_a_shell(guest)
    except GuestError as error:
        kernel = f"\n\nlast lines of the kernel:\n{guest.console.tail(20)}" if guest.console.text() else ""
        print(f"\nerror: {error}{kernel}")
        print(f"\n(console: {guest.console.path}, fbnic-emu: {guest.console.path.with_suffix('.emu')})")
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    return 0


def _show(guest: Guest) -> dict[str, str]:
    """Every step of the demonstration. Returns the lines of the summary."""
    driver = {"rust": "fbnic, Rust", "c": "fbnic, upstream C"}[guest.spec.driver]
    summary = {"kernel": guest.check("uname -rv").strip(), "driver": driver}
    _heading("insmod fbnic.ko")
    mark = len(guest.console.text())
    guest.check("load_fbnic")
    print(guest.console.text()[mark:].strip())
    _heading("Link up, carrier, addresses")
    started = time.monotonic()
    print(guest.check("cable_up 1500; ip -br addr show dev $(near_if)").strip())
    summary["carrier"] = f"up after {time.monotonic() - started:.1f} s, {_speed(guest)}"
    _heading("ping")
    summary["ping"] = traffic.ping(guest, 56, 10)
    print(summary["ping"])
    _heading("iperf3, TCP, 4 s each way")
    for name, reverse in (("TCP out", False), ("TCP in", True)):
        result = traffic.iperf(guest, "", 4, reverse)
        summary[name] = f"{result.megabits:.0f} Mb/s, {result.retransmits} retransmits"
        print(f"{name}: {summary[name]}")
    for command in ("ethtool -i $(near_if)", "devlink dev info", "ip -s link show dev $(near_if)"):
        _heading(command.replace("$(near_if)", guest.check("near_if").strip()))
        print(guest.check(command).rstrip())
    guest.check_healthy()
    summary["console"] = "no warning, no error"
    return summary


def _speed(guest: Guest) -> str:
    speed = guest.run("cat /sys/class/net/$(near_if)/speed").output.strip()
    return f"{speed} Mb/s" if speed.isdigit() else "speed not reported"


def _sum_up(guest: Guest, summary: dict[str, str]) -> None:
    _heading("Summary")
    for key, value in summary.items():
        print(f"  {key:<9}{value}")
    print(f"  {'log':<9}{guest.console.path.relative_to(paths.PROJECT)}", flush=True)


def _leave_a_shell(guest: Guest) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    _heading("A shell in the guest; Ctrl-D powers off. `far COMMAND` runs at the far end")
    assert guest.agent is not None
    guest.agent.shell()


def _heading(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}==> {text}{plain}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
