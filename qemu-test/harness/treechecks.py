# SPDX-License-Identifier: GPL-2.0
"""Row 1: the driver builds as an external module and within the kernel's tree, and Kconfig gates it."""

import re
import shutil
from pathlib import Path

from . import paths
from .command import call, output_of, synchronise

LINUX = paths.PREFIX / "linux"
KBUILD = paths.PREFIX / "kbuild"
WORK = paths.PROJECT / "build" / "in-tree"
CC = "x86_64-linux-gnu-gcc-14"
# What is copied to another place to be compiled there.
SOURCES = ("Kbuild", "Kconfig", "*.rs", "*.c", "*.h", "*.awk", "bindgen_parameters")

# A small configuration in which the driver can be chosen, besides the architecture's own.
GATES = {"64BIT": "y", "PCI": "y", "PCI_MSI": "y", "NET": "y", "RUST": "y", "MAX_SKB_FRAGS": "17"}
GATES |= {"BPF_SYSCALL": "y", "HWMON": "y"}
PLACE = {"MODULES": "y", "INET": "y", "NETDEVICES": "y", "ETHERNET": "y", "NET_VENDOR_META": "y", "FBNIC": "m"}
# Each of these alone makes the choice impossible.
CLOSED = {"64BIT": "n", "PCI_MSI": "n", "NET": "n", "RUST": "n", "MAX_SKB_FRAGS": "22"}
CLOSED |= {"BPF_SYSCALL": "n", "HWMON": "n"}
SELECTED = ("NET_DEVLINK", "PAGE_POOL", "PCS_XPCS", "PHYLINK")


def external_build() -> None:
    """`make KDIR=` compiles the module in a copy of its sources, with no warning of any tool.

    A copy that compiled cleanly stays, so that a repeated run compiles only what has changed. In one that
    was interrupted there may be objects whose warnings nobody has seen.
    """
    copy = paths.PROJECT / "build" / "module-check"
    unjudged = copy / ".unjudged"
    if unjudged.exists():
        shutil.rmtree(copy)
    scripts = (f"qemu-test/lib/{name}.sh" for name in ("common", "kernel", "debug-kernel"))
    synchronise(copy, *SOURCES, "Makefile", "qemu-test/build", *scripts)
    unjudged.touch()
    # The jobs of an outer make would make this one warn that it has its own.
    result = call(["make", "--no-print-directory", f"KDIR={KBUILD}", f"CC={CC}", "-j2"], copy, MAKEFLAGS="")
    (paths.LOGS / "kernel-build.log").write_text(result.stdout)
    _accept(result.returncode, result.stdout, copy)
    assert (copy / "fbnic.ko").exists(), "no fbnic.ko came out"
    unjudged.unlink()


def in_tree_build() -> None:
    """In the kernel's own tree, in place of the upstream driver, with CONFIG_FBNIC=m.

    Up to the whole module before modpost, which would want a whole kernel built here.
    """
    _prepare()
    directory = "drivers/net/ethernet/meta/fbnic/"
    release = (KBUILD / "include/config/kernel.release").read_text().strip()
    make = f"make -C {LINUX} O={KBUILD} CC={CC} HOSTCC=gcc-14 LOCALVERSION= KERNELRELEASE={release}"
    script = f"""set -e
        {LINUX}/scripts/config --file {KBUILD}/.config --module FBNIC
        {make} olddefconfig
        grep '^CONFIG_FBNIC=m' {KBUILD}/.config
        {make} -j2 {directory}
    """
    result = _in_tree(["bash", "-c", script])
    (paths.LOGS / "in-tree-build.log").write_text(result.stdout)
    _accept(result.returncode, result.stdout, WORK)
    assert (WORK / "kbuild" / directory / "fbnic.o").exists(), "no fbnic.o came out"


def kconfig_gates() -> str:
    """The real Kconfig offers the driver only where it can work, and selects what it needs."""
    _prepare()
    config = _configure(GATES)
    assert config.get("FBNIC") == "m", f"not selectable with {GATES}"
    missing = [name for name in SELECTED if config.get(name) not in ("y", "m")]
    assert not missing, f"not selected: {missing}"
    for name, value in CLOSED.items():
        config = _configure(GATES | {name: value})
        assert config.get(name, "n") == value, f"{name} cannot be {value} here: {config.get(name)}"
        assert "FBNIC" not in config, f"selectable with {name}={value}"
    # On S390 Rust wants a younger compiler than there is here, which would close the gate as well; so this
    # is x86 under that name.
    with (WORK / "fbnic" / "Kconfig").open("a") as kconfig:
        kconfig.write("\nconfig S390\n\tdef_bool y\n")
    config = _configure(GATES)
    assert config.get("S390") == config.get("RUST") == "y", "x86 cannot be called S390"
    assert "FBNIC" not in config, "selectable on S390"
    return f"{2 + len(CLOSED)} configurations"


def _configure(options: dict[str, str]) -> dict[str, str]:
    """What becomes of a wish for these options and no others."""
    output = WORK / "config"
    output.mkdir(exist_ok=True)
    wishes = "".join(f"CONFIG_{name}={value}\n" for name, value in (PLACE | options).items())
    (output / "wishes").write_text(wishes)
    result = _in_tree(
        ["make", "-s", "-C", str(LINUX), f"O={output}", "ARCH=x86", f"CC={CC}", "HOSTCC=gcc-14"]
        + [f"KCONFIG_ALLCONFIG={output}/wishes", "allnoconfig"]
    )
    assert result.returncode == 0, "\n".join(result.stdout.splitlines()[-20:])
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", (output / ".config").read_text(), re.MULTILINE))


def _prepare() -> None:
    """Copies of the driver and of the prepared build tree, for `_in_tree`."""
    stamp = WORK / ".stamp"
    wanted = (paths.PREFIX / "steps" / "kbuild").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        output_of(["cp", "-a", str(KBUILD), str(WORK / "kbuild")], paths.PROJECT)
        stamp.write_text(wanted)
    synchronise(WORK / "fbnic", *SOURCES)


def _in_tree(command: list[str]):
    script = paths.PROJECT / "qemu-test" / "lib" / "in-tree.sh"
    # A job server of an outer make has nothing to say here.
    return call([str(script), str(LINUX), str(KBUILD), str(WORK), *command], WORK, MAKEFLAGS="")


def _accept(status: int, output: str, directory: Path) -> None:
    """Fails unless a build has succeeded without a warning, and forgets what was built with one."""
    lines = output.splitlines()
    warnings = [line for line in lines if re.search(r"warning|WARNING", line)]
    if warnings:
        shutil.rmtree(directory)
    assert status == 0, "\n".join(lines[-40:])
    assert not warnings, "\n".join(warnings)
