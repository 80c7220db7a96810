"""kill -9 at random moments: nothing that was finished is lost, the end is the uninterrupted one.

The moments come from a seed that each test's name shows, as shares of the time that the work takes
uninterrupted on this machine.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_search
import pytest
from nursery import Nursery

from moenas.atomic import HOST
from moenas.runs import RunFolder

TRIALS = 6
KILLS = 13
"""In each test; four tests are 52 in all."""


def finished(run: Path) -> dict[int, Any]:
    """What is told of trials; a study that is not made yet has none."""
    try:
        return {entry[0]: entry for entry in fake_search.archive(run) if entry[1] == "COMPLETE"}
    except Exception:  # killed before the study's tables were made, or even its folder
        return {}


def hidden(run: Path) -> list[str]:
    return sorted(path.name for path in run.rglob(".*") if path.name != ".lock")


def log(run: Path) -> list[str]:
    return sorted((run / "trials" / "trained.log").read_text().split())


@pytest.fixture(scope="module", params=[1, 2], ids=["one-length", "two-lengths"])
def whole(
    request: pytest.FixtureRequest, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path, float]]:
    """A search that nobody killed: how many lengths its trainings have, where, and seconds."""
    folder = tmp_path_factory.mktemp("whole")
    if Path("/dev/shm").is_dir():  # where the others are, or its seconds would be longer
        folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    run = folder / "run"
    start = time.monotonic()
    assert nursery.run("deadly:search", str(run), TRIALS, request.param) == 0
    yield request.param, run, time.monotonic() - start
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_killed_at_random_moments(
    nursery: Nursery, whole: tuple[int, Path, float], memory: Path, seed: int
) -> None:
    rungs, reference, seconds = whole
    moments, run, kills, before = random.Random(seed), memory / "run", 0, {}
    for _ in range(5 * KILLS):
        if kills == KILLS:
            break
        after = moments.uniform(0, 0.35) * seconds
        status = nursery.run("deadly:search", str(run), TRIALS, rungs, kill_after=after)
        if status == 0:  # it was quicker: the other kills are for another search
            assert fake_search.archive(run) == fake_search.archive(reference)
            shutil.rmtree(run)
            before = {}
            continue
        assert status == -signal.SIGKILL, f"seed {seed}, kill {kills}"
        kills += 1
        found = finished(run)
        assert {n: found.get(n) for n in before} == before, f"seed {seed}, kill {kills}: lost"
        before = found
    assert kills == KILLS
    assert nursery.run("deadly:search", str(run), TRIALS, rungs) == 0
    assert fake_search.archive(run) == fake_search.archive(reference)
    assert {entry[1] for entry in fake_search.archive(run)} == {"COMPLETE"}
    assert log(run) == log(reference)  # none was trained twice
    assert hidden(run) == []


NOBODY = 4194305
"""Above any process's number."""


def test_half_written_files_of_the_dead_are_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", {})
    dead = run.trial(0).path / f".scores.json.{NOBODY}-{HOST}-abc_def.part"
    alive = dead.with_name(f".scores.json.1-{HOST}-abcdefgh.part")
    elsewhere = dead.with_name(f".scores.json.{NOBODY}-0badc0de-abc_def.part")  # on another machine
    foreign = dead.with_name(".notes.part")
    dead.parent.mkdir(parents=True)
    for path in (dead, alive, elsewhere, foreign):
        path.write_text("half")
    with run.locked():
        assert not dead.exists()
        assert alive.exists()
        assert foreign.exists()
        assert elsewhere.exists()
