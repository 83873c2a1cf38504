# SPDX-License-Identifier: GPL-2.0
"""The kernels that a guest can boot: KERNEL= of the command line chooses one.

stock     the distribution's image as it is
checked   the same image, with every check switched on that it has to offer
debug     built from the same source package, with the checks that need another build
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from . import paths

NAMES = ("stock", "checked", "debug")


@dataclass(frozen=True)
class Kernel:
    """An image, what belongs to it, and how the guest has to be treated for it."""

    name: str
    image: Path
    modules: dict[str, Path]
    """Driver modules by the name that DRIVER= and the tests use, and those that the tests need."""
    archives: tuple[Path, ...] = ()
    """Further parts of the root file system: the modules of this kernel."""
    memory: str = "1G"
    slowness: int = 1
    """How many times longer than with the stock kernel a guest may take for anything."""
    words: str = ""
    """Words for its command line. One it does not know (NAME=VALUE) becomes init's environment."""
    qemu_args: list[str] = field(default_factory=list)

    def release(self) -> str:
        """What `uname -r` says in it."""
        built = paths.PREFIX / "debug" / "root" / "usr" / "lib" / "modules"
        return next(built.iterdir()).name if self.name == "debug" else paths.kernel_release()


def chosen(name: str | None = None) -> Kernel:
    """The kernel of this name, by default that of the environment."""
    name = name or os.environ.get("KERNEL") or "stock"
    if name not in NAMES:
        raise SystemExit(f"KERNEL={name}: use one of {', '.join(NAMES)}")
    return {"stock": _stock, "checked": _checked, "debug": _debug}[name]()


def _stock() -> Kernel:
    return Kernel("stock", paths.vmlinuz(), paths.MODULES | {"failcall": paths.FAILCALL})


def _checked() -> Kernel:
    """Objects with red zones and poison, guard pages around a sample of them, poisoned free pages."""
    return Kernel(
        "checked",
        paths.vmlinuz(),
        paths.MODULES | {"failcall": paths.FAILCALL},
        slowness=3,
        words="slab_debug=FZPU page_poison=1 kfence.sample_interval=10 intel_iommu=on iommu.strict=1 SLOWNESS=3",
        qemu_args=["-device", "intel-iommu,caching-mode=on"],
    )


def _debug() -> Kernel:
    debug = paths.PREFIX / "debug"
    return Kernel(
        "debug",
        debug / "vmlinuz",
        {
            "rust": paths.PROJECT / "build" / "debug" / "stripped.ko",
            "c": debug / "cdriver" / "stripped.ko",
            "failcall": paths.FAILCALL.parent / "debug" / "failcall.ko",
        },
        archives=(debug / "modules.cpio",),
        memory="2G",
        slowness=8,
        # A kernel that dies on its way to sleep shall say why. KASAN would fall silent after its first report.
        # Measuring the processor against the clock goes wrong on a busy host, hence lpj.
        words="loglevel=6 lpj=4000000 no_console_suspend kasan_multi_shot slab_debug=F SLOWNESS=8",
    )
