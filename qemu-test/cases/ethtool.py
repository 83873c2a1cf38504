# SPDX-License-Identifier: GPL-2.0
"""What ethtool and devlink show and set."""

import difflib
import json
import re

from harness import traffic
from harness.case import case, same
from harness.vm import Guest, Spec

TEXT = (
    "ethtool DEV",
    *(f"ethtool {option} DEV" for option in "-i -g -l -c -k -a -x -T -m -S --show-fec --show-eee".split()),
    *(f"ethtool -S DEV --groups {group}" for group in ("eth-mac", "eth-phy", "eth-ctrl", "rmon")),
    "ethtool -I -a DEV",
    "ethtool -I --show-fec DEV",
    "devlink dev info",
    "devlink health",
    "devlink port show",
    "devlink dev param show",
)
JSON = (
    # ethtool itself has no JSON for the other subcommands.
    *(f"ethtool --json {option} DEV" for option in ("-g", "-c", "-k", "-a", "-x")),
    "ethtool --json -I -a DEV",
    "ethtool --json -S DEV --groups eth-mac",
    "ethtool --json -S DEV --groups rmon",
    "devlink -j dev info",
    "ip -j -d link show DEV",
)

# Why lines may differ: a pattern for "-line of C" or "+line of Rust", after "command: ".
EXPLAINED = (
    # Not there yet: the self-test, ntuple rules, time stamps of the hardware, XDP, firmware dumps.
    r"ethtool -i DEV: .supports-test: ",
    r"ethtool -k DEV: .ntuple-filters: ",
    r"ethtool --json -k DEV: .0\.ntuple-filters\.active: ",
    r"ethtool -S DEV: -\s*xdp_tx_queue_",
    r"ethtool -T DEV: ",
    r"devlink health: .\s*state healthy error N recover N( auto_dump true)?$",
    # The key is random, and different with every boot.
    r"ethtool -x DEV: .(\w\w:){53}\w\w$",
    r"ethtool --json -x DEV: .0\.rss-hash-key\.",
)


# Setting, reading it back, and the words that then have to be there.
SETTINGS = (
    ("-L DEV combined 1", "-l DEV", r"Combined:\s+1$"),
    ("-L DEV combined 0 rx 1 tx 1", "-l DEV", r"RX:\s+1\nTX:\s+1\n"),
    ("-L DEV combined 2 rx 0 tx 0", "-l DEV", r"Combined:\s+2$"),
    ("-G DEV rx 2048 rx-mini 512 rx-jumbo 512 tx 256", "-g DEV", r"RX:\s+2048\nRX Mini:\s+512\nRX Jumbo:\s+512\nTX:\s+256\n"),
    ("-G DEV rx 1024 rx-mini 256 rx-jumbo 256 tx 1024", "-g DEV", r"RX:\s+1024\nRX Mini:\s+256\nRX Jumbo:\s+256\nTX:\s+1024\n"),
    ("-C DEV rx-usecs 100 tx-usecs 90 rx-frames 16", "-c DEV", r"rx-usecs:\s+100\nrx-frames:\s+16\n(.*\n)*tx-usecs:\s+90\n"),
    ("-C DEV rx-usecs 30 tx-usecs 35 rx-frames 0", "-c DEV", r"rx-usecs:\s+30\nrx-frames:\s+0\n"),
    ("-X DEV weight 0 1", "-x DEV", r"\s0:(\s+1){8}\n"),
    ("-X DEV hkey " + ":".join(["5a"] * 54), "-x DEV", "(5a:){53}"),
    ("-X DEV default", "-x DEV", r"\s0:(\s+0\s+1){4}\n"),
    ("-K DEV rx off", "-k DEV", "rx-checksumming: off"),
    ("-K DEV rx on", "-k DEV", "rx-checksumming: on"),
    ("-K DEV tso off gso off", "-k DEV", "tcp-segmentation-offload: off"),
    ("-K DEV tso on gso on", "-k DEV", "tcp-segmentation-offload: on"),
    ("-A DEV autoneg off rx on tx off", "-a DEV", r"RX:\s+on\nTX:\s+off\n"),
    ("-A DEV autoneg off rx on tx on", "-a DEV", r"RX:\s+on\nTX:\s+on\n"),
)
REFUSED = (
    "-L DEV combined 129",
    "-L DEV combined 0",
    "-L DEV combined 0 rx 2",
    "-G DEV tx 131072",
    "-G DEV rx 131072",
    "-C DEV rx-usecs 100000",
    "-C DEV tx-usecs 100000",
    "-X DEV equal 3",
    "-X DEV hfunc crc32",
    "-s DEV autoneg on",
    "-s DEV speed 10",
)


