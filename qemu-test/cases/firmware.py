# SPDX-License-Identifier: GPL-2.0
"""The control firmware: its mailbox, versions, signs of life, sensors and dumps, good and bad."""

import re
import time

from harness import traffic
from harness.case import case, same
from harness.hostile import heartbeats_late_for_c
from harness.tlv import attribute, message
from harness.vm import Guest

# Types of requests in the mailbox.
SELF_TEST, HEARTBEAT, OWNERSHIP, QSFP, SENSORS = 0x00, 0x14, 0x12, 0x38, 0x3C
COREDUMP_INFO, COREDUMP_READ = 0x18, 0x20

# What firmware says of itself, asked or not; flags of headers.
CAPS, LOG = 0x11, 0x44
IS_MSG, CANNOT_IGNORE = 1 << 15, 1 << 14

# What Meta's mock firmware reports, thousandths of a degree and of a volt.
MILLIDEGREES, MILLIVOLTS = "30000", "750"

# Gates for DMA by the device, writes then reads: BME is bit 18, FLUSH 19, FLUSH_MODE of writes 20.
TLP_GATES = (0x3103D, 0x3103E)
GATES_SHUT = [1 << 20 | 1 << 19, 1 << 19]
BME = 1 << 18

# First and last dword of the mailbox's rings in the firmware window.
RINGS = (0x6000, 0x603F)

# Tables that firmware may lose with its life: RPC_TCAM_ACT, RPC_TCAM_MACDA, TCE_RAM.
TABLES = ((0x8880, 0x8B7F), (0x8B80, 0x8BFF), (0x4200, 0x421F))

# Number of the first rule that a user adds.
RULE = 47

# Unlike cat, which tries another way after an error, this asks the firmware once.
_TEMPERATURE = "(read -r value </sys/class/hwmon/hwmon*/temp1_input && echo $value)"
_VOLTAGE = "(read -r value </sys/class/hwmon/hwmon*/in0_input && echo $value)"
# This can be interrupted.
_INTERRUPTED = "timeout -s INT 0.2 cat /sys/class/hwmon/hwmon*/temp1_input"
_DUMP = 'devlink health dump show pci/"$(fbnic_slot)" reporter fw'
# Without the address ethtool asks for the whole memory in a way that is long obsolete.
_MODULE = 'ethtool -m "$(near_if)" hex on i2c 0x50 offset 0 length 4'


def _version(guest: Guest) -> str:
    found = re.search(r"^firmware-version: (.*)$", guest.check('ethtool -i "$(near_if)"'), re.MULTILINE)
    assert found, "ethtool names no firmware version"
    return found[1].strip()


def _uptime(guest: Guest) -> int:
    """Seconds since the firmware started, as of its last sign of life."""
    report = guest.check('devlink health diagnose pci/"$(fbnic_slot)" reporter fw')
    found = re.search(r"sec: (\d+)", report)
    assert found, f"no uptime in: {report}"
    return int(found[1])


def _restart_driver(guest: Guest, ready: str = "load_fbnic") -> None:
    guest.check(f"! is_loaded || unload_fbnic; {ready}", 60)


def _temperature(guest: Guest) -> str:
    """The sensor's value, or why there is none."""
    return guest.run(_TEMPERATURE, 40).output.strip()


def _self_test(guest: Guest) -> bool:
    """Sends a message with every kind of attribute, which comes back unchanged."""
    if guest.spec.driver == "rust":
        return guest.check("cat /sys/kernel/debug/fbnic/*/fw_self_test", 40).strip() == "passed"
    report = guest.run('ethtool -t "$(near_if)" online', 60).output
    found = re.search(r"[Mm]ailbox.*?(\d+)\s*$", report, re.MULTILINE)
    assert found, f"no mailbox test in:\n{report}"
    return found[1] == "0"


def _crashes(guest: Guest) -> int:
    """Crashes of the firmware that devlink knows of."""
    report = guest.check('devlink health show pci/"$(fbnic_slot)" reporter fw')
    found = re.search(r"error (\d+)", report)
    assert found, report
    return int(found[1])


