# SPDX-License-Identifier: GPL-2.0
"""One guest: the emulated NIC's process, QEMU, and the command channel into it."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import initramfs, kernels, paths, qmp
from .agent import Agent, AgentError, Result
from .console import Console
from .faults import Control
from .wire import Wire

# Where the far end of the cable sits; guest/lib.sh knows it as FAR_SLOT.
FAR_SLOT = 0x10


# Bytes on the console before init starts; a debug kernel prints a tenth of it.
_LONGEST_BOOT_LOG = 1 << 20


class GuestError(Exception):
    """The guest, QEMU or the emulated NIC ended or hung."""


@dataclass
class Spec:
    """What to boot. The defaults are a guest with the emulated NIC and a far end."""

    name: str = "guest"
    driver: str = "rust"
    kernel: kernels.Kernel = field(default_factory=kernels.chosen)
    modules: dict[str, Path] = field(default_factory=lambda: dict(kernels.chosen().modules))
    emulator: Path | None = paths.EMULATOR
    cable: str = ""
    """Where the NIC's cable leads, in the words of fbnic-emu; by default to the far end in the guest."""
    emulator_args: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    """More archives of files for the guest, besides the usual ones."""
    console: Path | None = None
    accel: str = "tcg"
    memory: str = ""
    """By default what the kernel needs."""
    cpus: int = 2
    boot_timeout: int = 120
    reboots: bool = False
    tap: bool = False
    """Gives the cable a third end for the host, see `Guest.wire`."""
    cmdline: str = ""
    qemu_args: list[str] = field(default_factory=list)

    def unstripped(self) -> Path:
        """The driver's module with its debug information, which lies next to one that was stripped for the guest."""
        return self.modules[self.driver].with_name("fbnic.ko")


