"""What a model's epochs were, read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moenas.errors import RunFolderError
from moenas.runs import ModelFolder
from moenas.training.history import EpochRecord, read_history

FIRST = {"epoch": 1, "loss": 0.5, "accuracy_val": 0.7, "learning_rate": 0.1, "seconds": 2.0}


def test_epochs_are_read_back(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    assert read_history(folder) == []
    second = {**FIRST, "epoch": 2, "least_used": 0.1, "router_entropy": None}
    folder.history.write_text(f"{json.dumps(FIRST)}\n{json.dumps(second)}\n")
    assert read_history(folder) == [EpochRecord(**FIRST), EpochRecord(**second)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"3", b"null", b"", b"\xff", b'{"epoch": 1}', b"[" * 100_000]
    + [json.dumps({**FIRST, **more}).encode() for more in ({"loss": "a"}, {"unknown": 1})],
)
def test_a_history_of_another_shape_is_named(tmp_path: Path, line: bytes) -> None:
    folder = ModelFolder(tmp_path)
    folder.history.write_bytes(json.dumps(FIRST).encode() + b"\n" + line + b"\n")
    with pytest.raises(RunFolderError, match=r"history\.jsonl' is damaged: line 2 .*Delete it"):
        read_history(folder)
