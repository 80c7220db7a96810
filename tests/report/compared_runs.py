"""Made-up runs of all kinds whose models answered the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moenas.config import to_dict
from moenas.data.sources.emoji import DRAWINGS
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.records import records
from moenas.evaluation.scores import score
from moenas.nas.records import comparison_record
from moenas.nas.settings import SearchConfig
from moenas.predictions import LIGHTS, Predictions
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import write_json, write_parquet
from moenas.workflows.audit import AuditConfig
from moenas.workflows.train import TrainConfig

BASE, SMALL, LARGE = (
    "mobilevitv2_050-e111111111",
    "mobilevitv2_050-e211111111",
    "mobilevitv2_050-e811111111",
)
NOTE = DRAWINGS


@dataclasses.dataclass(frozen=True)
class World:
    """The images: how many concepts a split has, what is known, how they are named."""

    concepts: int = 12
    tones: bool = True
    lights: bool = True
    name: str = ""
    first: int = 0

    def images(self, split: str) -> pd.DataFrame:
        """Each concept is shown in ten tones and ten times as an empty scene."""
        concept = np.repeat(np.arange(self.first, self.first + self.concepts), 20)
        place = np.tile(np.arange(20), self.concepts)
        label = (place < 10).astype(int)
        rng = np.random.default_rng(len(split))
        light = rng.choice(LIGHTS, 20 * (self.first + self.concepts))[-len(place) :]
        frame = pd.DataFrame(
            {
                "image_id": [
                    f"{split}{self.name}-{c}-{p}" for c, p in zip(concept, place, strict=True)
                ],
                "split": split,
                "label": label,
                "group": pd.array(np.where(label == 1, place + 1, 1), dtype="Int16"),
                "lighting": light if self.lights else None,
                "cluster": [
                    f"{split}-{c}-{y}" for c, y in zip(concept, label, strict=True)
                ],
                "source": "emoji",
            }
        )  # fmt: skip
        frame["group"] = frame["group"].mask(frame["label"] == 0) if self.tones else pd.NA
        return frame

    def manifest(self) -> pd.DataFrame:
        return pd.concat([self.images(split) for split in ("train", "val", "search", "report")])


def answers(world: World, skill: float, slope: float, seed: int) -> Predictions:
    """What a model says that is right with probability ``skill``, less in the dark tones."""
    rng = np.random.default_rng(seed)
    parts = []
    for split in ("val", "search", "report"):
        frame = world.images(split)
        tone = frame["group"].fillna(0).to_numpy(dtype=float)
        hard = np.random.default_rng(7).random(len(frame))  # of the image, the same for all models
        right = 0.7 * hard + 0.3 * rng.random(len(frame)) < skill - slope * tone / 10
        seen = np.where(right == (frame["label"] == 1), 0.9, 0.1)
        parts.append(frame.assign(probability=np.clip(seen + rng.normal(0, 0.02, len(seen)), 0, 1)))
    return Predictions(pd.concat(parts, ignore_index=True))


def leave(
    folder: ModelFolder, table: Predictions, parameters: int = 1_114_107, macs: int = 10**7
) -> None:
    """Predictions and scores, as a training leaves them."""
    table.save(folder.predictions)
    scores = {
        split: to_dict(score(table, split=split, parameters=parameters, macs=macs, draws=200))
        for split in ("search", "report")
    }
    write_json(folder.scores, {"scores": scores, "seconds": 1.0, "stopped_because": None})


def summary(source: str = "emoji", note: str | None = NOTE, **more: Any) -> dict[str, Any]:
    return {
        "created": "2026-11-26T10:00:00+00:00",
        "machine": {"device": "cpu"},
        "versions": {"moenas": "0.1.0"},
        "base": "mobilevitv2_050",
        "image_size": 96,
        "seconds": {"search": 100.0, "total": 100.0},
        "data": {"source": source, "counts": {}, "note": note},
        **more,
    }


def make_search(
    path: Path,
    skills: Sequence[float] = (0.80, 0.85, 0.83),
    *,
    seeds: int = 2,
    world: World | None = None,
    start: int = 0,
    name: str = "MoENAS-",
    pruned: bool = True,
    slope: float = 0.05,
    note: str | None = NOTE,
    **settings: Any,
) -> RunFolder:
    """A search: the base model, finalists XXS and S, and what pruning left of S."""
    world = world or World()
    run = RunFolder.create(path, "search", to_dict(SearchConfig(image_size=96, **settings)))
    write_parquet(run.manifest, world.manifest())
    numbers = list(range(1, seeds + 1))
    models: list[dict[str, Any]] = [
        {"name": "mobilevitv2_050", "role": "base", "size_class": None, "architecture": BASE},
        {"name": f"{name}XXS", "role": "finalist", "size_class": "XXS", "architecture": SMALL},
        {"name": f"{name}S", "role": "finalist", "size_class": "S", "architecture": LARGE},
    ]
    folders = {}
    for place, (model, skill) in enumerate(zip(models, skills, strict=True)):
        model["seeds"] = numbers
        folders[model["name"]] = [run.finalist(model["architecture"], seed) for seed in numbers]
        for seed, folder in zip(numbers, folders[model["name"]], strict=True):
            leave(folder, answers(world, skill, slope, start + 100 * place + seed))
    if pruned:
        left = {"name": f"{name}S pruned", "role": "pruned", "size_class": None}
        models.append({**left, "architecture": SMALL, "seeds": [1]})
        folders[f"{name}S pruned"] = [run.pruned()]
        leave(run.pruned(), answers(world, skills[-1] - 0.01, slope, start + 999))
        write_json(run.pruning, curve(f"{name}S"))
    write_json(run.comparison, comparison_record(models, folders, 96))
    write_json(run.summary, summary(note=note))
    return run


def curve(model: str) -> dict[str, Any]:
    point = {"balanced_accuracy": 0.8, "fairness": 0.9, "robustness": 0.7, "file_bytes": 10}
    return {
        "model": model,
        "start": {**point, "architecture": LARGE, "parameters": 1_300_000},
        "thresholds": {"balanced_accuracy": 0.98},
        "accepted": 1,
        "stopped_because": "no expert is left",
        "steps": [
            {**point, "step": 1, "architecture": SMALL, "parameters": 1_200_000,
             "removed": {"layer": 1, "expert": 2, "usage": 0.01}}
        ],
    }  # fmt: skip


def make_train(path: Path, skill: float = 0.84, seed: int = 0, **more: Any) -> RunFolder:
    """One training of the smaller network."""
    world = more.pop("world", World())
    config = TrainConfig(architecture=SMALL, image_size=96, seed=seed, **more)
    run = RunFolder.create(path, "train", to_dict(config))
    write_parquet(run.manifest, world.manifest())
    leave(run.model(), answers(world, skill, 0.0, 50 + seed))
    return run


def make_prune(path: Path, skill: float = 0.82) -> RunFolder:
    """A pruning by itself."""
    settings = {"checkpoint": "/home/x/c.safetensors", "data": "emoji", "keep_above": {"a": 0.9}}
    run = RunFolder.create(path, "prune", settings)
    write_parquet(run.manifest, World().manifest())
    leave(run.pruned(), answers(World(), skill, 0.02, 77))
    write_json(run.pruning, curve("MoENAS-S"))
    return run


def make_small_audit(path: Path, seed: int) -> RunFolder:
    """An audit of one model, of images that no other run has."""
    world = World(name="-photo")
    run = RunFolder.create(path, "audit", to_dict(AuditConfig(models=("lcnet_075",))))
    table = answers(world, 0.8, 0.05, seed)
    leave(run.audited("lcnet_075", "short", 0), table)
    found = records(Comparison({"lcnet_075": [table]}, draws=200), references=())
    one = {"name": "lcnet_075", "role": "audited", "architecture": "lcnet_075", "seeds": [0]}
    record = {**one, "parameters": 1_080_000, "macs": 10**7, **found["lcnet_075"]}
    write_json(run.comparison, {"models": [record], "verdict": []})
    listed = [{"model": "lcnet_075", "scheme": "short", "tried": {}, "seeds": [0]}]
    write_json(run.summary, summary("own images", None, models=listed, leader="lcnet_075"))
    return run