def _wait(what: str, seconds: float, condition) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.3)


_DIAGNOSE = 'devlink health diagnose pci/"$(fbnic_slot)" reporter fw'


@case(rows=(9, 10))
def firmware_tells(guest: Guest) -> None:
    """Sensors, the module's memory, the core dump and the uptime are what the firmware says."""
    guest.check("ready 1500")
    same("chip", guest.check("cat /sys/class/hwmon/hwmon*/name").strip(), "fbnic")
    same("temperature", _temperature(guest), MILLIDEGREES)
    same("voltage", guest.check(_VOLTAGE).strip(), MILLIVOLTS)
    # A QSFP28 module by its first byte, which the vendor's name follows in the upper page.
    assert re.search(r"0x0000:\s+11 08 00", guest.check(_MODULE)), guest.check(_MODULE)
    name = guest.check('ethtool -m "$(near_if)" raw on i2c 0x50 offset 148 length 9')
    same("vendor", name, "fbnic-emu")
    refused = guest.run('ethtool -m "$(near_if)" hex on i2c 0x50 page 9 offset 128 length 4')
    assert refused.status, f"a page that does not exist: {refused.output}"
    dump = bytes.fromhex(guest.check(_DUMP, 60).partition(":")[2])
    same("length of the dump", len(dump), 0x2000)
    same("ends of the dump", dump[:4] + dump[-4:], bytes.fromhex("deadbeef" * 2))
    # The first heartbeat comes some seconds after the driver.
    guest.check(f"wait_for 15 eval '{_DIAGNOSE} | grep -q fw_uptime'")
    uptime = guest.check(_DIAGNOSE)
    assert re.search(r"last_heartbeat:\s+fw_uptime:\s+sec: \d+ msec: \d+", uptime), uptime
    guest.check('ip link set "$(near_if)" down')
    same("uptime while down", guest.check(_DIAGNOSE).strip(), "")


_BAD_VALUES = "cat /sys/kernel/debug/fbnic/*/bad_values"
_LOG = "cat /sys/kernel/debug/fbnic/*/fw_log"
# Lines in one message, the newest of which comes apart from the others.
LINES = 14
# Messages that fill the log beyond its end, and how many are sent before one looks whether they came.
MESSAGES, UNREAD = 160, 32


def _log_message(first: int, texts: list[bytes]) -> str:
    """A message with lines of the firmware's log, numbered from `first` on."""
    lines = [
        (attribute(0, (1000 * n).to_bytes(4, "little")), attribute(1, n.to_bytes(8, "little")), attribute(2, text + b"\0"))
        for n, text in enumerate(texts, first)
    ]
    older, newest = lines[:-1], lines[-1]
    arrays = [attribute(4 + n, b"".join(line[n] for line in older)) for n in range(3)]
    return message(LOG, *newest, attribute(3, len(older).to_bytes(4, "little")), *arrays).hex()


@case(rows=(8,))
def firmware_log(guest: Guest) -> None:
    """The firmware's log is shown as it came, as far as it is text, and 512 KiB of it are kept."""
    guest.check("ready 1500")
    plain = "it's \"50%\" of C:\\temp ~"
    guest.do("fw_send", hex=_log_message(70_000, [plain.encode()]))
    _wait("no line came", 5, lambda: f"[70000] [00:19:26:40.000] {plain}\n" in guest.check(_LOG))
    if guest.spec.driver == "rust":
        # The upstream driver hands terminals whatever the firmware says.
        guest.do("fw_send", hex=_log_message(70_001, [b"\x1b[2J\ta\xc3\xa9"]))
        _wait("no line came", 5, lambda: "] \\x1b[2J\\x09a\\xc3\\xa9\n" in guest.check(_LOG))
    for sent in range(1, MESSAGES + 1):
        end = 80_000 + sent * LINES
        guest.do("fw_send", hex=_log_message(end - LINES, [b"%06d" % n + 230 * b"x" for n in range(end - LINES, end)]))
        # A guest that stands still for a while takes no messages, and of those to come the firmware keeps 64 only.
        if sent % UNREAD == 0:
            newest = f"] {end - 1:06}x"
            _wait(f"no {newest} came", 10, lambda text=newest: text in guest.check(f"{_LOG} | tail -{LINES}"))
    lines = int(guest.check(f"{_LOG} | wc -l"))
    # 512 KiB of lines with 14 or more bytes beside the text, the oldest of them gone.
    assert 1700 < lines < 2120, f"{lines} lines"
    assert "[70000]" not in guest.check(f"{_LOG} | head -1")


