"""Files that a resume reads, cut and changed at every region: noticed, never a library's traceback.

What is made anew or replaced by the state before it may be used; otherwise one `MoENASError` names
the file. Training states are in tests/training/test_checkpoint.py, caches in tests/data.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import MoENASError
from moenas.models.storage import load_model
from moenas.nas.study import open_recorded_study
from moenas.predictions import Predictions
from moenas.report.results import read_results
from moenas.runs import ModelFolder, RunFolder
from moenas.training.outcome import read_result


def damages(whole: bytes, flips: int) -> Iterator[tuple[str, bytes]]:
    """Yield a file cut at its regions' borders, and with a bit changed in regions all over it."""
    size = len(whole)
    for at in sorted({0, 1, 8, 100, size // 3, size // 2, size - 8, size - 1}):
        yield f"cut at {at} of {size}", whole[:at]
    rng = np.random.default_rng(0)
    for region in range(flips):
        at = int((region + rng.random()) * size / flips)
        bit = 1 << int(rng.integers(8))
        yield (
            f"bit {bit} of byte {at} of {size}",
            whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :],
        )


def value_or_error(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except MoENASError as error:
        return error


def outcomes(path: Path, read: Callable[[], Any], flips: int) -> dict[str, Any]:
    """What is read of each damaged file: a value, or the error that names it."""
    whole, found = path.read_bytes(), {}
    for what, content in damages(whole, flips):
        path.write_bytes(content)
        found[what] = value_or_error(read)
        if isinstance(found[what], MoENASError):
            assert path.name in str(found[what]), what
    path.write_bytes(whole)
    return found


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    path = tmp_path / "run"
    shutil.copytree(tiny_run, path, ignore=shutil.ignore_patterns("finalists", "supernets"))
    return RunFolder.open(path)


def cuts(found: dict[str, Any]) -> list[Any]:
    return [value for what, value in found.items() if what.startswith("cut")]


def test_checkpoints(run: RunFolder) -> None:
    path = run.trial(0).checkpoint
    found = outcomes(path, lambda: load_model(path)[1], 20)
    known = load_model(path)[1]
    assert all(isinstance(value, MoENASError) or value == known for value in found.values())
    assert all(isinstance(value, MoENASError) for value in cuts(found))


def test_predictions(run: RunFolder) -> None:
    path = run.trial(0).predictions
    known = Predictions.load(path)
    for what, value in outcomes(path, lambda: Predictions.load(path), 60).items():
        if not isinstance(value, MoENASError):
            assert value.frame.equals(known.frame), what
            assert value.threshold == known.threshold, what


def test_manifests(run: RunFolder) -> None:
    known = Manifest.load(run.manifest)
    for what, value in outcomes(run.manifest, lambda: Manifest.load(run.manifest), 60).items():
        if not isinstance(value, MoENASError):
            assert value.frame.equals(known.frame), what


def test_scores(run: RunFolder) -> None:
    """A digit that was changed is `moenas verify`'s to find; all else is told."""
    folder: ModelFolder = run.trial(0)
    found = outcomes(folder.scores, lambda: read_result(folder), 60)
    assert all(isinstance(value, MoENASError) for value in cuts(found)[:-1])  # the last is "\n"


def test_studies(run: RunFolder) -> None:
    def read() -> Any:
        return [(t.number, t.state, t.values) for t in open_recorded_study(run).trials]

    found = outcomes(run.study, read, 40)
    assert all(isinstance(value, MoENASError) for value in cuts(found)[1:])


@pytest.mark.parametrize("name", ["config", "trials", "comparison", "summary", "pruning"])
def test_what_a_report_reads(run: RunFolder, name: str) -> None:
    path: Path = getattr(run, name)
    found = outcomes(path, lambda: read_results(RunFolder.open(run.path)), 12)
    assert all(isinstance(value, MoENASError) for value in cuts(found)[:-1])


def test_image_caches(scenes: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(scenes).take(range(6))
    known = cached_images(manifest, 16, tmp_path, progress=False).images.copy()
    (path,) = tmp_path.glob("*.bin")

    def read() -> Any:
        return cached_images(manifest, 16, tmp_path, progress=False).images.copy()

    for what, value in outcomes(path, read, 40).items():
        assert (value == known).all(), what
