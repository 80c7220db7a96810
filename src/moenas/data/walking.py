"""All files below a folder, through links to other folders, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of files, relative to ``folder`` and with ``/``, folder by folder in order.

    Data sets are often links to a larger disk; each folder is entered once, so that links in a
    circle end.
    """
    seen: set[str] = set()
    for base, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(base)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        relative = Path(base).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        yield from (prefix + name for name in sorted(files))
