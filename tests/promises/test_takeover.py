"""Leaders of a shared search killed in their own stages: another goes on to the same end."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from nursery import Nursery

from moenas.config import to_dict
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder, read_json


def found(path: Path) -> dict[str, Any]:
    """All that a search ends with, but for times."""
    run = RunFolder.open(path)
    trials = [{k: v for k, v in t.items() if k != "seconds"} for t in read_json(run.trials)]
    models = {
        model.relative_to(path).as_posix(): model.read_bytes()
        for stage in ("parents", "trials", "finalists")
        for model in sorted(path.glob(f"{stage}/*/checkpoint.safetensors"))
    }
    return {"trials": trials, "comparison": read_json(run.comparison), "models": models}


def test_leaders_killed_with_parents_and_with_finalists(
    nursery: Nursery, tiny_config: SearchConfig, memory: Path
) -> None:
    config = to_dict(
        dataclasses.replace(tiny_config, trials=2, finalists=1, wider=None, widths=False)
    )
    whole, run = memory / "whole", memory / "run"
    assert nursery.run("crew:search_alone", config, str(whole)) == 0
    assert nursery.run("crew:search_with_dying_leaders", config, str(run)) == 0

    assert found(run) == found(whole)
    lines = [line.split() for line in Path(f"{run}.notes").read_text().splitlines()]
    ends = Counter(folder for what, folder in lines if what == "ends")
    begins = Counter(folder for what, folder in lines if what == "begins")
    assert set(ends.values()) == {1}  # none that was finished was trained again
    assert sorted((begins - ends).values()) == [1, 1]  # each killed leader's, which went on
    assert len(ends) == len(found(run)["models"])
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]
