# SPDX-License-Identifier: GPL-2.0
"""QEMU's own control socket."""

import json
import socket
from pathlib import Path


class QmpError(Exception):
    """QEMU refused a command."""


def monitor(path: Path, command: str) -> str:
    """Gives QEMU's monitor one command in its language for people. Returns the answer."""
    return str(execute(path, "human-monitor-command", **{"command-line": command}))


def execute(path: Path, name: str, **arguments: str) -> object:
    """Gives QEMU one command of the machine's protocol. Returns the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        lines = connection.makefile("rw")
        lines.readline()  # The greeting.
        _execute(lines, "qmp_capabilities")
        return _execute(lines, name, **arguments)


def _execute(lines, name: str, **arguments: str) -> object:
    lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    lines.flush()
    for line in lines:
        answer = json.loads(line)
        if "error" in answer:
            raise QmpError(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]
    raise QmpError("QEMU has closed its control socket")
