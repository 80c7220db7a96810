"""A made-up but realistic run folder, for tests and for looking at the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moenas.runs import RunFolder
from moenas.serialisation import write_json

NOTE = (
    "The images are drawings (emoji in made-up scenes), not photographs: they show that the method "
    "works end to end, not how fair a model is to real people."
)
LIGHTS = ("underexposed", "dimly_lit", "well_lit", "overexposed")
MEASURES = ("balanced_accuracy", "fairness", "robustness", "overfitting", "worst_group_accuracy",
            "fairness_debiased", "fairness_sum", "gap_lightest_darkest")  # fmt: skip
PARTS = ("summary", "trials", "comparison", "pruning")


def make_run(path: Path, parts: tuple[str, ...] = PARTS, *, trials: int = 48, seed: int = 0,
             finalists: bool = True) -> RunFolder:  # fmt: skip
    """Write the named parts of a run folder."""
    rng = np.random.default_rng(seed)
    run = RunFolder.create(
        path, "search", {"base": "mobilevitv2_050", "image_size": 96, "trials": trials, "seed": 0}
    )
    rows = trial_rows(rng, trials)
    if "trials" in parts:
        write_json(run.path / "trials.json", rows)
    if "summary" in parts:
        write_json(run.summary, summary(rng, rows))
    if "comparison" in parts:
        write_json(run.comparison, comparison(rng, rows, finalists))
    if "pruning" in parts:
        write_json(run.pruning, pruning(rng))
    return run


def trial_rows(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    costs = np.array([16.6, 16.6, 37, 37, 37, 37, 66, 66, 66])
    for number in range(count):
        experts = rng.integers(1, 9, size=9)
        gain = 0.03 * np.tanh((experts.sum() - 25) / 15)
        accuracy = float(np.clip(0.825 + gain + rng.normal(0, 0.018), 0.6, 0.95))
        rows.append(
            {
                "number": number,
                "state": "COMPLETE",
                "architecture": "mobilevitv2_050-e" + "".join(str(n) for n in experts),
                "experts": experts.tolist(),
                "parameters": int(1_114_000 + 1000 * float(((experts - 1) * costs).sum())),
                "macs": int(96e6 + 1000 * experts.sum()),
                "balanced_accuracy": accuracy,
                "fairness": float(np.clip(0.87 + 0.4 * gain + rng.normal(0, 0.03), 0, 1)),
                "robustness": float(accuracy - 0.07 + rng.normal(0, 0.015)),
                "generalisation": -abs(float(rng.normal(0.045, 0.015))),
                "feasible": accuracy >= 0.81,
                "seconds": float(rng.uniform(55, 90)),
                "on_front": False,
            }
        )
    if count > 6:
        rows[5] |= {"state": "FAIL", "balanced_accuracy": None, "fairness": None,
                    "robustness": None, "generalisation": None, "feasible": None}  # fmt: skip
    keys = ("balanced_accuracy", "fairness", "robustness", "generalisation")
    whole = [row for row in rows if row["state"] == "COMPLETE" and row["feasible"]]
    for row in whole:
        row["on_front"] = not any(
            all(o[k] >= row[k] for k in keys) and any(o[k] > row[k] for k in keys) for o in whole
        )
    return rows


def summary(rng: np.random.Generator, rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {
        "train": (6200, 3100, [520, 505, 480, 430, 360, 260, 190, 150, 110, 95]),
        "val": (1200, 600, [60] * 10),
        "search": (4000, 2000, [200] * 10),
        "report": (4000, 2000, [200] * 10),
    }
    volume = np.maximum.accumulate(0.35 + 0.12 * (1 - np.exp(-np.arange(len(rows)) / 14))
                                   + rng.normal(0, 0.004, len(rows)))  # fmt: skip
    return {
        "created": "2025-11-24T02:41:10+00:00",
        "machine": {"system": "Linux x86_64", "processor": "x86_64", "cores": 2, "device": "cpu",
                    "python": "3.11.9", "torch_version": "2.9.0"},
        "versions": {"moenas": "0.1.0", "torch": "2.9.0", "timm": "1.0.22", "optuna": "5.0.0"},
        "base": "mobilevitv2_050", "wider": "mobilevitv2_075", "image_size": 96,
        "seconds": {"data": 210.0, "parents": 640.0, "search": 3410.0, "finalists": 2980.0,
                    "pruning": 190.0, "report": 6.0},
        "data": {
            "source": "emoji",
            "note": NOTE,
            "counts": {
                name: {
                    "n": n, "positives": positives,
                    "groups": {str(tone + 1): groups[tone] for tone in range(10)},
                    "lights": dict(zip(LIGHTS, (n // 20, n // 4, n - n // 20 - n // 4 - n // 50,
                                                n // 50), strict=True)),
                }
                for name, (n, positives, groups) in counts.items()
            },
        },
        "search": {
            "sampler": "MoENASSampler", "preset": "mixture", "strategy": "upcycled",
            "trials": len(rows), "completed": len(rows) - 1, "failed": 1,
            "infeasible": sum(row["feasible"] is False for row in rows), "seconds_a_trial": 71.4,
            "max_parameters": 3_000_000, "accuracy_floor": 0.81, "hypervolume": volume.tolist(),
        },
        "verdict": ["Summary's own verdict."],
        "peak_memory_bytes": 1_890_000_000,
    }  # fmt: skip


def comparison(
    rng: np.random.Generator, rows: list[dict[str, Any]], finalists: bool
) -> dict[str, Any]:
    specs: list[tuple[str, str, str | None, float, float, int]] = [
        ("mobilevitv2_050", "base", None, 0.842, 0.10, 1_114_000),
        ("mobilevitv2_075", "wider", None, 0.853, 0.10, 2_484_000),
    ]
    if finalists:
        specs += [
            ("MoENAS-XXS", "finalist", "XXS", 0.851, 0.08, 1_612_000),
            ("MoENAS-XS", "finalist", "XS", 0.862, 0.07, 2_105_000),
            ("MoENAS-S", "finalist", "S", 0.871, 0.06, 2_731_000),
            ("MoENAS-S pruned", "pruned", "S", 0.868, 0.065, 2_204_000),
        ]
    models = []
    for index, (name, role, size, accuracy, slope, parameters) in enumerate(specs):
        tones = [accuracy + 0.03 - slope * tone / 9 + float(rng.normal(0, 0.006))
                 for tone in range(10)]  # fmt: skip
        means = {
            "balanced_accuracy": accuracy, "fairness": 1 - slope * 2.4,
            "robustness": accuracy - 0.065, "overfitting": 0.05 - 0.4 * (accuracy - 0.84),
            "worst_group_accuracy": min(tones), "fairness_debiased": 1 - slope * 1.4,
            "fairness_sum": 1 - slope * 24, "gap_lightest_darkest": tones[0] - tones[9],
        }  # fmt: skip
        report = {}
        for key in MEASURES:
            half = 0.35 if key == "fairness_sum" else 0.014
            report[key] = {"mean": means[key], "low": means[key] - half, "high": means[key] + half,
                           "values": [means[key] + float(rng.normal(0, half / 2))
                                      for _ in range(3)]}  # fmt: skip
        row = rows[(7 * index) % len(rows)]
        models.append(
            {
                "name": name, "role": role, "size_class": size,
                "architecture": row["architecture"] if role == "finalist" else name,
                "parameters": parameters, "macs": row["macs"], "seeds": [0, 1, 2],
                "report": report,
                "groups": [{"group": tone + 1, "n": 200, "mean": tones[tone],
                            "low": tones[tone] - 0.035, "high": min(1.0, tones[tone] + 0.03)}
                           for tone in range(10)],
                "lights": [{"lighting": light, "n": n, "mean": accuracy + shift,
                            "low": accuracy + shift - 4 / n**0.5 / 10,
                            "high": accuracy + shift + 4 / n**0.5 / 10}
                           for light, n, shift in zip(LIGHTS, (200, 1000, 2720, 80),
                                                      (-0.11, -0.055, 0.02, -0.03), strict=True)],
                "noise_floor": {"mean": 0.935, "sd": 0.031, "low": 0.874,
                                "p_value": float(np.clip(slope * slope * 3, 0.001, 0.6)),
                                "p_holm": float(np.clip(slope * slope * 9, 0.003, 0.9))},
                "versus": {},
            }
        )  # fmt: skip
    for model in models[2:]:
        for reference, other in (("base", models[0]), ("wider", models[1])):
            measures = {}
            for key in MEASURES:
                gap = model["report"][key]["mean"] - other["report"][key]["mean"]
                half = 0.4 if key == "fairness_sum" else 0.016
                good = gap if key not in ("overfitting", "gap_lightest_darkest") else -gap
                decided = abs(gap) > half
                measures[key] = {"difference": gap, "low": gap - half, "high": gap + half,
                                 "p": 0.004 if decided else 0.31,
                                 "p_holm": 0.02 if decided else 1.0,
                                 "better": bool(good > 0) if decided else None}  # fmt: skip
            model["versus"][reference] = measures
    return {
        "models": models,
        "verdict": [
            "MoENAS-S is 2.9 points more accurate than mobilevitv2_050 and fairer by 9.6 points; "
            "against the wider dense model both gains hold.",
            "Its worst tone gains 6.7 points. Robustness gains 2.9 points.",
            "Three seeds and drawings: small differences remain undecided.",
        ],
    }


def pruning(rng: np.random.Generator) -> dict[str, Any]:
    def point(step: int) -> dict[str, Any]:
        values = qualities(step)
        measured = {key: v for key, v in values.items() if isinstance(v, float)}
        low, high = ({k: v + end for k, v in measured.items()} for end in (-0.02, 0.02))
        return {**values, "low": low, "high": high}

    def qualities(step: int) -> dict[str, Any]:
        return {
            "architecture": f"mobilevitv2_050-e{183124116 - step}",
            "parameters": 2_731_000 - 31_000 * step,
            "file_bytes": 4 * (2_731_000 - 31_000 * step) + 9000,
            "balanced_accuracy": 0.872 - 0.00006 * step**2 + float(rng.normal(0, 0.001)),
            "fairness": 0.86 - 0.00005 * step**2 + float(rng.normal(0, 0.004)),
            "robustness": 0.806 - 0.0011 * step + float(rng.normal(0, 0.002)),
            "overfitting": 0.03 + 0.0003 * step,
        }

    return {
        "model": "MoENAS-S",
        "start": point(0),
        "thresholds": {"balanced_accuracy": 0.98, "fairness": 0.95, "robustness": 0.98},
        "accepted": 16,
        "stopped_because": "robustness would fall from 0.806 to 0.787, below 98% of it",
        "steps": [
            {"step": step, "removed": {"layer": 1 + step % 9, "expert": step % 5,
                                       "usage": 0.002 * step}, **point(step)}
            for step in range(1, 18)
        ],
    }  # fmt: skip
