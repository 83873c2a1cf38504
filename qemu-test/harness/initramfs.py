# SPDX-License-Identifier: GPL-2.0
"""The guest's initial root file system: the sandbox's part and, appended, the project's."""

import lzma
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import paths

# Modules of the distribution kernel that only some tests want; guest/lib.sh loads them.
EXTRA_MODULES = ("macvlan", "vxlan", "ip_gre", "ipip", "sit", "ip6_tunnel", "ip6_gre")


class PackError(Exception):
    """cpio has not written the archive to its end."""


def build(output: Path, archives: list[Path], modules: dict[str, Path], files: list[Path]) -> None:
    """Writes the archive for one boot.

    `modules` go to /guest/ko/NAME.ko and `files` to /guest/files/, with the frame checker. The kernel
    unpacks concatenated archives one after the other, so `archives` come first, copied as they are.
    /guest/modules has the extra modules, and for each of them a list of what it needs, itself last.
    """
    with tempfile.TemporaryDirectory(prefix="fbnic-overlay-", dir=output.parent) as name:
        root = Path(name)
        shutil.copytree(paths.GUEST, root / "guest")
        shutil.move(root / "guest" / "init", root / "init")
        _copy_into(root / "guest" / "ko", {f"{k}.ko": v for k, v in modules.items()})
        tools = [paths.FRAMES] if paths.FRAMES.exists() else []
        _copy_into(root / "guest" / "files", {f.name: f for f in [*tools, *files]})
        _add_modules(root / "guest" / "modules")
        with output.open("wb") as archive:
            for part in archives:
                with part.open("rb") as contents:
                    shutil.copyfileobj(contents, archive, 1 << 20)
            archive.flush()
            _append(archive.fileno(), root)


def _copy_into(directory: Path, files: dict[str, Path]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        shutil.copy(source, directory / name)


def _add_modules(directory: Path) -> None:
    directory.mkdir()
    for name in EXTRA_MODULES:
        command = ["modprobe", "-S", paths.kernel_release(), "--show-depends", name]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        needed = [Path(file) for file in re.findall(r"^insmod (\S+)", output, re.MULTILINE)]
        for file in needed:
            target = directory / file.name.removesuffix(".xz")
            if not target.exists():
                data = file.read_bytes()
                target.write_bytes(lzma.decompress(data) if file.suffix == ".xz" else data)
        names = [file.name.removesuffix(".xz") for file in needed]
        (directory / f"{name}.list").write_text("\n".join(names))


def _append(descriptor: int, root: Path) -> None:
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*"))
    result = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
        cwd=root,
        input=os.linesep.join(names).encode(),
        stdout=descriptor,
        stderr=subprocess.PIPE,
        check=False,
        # Out of space, cpio would ask for the next tape on the terminal, and its message is that there is none.
        start_new_session=True,
    )
    if result.returncode:
        raise PackError(f"cpio could not write the whole archive ({result.stderr.decode(errors='replace').strip()})")