@case(rows=(8,))
def firmware_echoes(guest: Guest) -> None:
    """A message with every kind of attribute comes back unchanged; one that was changed is noticed."""
    guest.check("ready 1500")
    assert _self_test(guest)
    # The text attribute alone, instead of all that was sent.
    with guest.fault("fw_replaced", message=SELF_TEST, hex=message(0, attribute(9, b"A\0")).hex()):
        assert not _self_test(guest), "a wrong echo was taken"
    assert _self_test(guest)


# Capabilities with version 9.9.9.9 that break one rule each, or only seem to.
_CAPS = (attribute(0x00, 4 * b"\x09"), attribute(0x0A, b"\x04"), attribute(0x0B, b"\x02"))
REFUSED = {
    "a version of five bytes": message(CAPS, attribute(0x00, 5 * b"\x09"), *_CAPS[1:]),
    "the version twice": message(CAPS, *_CAPS, _CAPS[0]),
    "a commit one byte too long": message(CAPS, *_CAPS, attribute(0x06, 19 * b"c" + b"\0")),
    "a commit without its end": message(CAPS, *_CAPS, attribute(0x06, b"abcd")),
    "an attribute beyond the last": message(CAPS, *_CAPS, attribute(32)),
    "a message inside": message(CAPS, *_CAPS, attribute(0x06 | IS_MSG, b"ab\0")),
    "what must not be ignored": message(CAPS, *_CAPS, attribute(30 | CANNOT_IGNORE)),
    "a flag with a value": message(CAPS, *_CAPS, attribute(0x01, b"\x01")),
    "no message flag": message(CAPS, *_CAPS, flags=0),
    "another type": message(0x7FF, *_CAPS),
}
# The upstream driver is not asked these: it takes over the version before it looks at the rest
# (fbnic_fw_parse_cap_resp), and does not compare an attribute's length with the end of the message
# (fbnic_tlv_attr_parse), past which it then reads.
REFUSED_BY_RUST = {
    "a controller without addresses": message(CAPS, *_CAPS, attribute(0x01)),
    "an attribute past the end": message(CAPS, *_CAPS, attribute(0x06, b"ab\0", length=400)),
    "an attribute shorter than its header": message(CAPS, *_CAPS, attribute(0x06, length=3)),
    "more words than were sent": message(CAPS, *_CAPS, words=1000),
}


@case(rows=(8, 9))
def malformed_messages(guest: Guest) -> None:
    """Messages that break one rule each change nothing; the same message in order is taken."""
    guest.check("ready 1500; start_traffic")
    # The driver may mind what it does not know of.
    same("before", _version(guest), "25.07.25-002_emulated")
    refused = REFUSED | (REFUSED_BY_RUST if guest.spec.driver == "rust" else {})
    for what, content in refused.items():
        guest.do("fw_send", hex=content.hex())
        same(f"after {what}", _version(guest), "25.07.25-002_emulated")
    # Descriptors that lie about the message behind them.
    for field, value in (("length", 0xFFFF), ("length", 4097), ("length", 0)):
        with guest.fault("fw_descriptor", field=field, value=value, when={"times": 1}):
            guest.do("fw_send", hex=message(CAPS, *_CAPS).hex())
            same(f"after {field} {value}", _version(guest), "25.07.25-002_emulated")
    guest.do("fw_send", hex=message(CAPS, *_CAPS, attribute(30, b"ignored"), attribute(0x06, b"new\0")).hex())
    _wait("the version is not new", 5, lambda: _version(guest) == "09.09.09-009_new")
    with guest.fault("fw_mangled", message=SENSORS, how="nested") as fault:
        guest.check(f"{_TEMPERATURE} >/dev/null 2>&1 &")
        _wait("the driver did not ask", 5, lambda: guest.struck(fault))
    _wait("no temperature", 15, lambda: _temperature(guest) == MILLIDEGREES)
    if guest.spec.driver == "rust":
        bad = guest.check(_BAD_VALUES)
        found = re.fullmatch(r"fw_messages: (\d+)\nrx_completions: 0\ntx_completions: 0\n", bad)
        assert found and int(found[1]) > len(refused), bad
    guest.check("stop_traffic; unload_fbnic; ready 1500", 60)
    same("after a load", _version(guest), "25.07.25-002_emulated")
    traffic.ping(guest, 56)