@case(rows=(12, 13, 14, 20))
def settings_under_traffic(guest: Guest) -> None:
    """Channels, rings, coalescing, RSS, offloads and pause change while TCP runs both ways."""
    guest.check("ready 1500; start_traffic")
    name = guest.check("near_if").strip()
    for change, question, answer in SETTINGS:
        guest.check(f"ethtool {change.replace('DEV', name)}; [ $? = 0 ] || [ $? = 80 ]")
        report = guest.check(f"ethtool {question.replace('DEV', name)}")
        report = report.partition("Current hardware settings:")[2] or report
        assert re.search(answer, report, re.MULTILINE), f"after {change}:\n{report}"
        guest.check("wait_for 10 ping -n -q -c 1 -W 1 $FAR4")
    guest.check("stop_traffic")
    traffic.ping(guest, 1000)


@case(rows=(20,))
def limits_refused(guest: Guest) -> None:
    """Settings beyond what the hardware has are refused and change nothing."""
    guest.check("ready 1500")
    name = guest.check("near_if").strip()
    questions = "; ".join(f"ethtool {option} {name}" for option in "-g -l -c -a -x".split())
    before = guest.check(f"{questions}; ethtool {name}")
    for change in REFUSED:
        status = guest.run(f"ethtool {change.replace('DEV', name)}").status
        assert status, f"taken: ethtool {change}"
    same("settings", guest.check(f"{questions}; ethtool {name}"), before)
    traffic.ping(guest, 56)


@case(drivers=("rust",), rows=(5, 20))
def reports_beside_c(guest: Guest) -> None:
    """Everything ethtool and devlink say, as text and JSON, differs from C only as explained."""
    ours = _reports(guest)
    with Guest(Spec(name="guest-reports-c", driver="c", accel=guest.spec.accel)) as other:
        theirs = _reports(other)
    unexplained = [
        line
        for line in (f"{command}: {change}" for command in ours for change in _changes(theirs[command], ours[command]))
        if not any(re.match(pattern, line) for pattern in EXPLAINED)
    ]
    assert not unexplained, "\n".join(unexplained[:40])
    print(f"{sum(map(len, ours.values()))} lines of {len(ours)} commands compared")


def _reports(guest: Guest) -> dict[str, list[str]]:
    # Other tests leave settings behind; a fresh load has the driver's own.
    guest.check("ready 1500; unload_fbnic; ready 1500", 60)
    name = guest.check("near_if").strip()
    reports = {}
    for command in (*TEXT, *JSON):
        output = guest.run(command.replace("DEV", name)).output
        assert command not in JSON or output[:1] in ("[", "{"), f"{command}: {output}"
        lines = _flat(json.loads(output), "") if command in JSON else output.splitlines()
        assert lines or "port" in command or "param" in command, f"{command} says nothing"
        reports[command] = [_without_counts(command, line) for line in lines]
    return reports


def _changes(old: list[str], new: list[str]) -> list[str]:
    lines = difflib.unified_diff(old, new, n=0, lineterm="")
    return [line for line in list(lines)[2:] if not line.startswith("@@")]


def _flat(value: object, path: str) -> list[str]:
    """A JSON document as lines "path: value"."""
    if isinstance(value, dict):
        return [line for key, part in value.items() for line in _flat(part, f"{path}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [line for key, part in enumerate(value) for line in _flat(part, f"{path}.{key}".lstrip("."))]
    return [f"{path}: {value}"]


def _without_counts(command: str, line: str) -> str:
    """Statistics count what the guest happened to send: only their names are compared."""
    if " -S " in command or " -I " in command or "health" in command or "ip -j" in command:
        return re.sub(r"\b\d+\b(?!\.\w)", "N", line)
    return line
