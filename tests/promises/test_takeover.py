"""Leaders of a shared search killed in their own stages: another goes on to the same end."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery

from moenas.config import to_dict
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json

pytestmark = pytest.mark.slow


def found(path: Path) -> dict[str, Any]:
    """What a search ends with, but for times."""
    run = RunFolder.open(path)
    models = {
        model.relative_to(path).as_posix(): model.read_bytes()
        for stage in ("parents", "trials", "finalists", "pruned")
        for model in sorted(path.glob(f"{stage}/**/checkpoint.safetensors"))
    }
    return {"comparison": read_json(run.comparison), "models": models}


def test_leaders_killed_with_parents_and_with_finalists(
    nursery: Nursery, tiny_run: Path, tiny_config: SearchConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "comparison.json").unlink()
    unfinished = [*run.glob("parents/*-s1"), *run.glob(f"finalists/{tiny_config.base}-e1*1-s?")]
    for folder in unfinished:  # two parents, two finalists
        shutil.rmtree(folder)
    config = to_dict(tiny_config)
    assert nursery.run("crew:search_with_dying_leaders", config, str(run)) == 0

    assert found(run) == found(tiny_run)
    lines = [line.split() for line in Path(f"{run}.notes").read_text().splitlines()]
    ends = Counter(folder for what, folder in lines if what == "ends")
    begins = Counter(folder for what, folder in lines if what == "begins")
    assert ends == dict.fromkeys(map(str, unfinished), 1)  # what was finished stayed as it was
    assert sorted((begins - ends).values()) == [1, 1]  # each dead leader's, which went on
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]