@case(rows=(9,))
def answers_late_wrong_or_missing(guest: Guest) -> None:
    """A slow answer arrives, an error is passed on, silence ends after 10 s, a late answer does no harm."""
    guest.check("ready 1500")
    with guest.fault("fw_delay", message=SENSORS, ms=1500):
        begun = time.monotonic()
        same("slow answer", _temperature(guest), MILLIDEGREES)
        assert time.monotonic() - begun > 1.4
    with guest.fault("fw_error", message=SENSORS, error=-61):
        answer = _temperature(guest)
        assert "No data available" in answer, answer
    # Later than anybody waits for it, so that it meets nobody.
    with guest.fault("fw_delay", message=SENSORS, ms=11_000, when={"times": 1}):
        begun = time.monotonic()
        answer = _temperature(guest)
        assert "timed out" in answer, answer
        waited = time.monotonic() - begun
        assert 9.5 < waited < 14, f"gave up after {waited:.1f} s"
    # Other requests do not wait for the one that is not answered.
    guest.check(_MODULE)
    time.sleep(1.5)
    same("next answer", _temperature(guest), MILLIDEGREES)
    # One more answer, with other values, although nobody has asked.
    unasked = message(SENSORS + 1, attribute(0, b"\x07"), attribute(1, b"\x07"))
    guest.do("fw_send", hex=unasked.hex())
    same("answer after one nobody asked for", _temperature(guest), MILLIDEGREES)


# Ends with the status of a command that was stopped and continued while it waited for the firmware.
_STOPPED = "{{ {command}; }} >/tmp/stopped 2>&1 & pid=$!; sleep 0.7; kill -STOP $pid; sleep 0.2; kill -CONT $pid; wait $pid"


@case(rows=(9, 10, 20))
def requests_in_spite_of_signals(guest: Guest) -> None:
    """Whoever is stopped and continued, or gets a signal that does not end it, still gets the firmware's answer."""
    guest.check("ready 1500")
    dump_clear = 'devlink health dump clear pci/"$(fbnic_slot)" reporter fw'
    guest.check(f"{dump_clear}; near_if >/run/near; fbnic_slot >/run/slot; ls /sys/class/hwmon/hwmon*/temp1_input >/run/temp")
    for kind, command, wanted in (
        (SENSORS, "exec cat $(cat /run/temp)", MILLIDEGREES),
        (QSFP, "exec ethtool -m $(cat /run/near) hex on i2c 0x50 offset 0 length 4", "11 08 00"),
        (COREDUMP_INFO, "exec devlink health dump show pci/$(cat /run/slot) reporter fw", "FW coredump"),
        (SELF_TEST, "exec ethtool -t $(cat /run/near) online", "PASS"),
    ):
        with guest.fault("fw_delay", message=kind, ms=2500, when={"times": 1}) as fault:
            result = guest.run(_STOPPED.format(command=command), 40)
            same(f"requests of {kind:#x}", guest.struck(fault), 1)
        said = guest.check("cat /tmp/stopped")
        assert not result.status and wanted in said, f"{command}: {result.status}, {said[:300]}"


