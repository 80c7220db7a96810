"""A finished audit of made-up models, with all that a report of one can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from moenas.config import to_dict
from moenas.predictions import LIGHTS, Predictions
from moenas.runs import RunFolder
from moenas.workflows.audit import AuditConfig
from moenas.workflows.audit_findings import find
from moenas.workflows.audit_models import Candidate
from moenas.workflows.audit_writing import AuditResult, conclude

NOTE = "These are drawings, not photographs."


def predictions(
    skill: float, slope: float, seed: int, *, tones: bool = True, lights: bool = True
) -> Predictions:
    """What a model of some skill says; darker tones and poor light are harder by ``slope``."""
    rng = np.random.default_rng(seed)
    parts = []
    for split, n in (("val", 200), ("search", 400), ("report", 800)):
        label = np.arange(n) % 2
        tone = np.where(label == 1, 1 + np.arange(n) // 2 % 10, 0)
        light = (np.arange(n) // 20) % 4
        right = rng.random(n) < skill - slope * tone / 10 - 0.1 * (light < 2)
        frame = pd.DataFrame(
            {
                "image_id": [f"{split}-{i}" for i in range(n)],
                "split": split,
                "label": label,
                "probability": np.where(right == (label == 1), 0.9, 0.1),
                "group": pd.array(np.where(tone > 0, tone, 0), dtype="Int16"),
                "lighting": [LIGHTS[i] for i in light],
                "cluster": [f"{split}-{i // 4}" for i in range(n)],
            }
        )
        frame["group"] = frame["group"].mask(frame["group"] == 0) if tones else pd.NA
        parts.append(frame if lights else frame.assign(lighting=None))
    return Predictions(pd.concat(parts, ignore_index=True))


def curves(names: Sequence[str]) -> pd.DataFrame:
    """A table as `degradation` makes it."""
    rows = []
    for place, name in enumerate(names):
        for severity in range(6):
            value = 0.9 - 0.02 * place - 0.05 * severity
            one = {"model": name, "corruption": "low_light", "severity": severity}
            drop = {"drop": 0.05 * severity, "drop_low": 0.0, "drop_high": 0.3}
            near = {"low": value - 0.03, "high": value + 0.03}
            rows.append(one | drop | near | {"score": "balanced_accuracy", "group": None,
                                             "n": 800, "value": value})  # fmt: skip
            rows += [
                one | drop | near | {"score": "accuracy", "group": tone, "n": 40, "value": value}
                for tone in range(1, 11)
            ]
    return pd.DataFrame(rows)


def make_audit(path: Path, seeds: int = 1, names: Sequence[str] = (), **what: bool) -> AuditResult:
    """Audit four models, of which one failed, or those that are named; each seed is worse."""
    folder = RunFolder.create(path, "audit", to_dict(AuditConfig(seeds=seeds)))
    known = [
        ("mobilevit_xxs", 0.93, 0.0, 950_000, "MobileViT (xxs)"),
        ("mobilevit_s", 0.95, 0.35, 4_940_000, "MobileViT (s)"),
        ("resnet18", 0.54, 0.0, 11_180_000, "ResNet18"),
    ]
    known = [(name, 0.9, 0.1, 1_000_000, None) for name in names] or known  # type: ignore[misc]
    candidates = [
        Candidate(
            model=name,
            predictions=tuple(
                predictions(skill - 0.04 * s, slope, 10 * n + s, **what) for s in range(seeds)
            ),
            seeds=tuple(range(seeds)),
            parameters=size,
            macs=20 * size,
            paper=paper,
            scheme="short",
            tried={"short": skill, "resnet": None},
            folder=f"models/{name}-short-s0",
        )
        for n, (name, skill, slope, size, paper) in enumerate(known)
    ]
    if not names:
        candidates.append(
            Candidate("tinynet_e", (), (), paper="TinyNet (e)", tried={"short": None})
        )
    shown = [each.model for each in candidates if each.predictions]
    return conclude(
        folder,
        find(candidates),
        data={"source": "emoji", "counts": {"report": {"n": 800, "positives": 400}}, "note": NOTE},
        image_size=64,
        seconds={"trainings_of_all_workers": 60.0, "evaluation": 5.0},
        device=torch.device("cpu"),
        curves=curves(shown) if what.get("lights", True) else None,
    )
