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
    "ethtool -n DEV",
    "ethtool -x DEV context 1",
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

# Rules that are there when the reports are made, in an order that C has room for.
RULES = (
    "tcp4 src-ip 198.18.0.1 dst-ip 198.19.0.0 m 0.0.255.255 src-port 0x100 m 0xff dst-port 80 action 1",
    "udp4 dst-port 53 action -1",
    "ip4 src-ip 198.18.0.2 action 0",
    "ip4 l4proto 17 dst-ip 198.18.0.2 l4data 0x00350036 action 1",
    "ip6 dst-ip 2001:db8::2 action -1",
    "tcp6 src-ip 2001:db8::1 dst-ip 2001:db8:1:: m ::ffff:ffff:ffff:ffff:ffff dst-port 443 action 1",
    "udp6 action 0",
    "ip6 l4proto 41 src-ip 2001:db8::3 dst-ip 2001:db8::4 action 1",
    "ether action 1",
    "ether dst 02:00:00:00:77:01 action -1",
    "tcp4 dst-port 81 context 0",
    "udp6 dst-port 81 context 1",
)

# Why lines may differ: a pattern for "-line of C" or "+line of Rust", after "command: ".
EXPLAINED = (
    # Not there yet: time stamps of the hardware, firmware dumps.
    r"ethtool -T DEV: .(\s+hardware-|PTP Hardware Clock: |Hardware |\s+(off|on|none|all|ptpv[12]-\S+)$)",
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
    ("-G DEV rx 2048 rx-mini 512 rx-jumbo 128 tx 256", "-g DEV", r"RX:\s+2048\nRX Mini:\s+512\nRX Jumbo:\s+128\nTX:\s+256\n"),
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
    "-C DEV rx-usecs 16384",
    "-C DEV tx-usecs 16384",
    "-C DEV rx-frames 16384",
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
        guest.check(f"ethtool {change.replace('DEV', name)}")
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
    # The largest times and numbers themselves are taken.
    guest.check(f"ethtool -C {name} rx-usecs 16383 tx-usecs 16383 rx-frames 16383")
    guest.check(f"ethtool -C {name} rx-usecs 30 tx-usecs 35 rx-frames 0")
    same("settings after the largest", guest.check(f"{questions}; ethtool {name}"), before)
    traffic.ping(guest, 56)


def _self_test(guest: Guest, mode: str) -> tuple[int, list[int]]:
    """Exit status of `ethtool -t` and the results: registers, interrupts, mailbox."""
    result = guest.run(f'ethtool -t "$(near_if)" {mode}', 60)
    return result.status, [int(n) for n in re.findall(r"\(\S*line\)\s+(\d+)$", result.output, re.MULTILINE)]


@case(rows=(20,))
def self_test(guest: Guest) -> None:
    """`ethtool -t` passes on a healthy device, also while it is down, and packets pass afterwards."""
    guest.check("ready 1500")
    same("online", _self_test(guest, "online"), (0, [0, 0, 0]))
    same("offline", _self_test(guest, "offline"), (0, [0, 0, 0]))
    guest.check("ready 1500")
    traffic.ping(guest, 1000)
    guest.check('ip link set "$(near_if)" down')
    same("offline while down", _self_test(guest, "offline"), (0, [0, 0, 0]))
    guest.check("ready 1500")


@case(rows=(20,))
def pause_storm_tunable(guest: Guest) -> None:
    """The time after which pausing ends is set and read back, and refused beyond the device's limit."""
    name = guest.check("ready 1500; near_if").split()[-1]

    def timeout() -> str:
        report = guest.check(f"ethtool --get-tunable {name} pfc-prevention-tout")
        return re.search(r"(\d+)\s*(?:msecs)?\s*$", report)[1]

    def change(value: int) -> int:
        return guest.run(f"ethtool --set-tunable {name} pfc-prevention-tout {value}").status

    before = timeout()
    same("default", before, "500")
    for value, want in ((1000, "1000"), (10485, "10485"), (0, "0"), (65535, "500")):
        same(f"status of setting {value}", change(value), 0)
        same("time", timeout(), want)
    assert change(10486), "10486 ms were taken"
    same("time", timeout(), before)
    traffic.ping(guest, 56)


@case(rows=(19, 20))
def rss_contexts(guest: Guest) -> None:
    """A second RSS context has a table of its own; there is no third; it goes again."""
    name = guest.check("ready 1500; near_if").split()[-1]
    first = guest.check(f"ethtool -x {name}")
    made = guest.check(f"ethtool -X {name} context new")
    assert "is 1" in made, made
    assert re.search(r"\s0:(\s+0\s+1){4}\n", guest.check(f"ethtool -x {name} context 1"))
    guest.check(f"ethtool -X {name} context 1 weight 0 1")
    assert re.search(r"\s0:(\s+1){8}\n", guest.check(f"ethtool -x {name} context 1"))
    same("first context", guest.check(f"ethtool -x {name}"), first)
    assert guest.run(f"ethtool -X {name} context new").status, "a third context was made"
    assert guest.run(f"ethtool -X {name} context 1 weight 1 1 1").status, "a queue that is not there was taken"
    guest.check(f"ethtool -X {name} context 1 delete")
    assert guest.run(f"ethtool -x {name} context 1").status, "the context is still there"
    traffic.ping(guest, 56)


@case(rows=(12, 19))
def chosen_table_stays(guest: Guest) -> None:
    """A table that the user has chosen stays when there are more queues, and forbids fewer."""
    name = guest.check("ready 1500; near_if").split()[-1]
    guest.check(f"ethtool -X {name} weight 0 1; ethtool -L {name} combined 4; ready 1500")
    assert re.search(r"\s0:(\s+1){8}\n", guest.check(f"ethtool -x {name}")), "the table has changed"
    assert guest.run(f"ethtool -L {name} combined 1").status, "a queue in use was taken away"
    guest.check(f"ethtool -X {name} default; ethtool -L {name} combined 2; ready 1500")
    assert re.search(r"\s0:(\s+0\s+1){4}\n", guest.check(f"ethtool -x {name}"))


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
    guest.check(f"ethtool -X {name} context new")
    for rule in RULES:
        guest.check(f"ethtool -N {name} flow-type {rule}")
    reports = {}
    for command in (*TEXT, *JSON):
        output = guest.run(command.replace("DEV", name)).output
        assert command not in JSON or output[:1] in ("[", "{"), f"{command}: {output}"
        lines = _flat(json.loads(output), "") if command in JSON else output.splitlines()
        assert lines or "port" in command or "param" in command, f"{command} says nothing"
        reports[command] = [_without_counts(command, line) for line in lines]
    guest.check("unload_fbnic; ready 1500", 60)
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