@case(rows=(9, 10))
def failures_are_explained(guest: Guest) -> None:
    """`ethtool -m` and the firmware's dump say apart what went wrong, and the log of the kernel what nobody reads."""
    guest.check("ready 1500; dmesg -C")
    rust = guest.spec.driver == "rust"
    if rust:
        # What was not sent is not for the firmware to answer.
        with guest.fault("fw_delay", message=SELF_TEST, ms=3000):
            guest.check("cat /sys/kernel/debug/fbnic/*/fw_self_test >/dev/null & sleep 0.5")
            tested = guest.run('ethtool -t "$(near_if)" online').output
        assert re.search(r"[Mm]ailbox.*\s30\s*$", tested, re.MULTILINE), tested
    silent = "did not answer in time" if rust else "Timed out waiting for firmware response"
    told = guest.run(_MODULE.replace("0x50", "0x50 page 9").replace("offset 0", "offset 128"))
    assert told.status and "Failed to read EEPROM" in told.output, told.output
    with guest.fault("fw_silent", message=QSFP):
        told = guest.run(_MODULE, 40)
    assert told.status and silent in told.output, told.output
    size_0 = message(COREDUMP_INFO + 1, attribute(0), attribute(1, bytes(4))).hex()
    for kind, fault, said in (
        ("fw_replaced", {"message": COREDUMP_INFO, "hex": size_0}, "size 0"),
        ("fw_error", {"message": COREDUMP_INFO, "error": -5}, "refused" if rust else "returned error"),
        ("fw_silent", {"message": COREDUMP_INFO}, "did not say in time" if rust else "Timed out waiting on core dump info"),
        ("fw_silent", {"message": COREDUMP_READ}, "did not come in time" if rust else "Timed out waiting on core dump (1/3)"),
    ):
        guest.check('devlink health dump clear pci/"$(fbnic_slot)" reporter fw')
        with guest.fault(kind, **fault):
            told = guest.run(_DUMP, 40)
        assert told.status and said in told.output, f"{kind} {fault}: {told.output}"
    guest.check(f'devlink health dump clear pci/"$(fbnic_slot)" reporter fw; {_DUMP} | grep -q coredump')
    with guest.fault("fw_error", message=SENSORS, error=-61):
        _temperature(guest)
    logged = guest.check("dmesg | grep -ci 'sensors: the firmware\\|returned error -61'; true")
    assert int(logged) > 0, guest.check("dmesg")


@case(rows=(9,))
def requests_at_once(guest: Guest) -> None:
    """Requests of four types wait side by side; a second of the same type is refused.

    The kernel lets sensors, module and dump be read by one at a time, so that only our own file in
    debugfs can ask a second time while the first waits.
    """
    guest.check("ready 1500")
    commands = [_TEMPERATURE, _MODULE, f"{_DUMP} | head -1"]
    if guest.spec.driver == "rust":
        commands.append("cat /sys/kernel/debug/fbnic/*/fw_self_test")
    # devlink shows a dump that it has, and asks only for one that it has not.
    guest.check('devlink health dump clear pci/"$(fbnic_slot)" reporter fw')
    types = [SENSORS, QSFP, COREDUMP_INFO, SELF_TEST][: len(commands)]
    faults = [guest.arm("fw_delay", message=kind, ms=8500) for kind in types]
    together = "".join(f"{{ {command}; }} >/tmp/at-once-{i} 2>&1 & " for i, command in enumerate(commands))
    guest.check(together)
    if guest.spec.driver == "rust":
        _wait("the test was not sent", 8, lambda: guest.struck(faults[3]))
        same("second test", guest.check(commands[3]).strip(), "failed: EEXIST")
    _wait("some requests were not sent", 8, lambda: all(map(guest.struck, faults)))
    guest.disarm()
    wanted = " && ".join(f"grep -q . /tmp/at-once-{i}" for i in range(len(commands)))
    guest.check(f"wait_for 15 eval '{wanted}'")
    answers = [guest.check(f"cat /tmp/at-once-{i}") for i in range(len(commands))]
    same("temperature", answers[0].strip(), MILLIDEGREES)
    assert "11 08 00" in answers[1], answers[1]
    assert "coredump" in answers[2], answers[2]
    assert answers[3:] in ([], ["passed\n"]), answers[3:]


