"""A gate of ``moenas benchmark``: the accuracy that another benchmark asks for, on its images.

MLPerf Tiny's task "visual wake words" (person detection) has the quality target 80 % top-1
(mlcommons/tiny, benchmark/README.md, "Quality Target"; unchanged from v0.5 to v1.3,
https://mlcommons.org/benchmarks/inference-tiny/). Its images are COCO's, with a person where the
box of one covers more than 2.5 % (Banbury et al., 2021, arXiv 2106.07597; areaRatio .025 and
useBoundingBoxArea in SiliconLabs/platform_ml_models, buildPersonDetectionDatabase.py): the rule
``mlperf`` of `moenas.data.sources.coco`. The data set of that name that it builds on (Chowdhery et
al., 2019, arXiv 1906.05721) labels by masks above 0.5 %, the rule ``vww``: the same task with
smaller persons. Labels of no other making can pass or fail the gate.

Like all of the benchmark, it looks at nothing again: the accuracy is that of the report half, as
stored when a model was trained or a file exported. MLPerf Tiny compares the accuracy alone; here
the interval decides, so that luck with few images neither passes nor fails.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from moenas.data.labelling import Labelling
from moenas.data.manifest import Manifest
from moenas.data.sources.coco import RULES
from moenas.errors import DataError
from moenas.export.measuring import CHECKPOINT
from moenas.registry import Registry
from moenas.runs import run_of
from moenas.workflows.benchmark_entrants import Entrant

Verdict = Literal["passed", "failed", "not decided", "not judged"]
"""The whole interval reaches the target, is below it, holds it; or there is no accuracy."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """What is asked for.

    Attributes:
        name: What ``--gate`` takes.
        accuracy: The least accuracy, 0-1: right answers among all images.
        rules: By which its images may be labelled.
    """

    name: str
    accuracy: float
    rules: tuple[Labelling, ...]


GATES: Registry[Gate] = Registry("gate")
GATES.add("mlperf-tiny", Gate("mlperf-tiny", 0.80, (RULES["mlperf"], RULES["vww"])))


@dataclasses.dataclass(frozen=True)
class GateRow:
    """A model in a format before the gate; None where it is not known.

    Attributes:
        model: What it is called.
        format: The format's name, or ``torch`` for a checkpoint.
        verdict: See `Verdict`.
        accuracy: On the report half, 0-1, at the model's own threshold.
        low: Where its 95 % interval starts.
        high: Where that ends.
        images: How many it was measured on.
        labels: The rule by which these were labelled.
        note: Why it is not judged.
    """

    model: str
    format: str
    verdict: Verdict
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    images: int | None = None
    labels: str | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What a gate says.

    Attributes:
        gate: Its name.
        accuracy: What it asks for, 0-1.
        rows: A model in a format each.
    """

    gate: str
    accuracy: float
    rows: tuple[GateRow, ...]

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return bool(self.rows) and all(row.verdict == "passed" for row in self.rows)

    def __str__(self) -> str:
        counts = Counter(row.verdict for row in self.rows)
        return ", ".join(f"{counts[verdict]} {verdict}" for verdict in dict.fromkeys(counts))


def judge(gate: Gate, entrants: Sequence[Entrant]) -> GateResult:
    """Hold the stored accuracy of models against a gate.

    Args:
        gate: What is asked for.
        entrants: Models in their formats, dense bases left out.

    Raises:
        DataError: Scores are of images that no rule of the gate labelled.
    """
    manifests: dict[Path, Labelling | None] = {}
    return GateResult(
        gate.name, gate.accuracy, tuple(_judge_one(gate, each, manifests) for each in entrants)
    )


def _judge_one(gate: Gate, entrant: Entrant, manifests: dict[Path, Labelling | None]) -> GateRow:
    scores = entrant.scores
    if scores is None:
        return GateRow(entrant.model, entrant.kind, "not judged", note=entrant.note)
    labelling = _labelling_of(entrant, manifests)
    if labelling is None or dataclasses.replace(labelling, annotations=()) not in gate.rules:
        known = "without a record of that" if labelling is None else str(labelling)
        rules = " or ".join(str(rule) for rule in gate.rules)
        raise DataError(
            f"The gate '{gate.name}' is for images labelled by {rules}. Those that "
            f"{entrant.model} ({entrant.kind}) was scored on are {known}: it can neither pass nor "
            "fail. Make such data with 'moenas data COCO --rule mlperf', then train on it, or "
            "export again with --data."
        )
    low, high = scores.intervals.get("accuracy", (0.0, 1.0))
    verdict: Verdict = "not decided"
    if low >= gate.accuracy:
        verdict = "passed"
    elif high < gate.accuracy:
        verdict = "failed"
    return GateRow(
        model=entrant.model,
        format=entrant.kind,
        verdict=verdict,
        accuracy=scores.accuracy,
        low=low,
        high=high,
        images=scores.n,
        labels=str(labelling),
    )


def _labelling_of(entrant: Entrant, manifests: dict[Path, Labelling | None]) -> Labelling | None:
    """The rule by which the images of an entrant's scores were labelled.

    Of a file its card says it: it may have been exported with other data than its run's.
    """
    if entrant.kind != CHECKPOINT or entrant.source is None:
        return entrant.labelling
    run = run_of(entrant.source)
    if run is None:
        return None
    if run.manifest not in manifests:
        manifests[run.manifest] = Manifest.load(run.manifest).labelling
    return manifests[run.manifest]
