"""kill -9 at random moments of pruning, exporting, caching and drawing: the end is the same."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from nursery import Nursery

from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import save_model

pytestmark = pytest.mark.slow

KILLS = {"cache": 4, "draw": 4, "prune": 2, "export": 1}
"""Of each command; some take seconds."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    dense = build_model("mobilevitv2_050", seed=1)
    save_model(path, upcycle(dense, (1, 2, 1, 1, 1, 2, 1, 1, 1), seed=1, noise=0.5), image_size=32)
    return path


def content(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Hashes of the files that a command leaves, by name; nothing else may be there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in names
        for path in folder.rglob(name)
    }


COMMANDS = {
    "cache": (("data",), ("*.npy", "*.bin", "*.json")),
    "draw": ((), ("*.parquet", "*.png")),
    "prune": (("checkpoint", "data"), ("curve.json", "checkpoint.safetensors", "*.parquet")),
    "export": (("checkpoint", "data"), ("*.pt2",)),
}
"""What each is given beside its folder, and what of it must be the same to the bit."""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_command_ends_as_if_it_had_not_been_killed(
    nursery: Nursery, command: str, checkpoint: Path, scenes: Path, memory: Path
) -> None:
    given = {"checkpoint": str(checkpoint), "data": str(scenes)}
    wanted, names = COMMANDS[command]
    arguments = [given[name] for name in wanted]
    whole, killed = memory / "whole", memory / "killed"
    start = time.monotonic()
    assert nursery.run(f"deadly:{command}", *arguments, str(whole)) == 0
    seconds = time.monotonic() - start
    reference = content(whole, names)
    assert reference
    moments, kills = random.Random(command), 0
    for _ in range(8 * KILLS[command]):
        after = moments.uniform(0.02, 0.7) * seconds
        status = nursery.run(f"deadly:{command}", *arguments, str(killed), kill_after=after)
        kills += status == -signal.SIGKILL
        if kills == KILLS[command]:
            break
        if status == 0:  # it was quicker than the first time, which had to compile, say
            shutil.rmtree(killed)
            seconds *= 0.6
    assert kills == KILLS[command]
    assert nursery.run(f"deadly:{command}", *arguments, str(killed)) == 0
    assert content(killed, names) == reference, f"after {kills} kills"
    assert not list(killed.rglob("*.part"))
