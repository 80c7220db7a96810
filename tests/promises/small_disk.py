"""A disk of a few MiB, in memory, that can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


def mounted(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of some MiB on a folder, for a fixture."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs the right to mount a small tmpfs: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def filling(disk: Path) -> Iterator[Callable[[int], Path]]:
    """Give a function that fills a disk but for some bytes; it returns the file to delete."""
    path = disk / "ballast"

    def fill(left: int) -> Path:
        path.unlink(missing_ok=True)
        with path.open("wb", buffering=0) as file:
            for block in (MIB, 4096):
                try:
                    while file.write(b"x" * block) == block:
                        pass
                except OSError:
                    pass
            file.truncate(max(0, file.tell() - left))
        return path

    yield fill
    path.unlink(missing_ok=True)