@case(rows=(9,), drivers=("rust",))
def fifteen_in_flight(guest: Guest) -> None:
    """Fifteen messages that dead firmware does not take are the most; then there is "busy".

    The upstream driver cannot be interrupted while it waits for an answer, so that it would take
    10 s to place each of them.
    """
    guest.check("ready 1500; ip link set $(near_if) down")
    with guest.fault("fw_dead"):
        busy = [
            "busy" in guest.run(_INTERRUPTED).output for _ in range(18)
        ]
        same("refused", busy, [False] * 15 + [True] * 3)
        low = guest.fw_window(*RINGS)[32::2]
        same("descriptors with the firmware", sum(word & 3 == 1 for word in low), 15)
    _wait("no temperature", 15, lambda: _temperature(guest) == MILLIDEGREES)
    guest.check("ready 1500")


@case(rows=(9,))
def firmware_cannot_read(guest: Guest) -> None:
    """Messages whose descriptors come back with an error: the handshake repeats them, others fail."""
    guest.check("! is_loaded || unload_fbnic")
    with guest.fault("fw_refused", message=0x10, when={"times": 3}) as fault:
        guest.check("ready 1500", 60)
        same("refusals", guest.struck(fault), 3)
    with guest.fault("fw_refused", message=SENSORS, when={"times": 1}):
        begun = time.monotonic()
        answer = _temperature(guest)
        assert "/output error" in answer or "timed out" in answer, answer
        if guest.spec.driver == "rust":
            assert time.monotonic() - begun < 5, "waited for an answer that could not come"
    same("next answer", _temperature(guest), MILLIDEGREES)


@case(rows=(9,))
def firmware_wakes_late(guest: Guest) -> None:
    """Firmware that listens only after three seconds is knocked at until then, and found."""
    guest.check("is_loaded || load_fbnic; fbnic_unbind")
    begun = time.monotonic()
    with guest.fault("fw_dead", when={"for_ms": 3000}):
        guest.check("fbnic_bind && near_if", 60)
    waited = time.monotonic() - begun
    assert waited > 2, f"found after {waited:.1f} s, before it listened"
    guest.check("ready 1500")
    traffic.ping(guest, 56)


@case(rows=(10,))
def ownership(guest: Guest) -> None:
    """The port belongs to the host exactly while its interface is up."""
    for step, owned in (
        ("ready 1500", True),
        ("ip link set $(near_if) down", False),
        ("ready 1500", True),
        ("unload_fbnic", False),
    ):
        guest.check(step)
        _wait(f"owned: {not owned} after {step}", 5, lambda owned=owned: guest.fw_host()["owned"] == owned)
    guest.check("ready 1500")


# Without a word to the interface itself, which would bring it up again.
_BACK = "wait_for 20 has_carrier $(near_if) && wait_for 8 ping -n -q -c 1 -W 1 $FAR4"


@case(rows=(10,))
def ownership_in_spite_of_signals(guest: Guest) -> None:
    """A signal to the one who waits for the port, after a test or a reset, does not leave the interface down."""
    attempts = ['ethtool -t "$(near_if)" offline']
    if guest.spec.driver == "rust":
        # The upstream driver does not come back after a reset with the interface up.
        attempts.append("""bash -c 'echo 1 >"$0"' "/sys/bus/pci/devices/$(fbnic_slot)/reset" """)
    for attempt in attempts:
        guest.check("ready 1500")
        with guest.fault("fw_delay", message=OWNERSHIP, ms=7000):
            same("status", guest.run(f"timeout -s INT 4 {attempt}", 60).status, 124)
            guest.check(_BACK, 60)
        traffic.ping(guest, 56)


