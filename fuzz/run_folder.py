"""Run folders: any content of their JSON files is read, or named in a `MoENASError`.

The first byte chooses the file, the others are its content.
"""

from __future__ import annotations

import json
from pathlib import Path

import atheris

from harness import fuzz

with atheris.instrument_imports(include=["moenas"]):
    from moenas.report.results import read_results
    from moenas.runs import RunFolder
    from moenas.serialisation import read_json

_CONFIG = {"moenas_format": 1, "kind": "search", "settings": {"seeds": 2}}
_TRIAL = {
    "number": 0,
    "architecture": "net-e1",
    "experts": [1],
    "state": "COMPLETE",
    "parameters": 7,
    "balanced_accuracy": 0.5,
}


def seeds() -> list[bytes]:
    """Each file as it may be."""
    values = (_CONFIG, {"created": "now", "versions": {}}, [_TRIAL], {"models": []}, {"steps": []})
    return [
        *(bytes([place]) + json.dumps(value).encode() for place, value in enumerate(values)),
        b"\0" + b"[" * 3000,
        b"\1" + b'{"seconds": {"total": 1e999, "a": NaN}}',
    ]


def check(data: bytes, folder: Path) -> None:
    """Open a folder and read all that a report reads first."""
    run = RunFolder(folder)
    run.config.write_text(json.dumps(_CONFIG))
    files = (run.config, run.summary, run.trials, run.comparison, run.pruning)
    for file in files[1:]:
        file.unlink(missing_ok=True)
    file = files[data[0] % len(files)] if data else run.config
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data[1:])
    read_json(file)
    read_results(RunFolder.open(folder))


if __name__ == "__main__":
    fuzz(check, seeds(), text=True)
