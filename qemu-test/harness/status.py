# SPDX-License-Identifier: GPL-2.0
"""Documentation/status.md: what the driver can do, as the tests have shown it."""

from . import case, paths
from .report import EXPLAINED, FAILED, PASSED

CAPABILITIES = {
    1: "Kconfig, Kbuild, Makefile: in the kernel's tree and with `M=`",
    2: "Probe and removal, with every failure undone",
    3: "Init-failure mode: devlink without a network device",
    4: "Sleep, shutdown, recovery from bus errors and resets",
    5: "devlink instance and info",
    6: "Registers, loss of the device",
    7: "Initialisation of PCIe, MAC and FIFOs",
    8: "TLV codec",
    9: "Firmware mailbox",
    10: "Firmware capabilities, ownership, heartbeat",
    11: "Network device, addresses, MTU, statistics",
    12: "NAPI vectors, queues, channels",
    13: "Transmit rings",
    14: "Receive rings",
    15: "Link: phylink, PCS, speeds",
    16: "Transmit: offloads, stop and wake",
    17: "Receive: offloads, header split, errors",
    18: "Address filters",
    19: "RSS and action TCAM",
    20: "ethtool",
}

# Tests on the host by the start of their name (see hostchecks), and the rows they are evidence for.
HOST_ROWS = {
    "kernel-build-no-warnings": (1,),
    "in-tree-build": (1,),
    "kconfig-gates": (1,),
    "unit/messages::": (9, 10),
    "unit/rpc::": (18, 19),
    "unit/tlv::": (8,),
}

_HEAD = """\
# What works

Every whole run of `make test` writes this file. A row passes when all tests named in it do; unit
tests and the reports beside C's have no run with the C driver. *Explained* means that the upstream
driver fails a test by a fault of its own, told below.

| # | Capability | Rust | C | Tests |
|--:|---|---|---|---|
"""


def write(outcomes: dict[str, str], whole: bool) -> None:
    """Writes the table to build/, and after a whole run to where the project keeps it."""
    text = table(outcomes)
    (paths.PROJECT / "build" / "status.md").write_text(text)
    if whole:
        (paths.PROJECT / "Documentation" / "status.md").write_text(text)


def table(outcomes: dict[str, str]) -> str:
    """The whole text. `outcomes` has what became of each test, by its name in the report."""
    lines = [_line(row, title, outcomes) for row, title in CAPABILITIES.items()]
    bugs = [
        f"- `{test.name}`: {test.c_bug}"
        for test in case.ALL
        if outcomes.get(f"c-{test.name}") == EXPLAINED
    ]
    notes = ["", "## Faults of the upstream driver that tests meet", "", *bugs] if bugs else []
    return _HEAD + "\n".join([*lines, *notes]) + "\n"


def rows_without_test() -> list[int]:
    """Rows for which no test with the Rust driver exists."""
    shown = {
        row
        for test in case.ALL
        if "rust" in test.drivers and "stock" in test.kernels
        for row in test.rows
    }
    shown |= {row for rows in HOST_ROWS.values() for row in rows}
    return [row for row in CAPABILITIES if row not in shown]


def _line(row: int, title: str, outcomes: dict[str, str]) -> str:
    tests = [test for test in case.ALL if row in test.rows and "stock" in test.kernels]
    host = {
        prefix: [outcome for name, outcome in outcomes.items() if name.startswith(prefix)]
        for prefix, rows in HOST_ROWS.items()
        if row in rows
    }
    cells = {
        driver: [
            outcomes.get(f"{driver}-{test.name}", "not run")
            for test in tests
            if driver in test.drivers
        ]
        for driver in case.DRIVERS
    }
    cells["rust"] += [outcome for some in host.values() for outcome in some or ["not run"]]
    names = [test.name for test in tests]
    names += [_count(prefix, len(some)) for prefix, some in host.items()]
    rust, c = _verdict(cells["rust"]) or "**no test**", _verdict(cells["c"]) or "-"
    return f"| {row} | {title} | {rust} | {c} | {', '.join(names)} |"


def _count(prefix: str, tests: int) -> str:
    """The name of a group of unit tests with their number, or of a single one."""
    return f"{prefix.strip(':')} ({tests})" if prefix.endswith(":") else prefix


def _verdict(results: list[str]) -> str:
    """The word for a cell, from what became of its tests; none without tests."""
    for outcome in (FAILED, "not run", EXPLAINED):
        if outcome in results:
            return f"**{outcome}**" if outcome == FAILED else outcome
    return PASSED if results else ""
