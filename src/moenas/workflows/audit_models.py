"""The models of an audit, before and after they are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from moenas.config import to_dict
from moenas.evaluation.scores import Scores
from moenas.predictions import Predictions

FAILED = "No training succeeded."


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One model before it is judged.

    Attributes:
        model: Its name.
        predictions: What it said, a table a seed; none where every training failed.
        seeds: As many.
        failed: Why other seeds have none, by seed.
        parameters: Its size; None where nothing is known of it, like multiply-adds.
        macs: For one image.
        paper: Its name in the paper's Table I, None for others.
        scheme: What it was trained under.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        folder: Of its first seed, below the run's.
    """

    model: str
    predictions: tuple[Predictions, ...]
    seeds: tuple[int, ...] = (0,)
    failed: Mapping[int, str] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    paper: str | None = None
    scheme: str | None = None
    tried: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class Audited:
    """One model's result.

    Attributes:
        model: Its name.
        paper: Its name in the paper's Table I, None for others.
        scheme: The best one, None where all failed or nothing was trained here.
        report: Its measures on the report half: metric → mean over seeds, low, high, values by
            seed; empty where all trainings failed.
        scores: All of them, of the first seed alone; None where all trainings failed.
        judgement: What they mean; over all seeds.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        seeds: Of its trainings.
        failed: What ended its other trainings, by seed; no number counts them.
    """

    model: str
    paper: str | None
    scheme: str | None
    report: dict[str, Any]
    scores: Scores | None
    judgement: tuple[str, ...]
    tried: dict[str, float | None]
    seeds: tuple[int, ...]
    failed: dict[int, str]

    def record(self) -> dict[str, Any]:
        """As JSON; the size of a model of which only the answers are known is null."""
        found = to_dict(self)
        for name in ("parameters", "macs"):
            if found["scores"] is not None:
                found["scores"][name] = found["scores"][name] or None
        return found
