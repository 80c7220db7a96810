"""A disk that is really full: one clear error, what was finished is intact, and on it goes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_search
import pytest
from small_disk import filling, mounted

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import RunFolderError
from moenas.nas import driver as driver_module
from moenas.nas.study_file import study_errors
from moenas.report.html import render
from moenas.runs import RunFolder
from moenas.serialisation import write_json
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult

MIB = 1 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from mounted(tmp_path_factory.mktemp("disk"), 4)


@pytest.fixture
def fill(disk: Path) -> Iterator[Callable[[int], Path]]:
    """Fills the disk but for some bytes; returns the file to delete."""
    yield from filling(disk)


@pytest.mark.parametrize("left", [0, 16384, 65536, 140000, 220000])
def test_a_search(
    disk: Path, fill: Callable[[int], Path], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written when the space ends: the folder's config, the study, a trial's file."""

    def trial(job: TrainingJob) -> JobResult:
        # Four are 300 kB: more than any rest, even where a study of before is freed only now.
        write_json(Path(job.folder) / "history.json", list(range(10000)))
        return fake_search.fake_job(job)

    def drive() -> None:
        run = RunFolder.create(path, "search", {})
        with run.locked(), study_errors(run, "written"):
            fake_search.make_driver(run).run(4)

    monkeypatch.setattr(driver_module, "run_trial", trial)
    path = disk / f"run-{left}"
    ballast = fill(left)
    with pytest.raises(RunFolderError, match="The disk is full") as told:
        drive()
    assert str(path) in str(told.value)
    assert not list(disk.rglob("*.part"))
    ballast.unlink()
    drive()
    found = fake_search.archive(path)
    assert {entry[1] for entry in found} == {"COMPLETE"}  # no trial failed for lack of space
    monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
    run = RunFolder.create(disk / f"whole-{left}", "search", {})
    fake_search.make_driver(run).run(4)
    assert found == fake_search.archive(run.path)
    for folder in (path, run.path):
        subprocess.run(["rm", "-r", str(folder)], check=True)


def test_an_image_cache(disk: Path, fill: Callable[[int], Path], scenes: Path) -> None:
    manifest = Manifest.load(scenes)
    manifest = manifest.take(range(40))  # 123 kB at 32 px
    ballast = fill(60000)
    with pytest.raises(RunFolderError, match="The disk is full") as told:
        cached_images(manifest, 32, disk / "cache", progress=False)
    assert str(disk / "cache") in str(told.value)
    assert not list(disk.rglob("*.part"))
    ballast.unlink()
    assert len(cached_images(manifest, 32, disk / "cache", progress=False)) == 40


def test_a_report(disk: Path, fill: Callable[[int], Path], tiny_run: Path) -> None:
    run = disk / "reported"
    run.mkdir()
    for name in ("config", "summary", "trials", "comparison"):
        (run / f"{name}.json").write_bytes((tiny_run / f"{name}.json").read_bytes())
    (run / "report.html").write_text("of yesterday")
    fill(4096)
    with pytest.raises(RunFolderError, match=r"The disk is full: '.*report\.html'"):
        render(RunFolder.open(run))
    assert (run / "report.html").read_text() == "of yesterday"
