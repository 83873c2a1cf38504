# SPDX-License-Identifier: GPL-2.0
"""Which programs there are, and how each wants to be run."""

from dataclasses import dataclass

from harness import paths

FOLDERS = ("drivers/net", "drivers/net/hw")
INSTALLED = paths.PREFIX / "selftest" / "install"
ARCHIVE = paths.PREFIX / "selftest" / "guest.cpio"
# What qemu-test/setup leaves when all of that was made.
STAMP = paths.PREFIX / "steps" / "selftest-guest"

# Seconds, for those that take longer than most.
_LIMIT = 240
_LIMITS = {
    "drivers/net/gro.py": 600,
    "drivers/net/xdp.py": 600,
    "drivers/net/hw/ethtool_rmon.sh": 900,
    "drivers/net/hw/rss_ctx.py": 900,
    "drivers/net/hw/tso.py": 400,
    "drivers/net/hw/csum.py": 400,
}

# Scripts that take two interfaces of their own network namespace as arguments.
_TOGETHER = ("ethtool.sh", "ethtool_extended_state.sh", "ethtool_mm.sh", "loopback.sh", "hw_stats_l3.sh", "hw_stats_l3_gre.sh")

# What an administrator would have set up before, in words of guest/selftest.sh.
_PREPARE = {
    "drivers/net/hw/ethtool_rmon.sh": "far_takes_long_frames",
    "drivers/net/hw/rss_ctx.py": "four_queues",
    "drivers/net/hw/toeplitz.py": "hash_udp_ports && two_processors_for_interrupts",
}

# The part of them that `make test` runs.
SHORT = ("hds.py", "napi_id.py", "queues.py", "stats.py")


@dataclass(frozen=True)
class Program:
    """A program of the kernel's source, below tools/testing/selftests."""

    folder: str
    file: str

    @property
    def name(self) -> str:
        """The name in tables: "hw/csum.py"."""
        return f"{self.folder}/{self.file}".removeprefix("drivers/net/")

    @property
    def limit(self) -> int:
        """Seconds after which it is stopped."""
        return _LIMITS.get(f"{self.folder}/{self.file}", _LIMIT)

    @property
    def prepare(self) -> str:
        """Commands for the guest, to be run before it."""
        return _PREPARE.get(f"{self.folder}/{self.file}", "true")

    @property
    def together(self) -> bool:
        """Whether both ends of the cable have to be in the program's network namespace."""
        return self.file in _TOGETHER


def find(pattern: str = "") -> list[Program]:
    """The installed programs whose name contains `pattern`, in the order of the folders."""
    programs = [
        Program(folder, path.name)
        for folder in FOLDERS
        for path in sorted((INSTALLED / folder).iterdir())
        if path.suffix in (".py", ".sh") and path.stat().st_mode & 0o111 and path.is_file()
    ]
    return [program for program in programs if pattern in program.name]


def installed() -> bool:
    """Whether they have been built and packed, to the end: the archive may be of a build that was interrupted."""
    return ARCHIVE.exists() and STAMP.exists()
