# SPDX-License-Identifier: GPL-2.0
"""The command qemu-test/boot: boot a guest, run commands in it, say what happened."""

import argparse
import os
import secrets
import signal
import sys
from pathlib import Path

from . import accel, kernels, paths
from .faults import ControlError
from .vm import Guest, GuestError, Spec

# Marks a command that is a request for the emulated NIC instead.
TO_EMULATOR = "emu:"

EPILOG = """\
Commands run one after the other, each in a bash that has read qemu-test/guest/lib.sh; a command
that is a file name of the host with a slash in it runs that file, and one that begins with "emu:"
goes to the control socket of fbnic-emu. The exit status is that of the
first command that failed, 3 when the console shows trouble, 4 when the guest dies or hangs.

The kernel is Debian's own; KERNEL=checked gives it all checks that it offers, and KERNEL=debug takes one
built with KASAN, UBSAN, lockdep and kmemleak, once `make KERNEL=debug` has prepared it. DRIVER= and ACCEL=
are what --driver and --accel are by default.

examples:
  qemu-test/boot --driver c load_fbnic cable_up 'ethtool -i "$(near_if)"' unload_fbnic
  qemu-test/boot --ko mine=/tmp/fbnic.ko --driver mine ./my-test.sh
  qemu-test/boot load_fbnic 'emu:arm {"fault": {"msix_lost": {}}}' 'cable_up 1500' emu:disarm
  qemu-test/boot --shell
"""


def main() -> int:
    """Entry point. Returns the exit status."""
    options = _parse()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(options.timeout)
    guest = Guest(_spec(options))
    try:
        with guest:
            status = _run(guest, options)
    except (GuestError, ControlError) as error:
        print(f"boot: {error}\n--- the console ended with:\n{guest.console.tail()}", file=sys.stderr)
        status = 4
    finally:
        if options.print_console:
            print(f"--- console\n{guest.console.text()}")
        if options.print_emulator:
            print(f"--- fbnic-emu\n{guest.log('emu')}")
    print(f"boot: status {status}, console in {guest.console.path}", file=sys.stderr)
    return status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qemu-test/boot",
        description="Boots a kernel with the emulated NIC and runs commands in the guest.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", nargs="*", help="bash to run in the guest, or the path of a script")
    add("--driver", default=os.environ.get("DRIVER", "rust"), help="module for load_fbnic")
    add("--ko", action="append", default=[], metavar="NAME=PATH", help="a module by another name")
    add("--emu", type=Path, default=paths.EMULATOR, help="the fbnic-emu to run")
    add("--emu-arg", action="append", default=[], metavar="ARG", help="one more argument for it")
    add("--no-nic", action="store_true", help="no emulated NIC, only the far end")
    add("--file", action="append", default=[], type=Path, help="copy a file to /guest/files")
    add("--name", default=f"boot-{secrets.token_hex(3)}", help="name of the logs in build/logs")
    add("--console", type=Path, help="write the console to this file instead")
    add("--append", default="", help="more words for the kernel command line")
    add("--accel", default=os.environ.get("ACCEL", "tcg"), help="tcg (default), kvm or auto")
    add("--qemu-arg", action="append", default=[], metavar="ARG", help="one more argument for QEMU")
    add("--tap", action="store_true", help="give the cable a third end, as the tests do")
    add("--cpus", type=int, default=2)
    add("--timeout", type=int, default=300, help="seconds for all of it (default 300)")
    add("--shell", action="store_true", help="after the commands, a shell on this terminal")
    add("--print-console", action="store_true", help="print the console log at the end")
    add("--print-emulator", action="store_true", help="print what fbnic-emu said at the end")
    return parser.parse_args()


def _spec(options: argparse.Namespace) -> Spec:
    modules = dict(kernels.chosen().modules)
    for pair in options.ko:
        name, _, path = pair.rpartition("=")
        modules[name or "rust"] = Path(path)
        if not Path(path).exists():
            raise SystemExit(f"boot: --ko {pair}: there is no {path}")
    if options.driver not in modules:
        raise SystemExit(f"boot: --driver {options.driver}: use one of {', '.join(modules)}, or name it with --ko")
    return Spec(
        name=options.name,
        driver=options.driver,
        modules=modules,
        emulator=None if options.no_nic else options.emu,
        emulator_args=options.emu_arg,
        files=options.file,
        console=options.console.absolute() if options.console else None,
        accel=accel.choose(options.accel),
        cpus=options.cpus,
        tap=options.tap,
        cmdline=options.append,
        qemu_args=options.qemu_arg,
    )


def _run(guest: Guest, options: argparse.Namespace) -> int:
    status = 0
    for command in options.command:
        text = Path(command).read_text() if _is_script(command) else command
        print(f"# {command.strip()}", flush=True)
        if command.startswith(TO_EMULATOR):
            print(guest.control(command.removeprefix(TO_EMULATOR)), flush=True)
            continue
        result = guest.run(text, options.timeout)
        print(result.output.rstrip("\n"), flush=True)
        if result.status:
            print(f"boot: status {result.status} from: {command.strip()}", file=sys.stderr)
            status = result.status
            break
    if options.shell:
        signal.alarm(0)
        assert guest.agent is not None
        guest.agent.shell()
    trouble = guest.console.trouble()
    if trouble:
        print("boot: the console shows trouble:", *trouble[:10], sep="\n  ", file=sys.stderr)
    return status or (3 if trouble else 0)


def _is_script(command: str) -> bool:
    # A one-line command that happens to have a slash can be longer than any file name.
    return "/" in command and len(command) < 4096 and "\n" not in command and os.path.isfile(command)


def _too_long(*_: object) -> None:
    raise GuestError("the time for all of it is over (--timeout)")


if __name__ == "__main__":
    sys.exit(main())
