"""From images to a report, nothing asks for the network, not even for the address of a name."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import make_run

import moenas
from moenas.data.manifest import Manifest
from moenas.workflows.report import report

ASKED: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit events see what any library does with sockets, however it imported them."""
    if not _watching or not event.startswith(("socket.", "urllib.")):
        return
    if event == "socket.__new__" and arguments[1] == socket.AF_UNIX:
        return
    if event == "socket.gethostname":
        return
    if event != "socket.__new__" and getattr(arguments[0], "family", None) == socket.AF_UNIX:
        return
    ASKED.append(event)
    raise OSError(f"there is no network: {event}")


@pytest.fixture
def watched() -> Iterator[list[str]]:
    global _watching
    if not hasattr(sys, "_moenas_hooked"):
        sys.addaudithook(_hook)  # stays for ever, but sleeps
        sys._moenas_hooked = True  # type: ignore[attr-defined]
    ASKED.clear()
    _watching = True
    yield ASKED
    _watching = False


def test_the_watch_sees_sockets_and_names(watched: list[str]) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("example.org", 80))
    with pytest.raises(OSError, match="no network"):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one, two = socket.socketpair(socket.AF_UNIX)
    one.close()
    two.close()
    assert len(watched) == 2


def test_models_scores_and_pages_need_no_network(
    scenes: Path, tmp_path: Path, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOENAS_KERNEL", "0")  # nothing has to be compiled
    model = moenas.build_model("mobilevitv2_050", experts=(1, 2, 1, 1, 1, 1, 1, 1, 1))
    manifest = Manifest.load(scenes)
    rows = manifest.frame.index[manifest.frame["split"].isin(("val", "report"))]
    scores = moenas.evaluate(model, manifest.take(rows), image_size=32)
    assert scores.n > 0
    path = tmp_path / "model.safetensors"
    moenas.save_model(path, model, image_size=32)
    moenas.load_model(path)
    page = report(make_run(tmp_path / "run", trials=9).path)
    assert page
    assert watched == []
