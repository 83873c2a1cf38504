# SPDX-License-Identifier: GPL-2.0
"""Where things are. Everything here runs inside the sandbox (see qemu-test/sandbox)."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PREFIX = Path(os.environ.get("FBNIC_PREFIX", ""))
GUEST = PROJECT / "qemu-test" / "guest"
LOGS = PROJECT / "build" / "logs"
BASE_INITRAMFS = PREFIX / "guest" / "base.cpio"

# Driver modules by the name that DRIVER= and the tests use.
MODULES = {"rust": PROJECT / "fbnic.ko", "c": PREFIX / "cdriver" / "fbnic.ko"}
EMULATOR = PROJECT / "device-model" / "target" / "release" / "fbnic-emu"
# The frame checker for the guest, a static program.
FRAMES = PROJECT / "qemu-test" / "frames" / "target" / "release" / "frames"
# The module for the guest that makes calls of a driver fail.
FAILCALL = PROJECT / "build" / "failcall" / "failcall.ko"


def kernel_release() -> str:
    """The release of the distribution kernel in the sandbox."""
    for directory in sorted(Path("/usr/lib/modules").iterdir()):
        if (directory / "vmlinuz").exists():
            return directory.name
    raise SystemExit("no kernel in the sandbox; run: make setup")


def vmlinuz() -> Path:
    """The unmodified distribution kernel image."""
    return Path("/usr/lib/modules") / kernel_release() / "vmlinuz"