@case(rows=(9,))
def no_dma_without_a_driver(guest: Guest) -> None:
    """The device may use DMA while the mailbox is up, and not a moment longer."""
    guest.check("ready 1500")
    gates = [guest.csrs(csr, csr)[0] for csr in TLP_GATES]
    assert all(gate & BME for gate in gates), f"DMA is off: {gates}"
    guest.check("unload_fbnic")
    same("gates after unload", [guest.csrs(csr, csr)[0] for csr in TLP_GATES], GATES_SHUT)
    # Slot 0 ends each ring, the others are to be skipped; no address is left in any.
    ring = [0, 0] + [3, 0] * 15
    same("descriptors", guest.fw_window(*RINGS), ring * 2)
    # Firmware that cannot reach the host's memory keeps what it has to say.
    guest.do("fw_send", hex=message(HEARTBEAT + 1).hex())
    guest.check("sleep 0.2")
    same("descriptors", guest.fw_window(*RINGS), ring * 2)
    guest.check("ready 1500")


@case(rows=(10,))
def firmware_versions(guest: Guest) -> None:
    """Firmware before 0.10.6 is refused, later is named as the upstream driver does."""
    _restart_driver(guest, "true")
    try:
        guest.do("firmware", version="0.10.5.255")
        refused = guest.run("dmesg -C; insmod_with_deps /guest/ko/$DRIVER.ko; sleep 0.3; near_if")
        assert refused.status, f"taken: {refused.output}"
        log = guest.check("dmesg")
        assert re.search(r"fbnic.*00?\.10\.0?5.*older", log, re.DOTALL), log
        same("devlink", guest.check("devlink dev show").strip(), "")
        guest.run("unload_fbnic")
        for version, commit, text in (
            ("0.10.6.0", "1a2b3c4d5e6f7a8b9c", "00.10.06-000_1a2b3c4d5e6f7a8b9c"),
            ("255.254.253.252", "", "255.254.253-252"),
        ):
            guest.do("firmware", version=version, commit=commit)
            guest.check("load_fbnic")
            report = guest.check('ethtool -i "$(near_if)"')
            assert f"firmware-version: {text}\n" in report, report
            info = guest.check("devlink dev info")
            number = text.partition("_")[0]
            assert re.search(rf"running:\s+fw {number}\s", info), info
            assert (f"fw.commit {commit}\n" in info) == bool(commit), info
            guest.check("unload_fbnic")
    finally:
        guest.do("firmware", version="25.7.25.2", commit="emulated")
    guest.check("ready 1500", 60)


@case(rows=(10,), drivers=("rust",))
def firmware_turns_too_old(guest: Guest) -> None:
    """Firmware that says later, again and again, that it is too old: that is logged once, and nothing sent to it.

    The upstream driver sends nothing either, but logs each time.
    """
    guest.check("ready 1500; dmesg -C")
    for _ in range(20):
        guest.do("fw_send", hex=message(CAPS, attribute(0x00, b"\1\0\0\0"), *_CAPS[1:]).hex())
    _wait("it is not told", 5, lambda: "older" in guest.check("dmesg"))
    answer = _temperature(guest)
    assert "No such device" in answer, answer
    # The heartbeat of this time is left out.
    time.sleep(11)
    # Who reads a sensor is told in the log, too.
    lines = guest.check("dmesg | grep fbnic | grep -v sensors:").splitlines()
    same("lines", len(lines), 1)
    traffic.ping(guest, 56)
    guest.check("unload_fbnic; ready 1500", 60)
    same("temperature", _temperature(guest), MILLIDEGREES)


@case(rows=(9,), drivers=("rust",))
def dump_gives_way(guest: Guest) -> None:
    """A dump of the firmware's memory that takes long is given up when the device is reset or let go."""
    for end in ('echo 1 >"/sys/bus/pci/devices/$(fbnic_slot)/reset"', "fbnic_unbind"):
        guest.check('ready 1500; devlink health dump clear pci/"$(fbnic_slot)" reporter fw')
        with guest.fault("fw_delay", message=COREDUMP_READ, ms=9000) as fault:
            guest.check(f"{{ {_DUMP}; }} >/tmp/dump 2>&1 &")
            _wait("no part was asked for", 5, lambda fault=fault: guest.struck(fault))
            begun = time.monotonic()
            guest.check(end, 60)
            waited = time.monotonic() - begun
        assert waited < 6, f"waited {waited:.1f} s for the dump"
    guest.check("fbnic_bind && ready 1500", 60)
    assert bytes.fromhex(guest.check(_DUMP, 60).partition(":")[2]), "no dump"