class Guest(Control):
    """A running guest, to be used in a `with` statement, which leaves no process behind."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.console = Console(spec.console or paths.LOGS / f"{spec.name}.console")
        self.emulator: subprocess.Popen | None = None
        self.qemu: subprocess.Popen | None = None
        self.agent: Agent | None = None
        # The sandbox's own tmpfs, which ends with it: a run that is killed leaves no guest's files behind.
        self._directory = Path(tempfile.mkdtemp(prefix="fbnic-vm-", dir="/run"))
        self.control_path = self._directory / "control"
        self._logs: list = []

    def __enter__(self) -> "Guest":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything and waits until the guest takes commands."""
        self.console.path.parent.mkdir(parents=True, exist_ok=True)
        self.console.path.unlink(missing_ok=True)
        for kind in ("emu", "qemu"):
            self._log_path(kind).unlink(missing_ok=True)
        modules = self._modules()
        archives = [paths.BASE_INITRAMFS, *self.spec.kernel.archives, *self.spec.archives]
        try:
            initramfs.build(self._directory / "initrd", archives, modules, self.spec.files)
        except (OSError, initramfs.PackError) as error:
            size = sum(archive.stat().st_size for archive in archives) >> 20
            raise GuestError(f"{error}: the guest's files need {size + 50} MB free in {self._directory.parent}") from error
        self.start_emulator()
        self.start_qemu()

    def _modules(self) -> dict[str, Path]:
        """The modules for the guest. Of those that are not built only the driver under test is missed."""
        wanted = self.spec.modules.get(self.spec.driver)
        if wanted and not wanted.exists():
            raise GuestError(f"there is no {wanted}, the module of DRIVER={self.spec.driver}; run: make")
        return {name: path for name, path in self.spec.modules.items() if path.exists()}

    def start_qemu(self) -> None:
        """Boots the guest and waits until it takes commands."""
        try:
            self._boot()
        except GuestError:
            # Under TCG a kernel that patches itself may run into its own breakpoint, and with all its
            # processors starting it patches a lot. Nothing under test has run yet.
            if self.spec.accel != "tcg":
                raise
            self.stop_qemu()
            self.console.accept()
            self._boot()

    def _boot(self) -> None:
        most = self.console.size() + _LONGEST_BOOT_LOG
        booting = True

        def check() -> None:
            self.check_alive()
            # Under TCG a debug kernel now and then takes memory of its own for wild, again and again.
            if booting and self.console.size() > most:
                raise GuestError("the kernel complains without end")

        self.qemu = self._spawn(self.qemu_command(), "qemu")
        try:
            self.agent = Agent(self._directory / "agent", check)
            self.agent.wait_ready(self._patience(self.spec.boot_timeout))
        except (AgentError, GuestError) as error:
            advice = "; KVM may not work here, ACCEL=tcg does without" if self.spec.accel == "kvm" else ""
            raise GuestError(f"{error} (booting{advice})") from error
        booting = False

    def stop_qemu(self) -> None:
        """Ends QEMU without a word to the guest. The emulated NIC lives on."""
        if self.agent:
            self.agent.close()
            self.agent = None
        _end(self.qemu)
        for name in ("agent", "qmp", "wire", "tap"):
            (self._directory / name).unlink(missing_ok=True)

    def stop(self) -> None:
        """Ends every process. A guest in order is switched off first."""
        if self.agent and self.qemu and self.qemu.poll() is None:
            self._power_off()
        for process in (self.qemu, self.emulator):
            _end(process)
        if self.agent:
            self.agent.close()
        for log in self._logs:
            log.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self, command: str, timeout: float = 60) -> Result:
        """Runs bash in the guest. The driver under test is in $DRIVER there.

        `timeout` is in seconds of the stock kernel; a slower one gets more.
        """
        assert self.agent is not None
        try:
            return self.agent.run(f"DRIVER={self.spec.driver}\n{command}", self._patience(timeout))
        except AgentError as error:
            raise GuestError(f"{error} (running: {command.strip()[:200]})") from error

    def check(self, command: str, timeout: float = 60) -> str:
        """Runs bash in the guest and fails unless it ends with status 0. Returns the output."""
        result = self.run(command, timeout)
        if result.status != 0:
            raise GuestError(
                f"status {result.status} from: {command.strip()}\n{result.output.rstrip()}"
            )
        return result.output

    def reboot(self) -> None:
        """Reboots the guest from within and waits until it takes commands again."""
        assert self.agent is not None
        self.agent.request("reboot")
        try:
            self.agent.wait_ready(self._patience(self.spec.boot_timeout))
        except AgentError as error:
            raise GuestError(f"{error} (after a reboot)") from error

    def monitor(self, command: str) -> str:
        """Gives QEMU's monitor a command. Returns what it says."""
        try:
            return qmp.monitor(self._directory / "qmp", command)
        except (OSError, qmp.QmpError) as error:
            raise GuestError(f"{error} (in QEMU's monitor: {command})") from error

    def freeze_at_poweroff(self, seconds: float = 60) -> None:
        """Switches the guest off, as a user would. QEMU stays, to show what the devices are left as."""
        assert self.agent is not None
        path = self._directory / "qmp"
        qmp.execute(path, "set-action", shutdown="pause")
        self.agent.request("poweroff")
        end = time.monotonic() + self._patience(seconds)
        while qmp.execute(path, "query-status")["status"] != "shutdown":
            if time.monotonic() > end:
                raise GuestError("the guest does not switch off")
            time.sleep(0.1)

    def check_alive(self) -> None:
        """Raises when QEMU has ended or the kernel has died."""
        if self.qemu and self.qemu.poll() is not None:
            raise GuestError(f"QEMU ended with status {self.qemu.returncode}; {self._why()}")
        # A boot that is tried again adds to the log of the first.
        if "Kernel panic" in self.console.unjudged():
            time.sleep(0.5)
            raise GuestError("the guest's kernel has died")

    @property
    def tap_path(self) -> Path:
        """The socket of the tap on the cable, which the guest's Spec must ask for."""
        return self._directory / "tap"

    def wire(self) -> Wire:
        """Opens the tap on the cable."""
        return Wire(self.tap_path)

    def check_healthy(self, allowed: tuple[str, ...] = ()) -> None:
        """Raises when the console or the emulated NIC tells of trouble."""
        trouble = self.console.trouble(allowed)
        if trouble:
            raise GuestError("the console says:\n" + "\n".join(trouble[:10]))
        if self.emulator and self.emulator.poll() is not None:
            raise GuestError(f"fbnic-emu ended with status {self.emulator.returncode}")

    def start_emulator(self) -> None:
        """Starts fbnic-emu and waits for its socket: QEMU connects only once."""
        if not self.spec.emulator:
            return
        nic = self._directory / "nic"
        command = [str(self.spec.emulator), "--socket", str(nic)]
        cable = self.spec.cable or f"unix:{self._directory / 'wire'}"
        command += ["--cable", cable, *self.spec.emulator_args]
        if "--control" not in self.spec.emulator_args:
            command += ["--control", str(self.control_path)]
        self.emulator = self._spawn(command, "emu")
        end = time.monotonic() + 20
        while not nic.exists():
            if self.emulator.poll() is not None:
                raise GuestError(
                    f"fbnic-emu ended with status {self.emulator.returncode}:\n{self.log('emu')}"
                )
            if time.monotonic() > end:
                raise GuestError("fbnic-emu does not open its socket")
            time.sleep(0.02)

    def kill_emulator(self) -> None:
        """Takes the device away from a running guest."""
        assert self.emulator is not None
        self.emulator.kill()
        self.emulator.wait()
        self.emulator = None

    def log(self, kind: str) -> str:
        """What fbnic-emu ("emu") or QEMU ("qemu") has printed."""
        path = self._log_path(kind)
        return path.read_text(errors="replace").strip() if path.exists() else ""

    def _log_path(self, kind: str) -> Path:
        return self.console.path.with_suffix(f".{kind}")

    def qemu_command(self) -> list[str]:
        """QEMU's whole command line."""
        spec = self.spec
        memory = spec.memory or spec.kernel.memory
        return [
            "qemu-system-x86_64",
            *("-M", "q35,memory-backend=mem", "-m", memory, "-smp", str(spec.cpus)),
            *("-accel", "tcg,thread=multi" if spec.accel == "tcg" else spec.accel),
            *("-cpu", "max" if spec.accel == "tcg" else "host"),
            # The emulated NIC maps the guest's memory, so that has to be a shared file.
            *("-object", f"memory-backend-memfd,id=mem,size={memory},share=on"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *([] if spec.reboots else ["-no-reboot"]),
            *("-kernel", str(spec.kernel.image), "-initrd", str(self._directory / "initrd")),
            *("-append", self._cmdline()),
            *("-chardev", f"file,id=console,path={self.console.path},append=on"),
            *("-serial", "chardev:console"),
            *("-chardev", f"socket,id=agent,path={self._directory}/agent,server=on,wait=off"),
            *("-serial", "chardev:agent"),
            *("-qmp", f"unix:{self._directory}/qmp,server=on,wait=off"),
            *spec.kernel.qemu_args,
            *self._network(),
            *spec.qemu_args,
        ]

    def _cmdline(self) -> str:
        # On a busy host the first tick can be too late for the kernel's check of its timer.
        words = "console=ttyS0 loglevel=5 oops=panic panic=-1 mitigations=off no_timer_check"
        return " ".join(filter(None, (words, self.spec.kernel.words, self.spec.cmdline)))

    def _patience(self, seconds: float) -> float:
        return seconds * self.spec.kernel.slowness

    def _network(self) -> list[str]:
        arguments = [
            *self._stream("cable", "wire"),
            *(self._hub() if self.spec.tap else []),
            *("-device", f"e1000e,netdev={'far' if self.spec.tap else 'cable'}"),
        ]
        arguments[-1] += f",mac=02:00:00:00:00:02,addr={FAR_SLOT:#x}"
        if self.spec.emulator:
            socket = {"type": "unix", "path": str(self._directory / "nic")}
            device = {"driver": "vfio-user-pci", "bus": "rp", "socket": socket}
            # Faster ports are asked for a bit after a reset that QEMU does not keep through it.
            port = "pcie-root-port,id=rp,chassis=1,x-speed=5"
            arguments += ["-device", port, "-device", json.dumps(device)]
        return arguments

    def _stream(self, name: str, path: str) -> list[str]:
        """A back end that listens on a Unix socket."""
        address = f"addr.type=unix,addr.path={self._directory / path}"
        return ["-netdev", f"stream,id={name},server=on,{address}"]

    def _hub(self) -> list[str]:
        """Joins the cable, the far end and the tap."""
        ports = {"port0": "cable", "port1": "tap"}
        joined = [w for p, n in ports.items() for w in ("-netdev", f"hubport,id={p},hubid=0,netdev={n}")]
        return [*self._stream("tap", "tap"), *joined, "-netdev", "hubport,id=far,hubid=0"]

    def _spawn(self, command: list[str], kind: str) -> subprocess.Popen:
        log = self._log_path(kind).open("ab")
        self._logs.append(log)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )

    def _power_off(self) -> None:
        assert self.agent is not None and self.qemu is not None
        try:
            self.agent.request("poweroff")
            self.qemu.wait(10)
        except (AgentError, subprocess.TimeoutExpired):
            pass

    def _why(self) -> str:
        return self.log("qemu") or "the guest powered off or panicked"


def _end(process: subprocess.Popen | None) -> None:
    """Asks a process to end, then makes it."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
