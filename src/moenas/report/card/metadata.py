"""The card's first block: YAML that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from typing import Any

import yaml

from moenas.models.architecture import Architecture
from moenas.models.pretrained import published
from moenas.report.card.escape import short
from moenas.report.card.subject import Subject
from moenas.report.measures import MEASURES

HUB = {
    "emoji": ("emoji-scenes", "Emoji Scenes (drawings)"),
    "coco": ("coco", "COCO"),
    "facet": ("facet", "FACET"),
    "wake_vision": ("Harvard-Edge/Wake-Vision", "Wake Vision"),
    "cifar100": ("uoft-cs/cifar100", "CIFAR-100"),
}
"""Source to its id and its name on the Hub; FACET's and COCO's publishers have none there."""

DIGITS = 4
"""Of a fraction in the metadata."""


def metadata(subject: Subject) -> dict[str, Any]:
    """Return the metadata: library, task, tags, data, and this checkpoint's results.

    No licence is set: that is for whoever publishes the model, after reading the card's notes.
    """
    base = Architecture.parse(subject.stored.architecture).base
    start = published(base) if subject.pretrained is True else None
    trained_on = [source for source in subject.data.sources if source != "facet"]
    values: dict[str, Any] = {
        "library_name": "moenas",
        "pipeline_tag": "image-classification",
        "tags": [
            "moenas", "image-classification", "person-classification", "mixture-of-experts",
            "neural-architecture-search", "fairness", "robustness", "arxiv:2502.07422",
        ],
        "base_model": start[0] if start else None,
        "datasets": [_identity(source) for source in trained_on] or None,
        "metrics": ["accuracy"],
        "model-index": [{"name": short(subject.name), "results": [_result(subject)]}],
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def block(subject: Subject) -> str:
    """Write `metadata` between its marks."""
    text = yaml.safe_dump(metadata(subject), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---\n"


def title(source: str) -> str:
    """A source as a reader knows it."""
    return HUB[source][1] if source in HUB else short(source)


def _identity(source: str) -> str:
    if source in HUB:
        return HUB[source][0]
    return re.sub(r"[^a-z0-9]+", "-", short(source).lower()).strip("-") or "own-images"


def _result(subject: Subject) -> dict[str, Any]:
    scores, sources = subject.scores, subject.data.sources
    metrics = [{"type": "accuracy", "name": "Accuracy", "value": round(scores.accuracy, DIGITS)}]
    for key, measure in MEASURES.items():
        value = getattr(scores, key)
        if value is not None:
            metrics.append({"type": key, "name": measure.label, "value": round(value, DIGITS)})
    dataset: dict[str, Any] = {
        "type": _identity(sources[-1]) if sources else "own-images",
        "name": f"{' and '.join(map(title, sources)) or 'Own images'}, report half",
        "split": "report",
    }
    if subject.data.fingerprint:
        dataset["args"] = {"fingerprint": subject.data.fingerprint}
    task = {"type": "image-classification", "name": "Person or no person"}
    return {"task": task, "dataset": dataset, "metrics": metrics}