@case(rows=(10, 19))
def firmware_restarts(guest: Guest) -> None:
    """The firmware crashes, forgets its owner and loses the tables: soon all is as before, rules of users too."""
    name = guest.check("ready 1500; dmesg -C; near_if").split()[-1]
    guest.check(f"ethtool -N {name} flow-type tcp4 src-ip 198.18.0.1 dst-port 80 action 1")
    rules = guest.check(f"ethtool -n {name}")
    # A restart shows in an uptime that is less than one before. The next but one heartbeat has to
    # see it, up to 20 s later.
    time.sleep(max(0, 25 - _uptime(guest)))
    guest.check("ip link set $(near_if) down; ready 1500; wait_for 5 ping -n -q -c 1 -W 1 $FAR4")
    before = [guest.csrs(*table) for table in TABLES]
    crashes = _crashes(guest)
    with heartbeats_late_for_c(guest):
        guest.do("fw_restart", tcam=True)
        lost = [guest.csrs(*table) for table in TABLES]
        assert lost != before, "the tables have survived, which shows nothing"
        _wait("no crash was noticed", 40, lambda: _crashes(guest) > crashes)
    guest.check(f"{_LOG} | grep -q '^\\[    0\\] .*\\] Firmware crash detected!$'")
    _wait("the tables are not back", 5, lambda: [guest.csrs(*t) for t in TABLES] == before)
    _wait("the port has no owner", 5, lambda: guest.fw_host()["owned"])
    traffic.ping(guest, 56)
    # It is told once, and not again at the next heartbeat.
    time.sleep(12)
    same("crashes", _crashes(guest), crashes + 1)
    lines = guest.check("dmesg | grep -ci 'firmware \\(did not respond\\|stopped\\)'; true")
    same("messages", lines.strip(), "1")
    same("temperature", _temperature(guest), MILLIDEGREES)
    same("rules", guest.check(f"ethtool -n {name}"), rules)
    guest.check(f"ethtool -N {name} delete {RULE}")


@case(rows=(10,))
def crash_is_read_first(guest: Guest) -> None:
    """What firmware has kept of a crash is fetched before it is told that the host is there, which may end it."""
    guest.check('ready 1500; devlink health dump clear pci/"$(fbnic_slot)" reporter fw')
    time.sleep(max(0, 25 - _uptime(guest)))
    guest.check("ip link set $(near_if) down; ready 1500")
    with heartbeats_late_for_c(guest):
        with guest.fault("fw_delay", message=COREDUMP_INFO, ms=4000) as fault:
            guest.do("fw_restart", tcam=True)
            _wait("no dump was asked for", 40, lambda: guest.struck(fault))
            same("the port is taken during the dump", guest.fw_host()["owned"], False)
        _wait("the port has no owner", 15, lambda: guest.fw_host()["owned"])
    traffic.ping(guest, 56)


@case(rows=(10,))
def heartbeat_lost(guest: Guest) -> None:
    """Firmware that takes nothing for a while is reported once it is back, and traffic goes on."""
    guest.check("ready 1500")
    crashes = _crashes(guest)
    with guest.fault("fw_dead"):
        # Asked within 10 s, missed 10 s later.
        noticed = "dmesg | grep -qi 'firmware \\(did not respond\\|stopped\\)'"
        guest.check(f"dmesg -C; wait_for 30 eval \"{noticed}\"", 60)
        traffic.ping(guest, 56)
        # The crash log can only be fetched from firmware that answers.
        same("crashes", _crashes(guest), crashes)
    _wait("no crash was reported", 10, lambda: _crashes(guest) == crashes + 1)
    same("temperature", _temperature(guest), MILLIDEGREES)
    traffic.ping(guest, 56)
