"""Predictions of models whose truth is known."""

import numpy as np
import pandas as pd

from moenas.predictions import LIGHTS, Predictions


def logistic(x):
    return 1 / (1 + np.exp(-x))


def scenes(
    seed=0,
    *,
    concepts=20,
    scenes=6,
    tones=10,
    accuracy=0.9,
    gap=0.0,
    interaction=0.0,
    negatives=10,
    each=10,
    split="report",
) -> Predictions:
    """Matched scenes in every tone, clustered by concept; negatives of no tone.

    Logits of being right vary by concept, scene and (``interaction``) concept × tone; ``gap`` is
    what the darkest tone loses.
    """
    rng = np.random.default_rng(seed)
    base = np.log(accuracy / (1 - accuracy))
    c, s, t = (a.ravel() for a in np.indices((concepts, scenes, tones)))
    logit = base + rng.normal(0, 0.5, concepts)[c] + rng.normal(0, 0.8, (concepts, scenes))[c, s]
    logit += rng.normal(0, interaction, (concepts, tones))[c, t] - gap * t / (tones - 1)
    persons = pd.DataFrame({"label": 1, "group": t + 1})
    persons["prediction"] = rng.random(len(c)) < logistic(logit)
    persons["lighting"] = rng.choice(LIGHTS, (concepts, scenes))[c, s]
    persons["cluster"] = [f"c{i}" for i in c]
    persons["matched_set"] = [f"s{i}-{j}" for i, j in zip(c, s, strict=True)]
    k = np.repeat(np.arange(negatives), each)
    nothing = pd.DataFrame({"label": 0, "cluster": [f"n{i}" for i in k]})
    nothing["prediction"] = rng.random(len(k)) >= logistic(base + rng.normal(0, 0.5, negatives))[k]
    nothing["lighting"] = rng.choice(LIGHTS, len(k))
    nothing["matched_set"] = None
    nothing["group"] = pd.array([pd.NA] * len(k), dtype="Int16")
    frame = pd.concat([persons.astype({"group": "Int16"}), nothing], ignore_index=True)
    frame["image_id"] = [f"{split}{i}" for i in range(len(frame))]
    return Predictions(frame.assign(split=split))


def photographs(
    seed=0, *, n=1500, accuracy=0.9, gap=0.0, alike=0.0, together=1.0, split="report"
) -> Predictions:
    """Photographs with 1–3 persons each, of which half have a person.

    Persons of one photograph share its difficulty (sd ``together``) and, with probability
    ``alike``, their tone. Tones are as skewed as in FACET.
    """
    rng = np.random.default_rng(seed)
    share = np.array([5, 12, 17, 17, 13, 11, 9, 7, 5, 4]) / 100
    photograph = np.repeat(np.arange(n), rng.integers(1, 4, n))[:n]
    tone = rng.choice(10, n, p=share)
    tone = np.where(rng.random(n) < alike, rng.choice(10, n, p=share)[photograph], tone)
    logit = np.log(accuracy / (1 - accuracy)) + rng.normal(0, together, n)[photograph]
    persons = pd.DataFrame({"label": 1, "group": tone + 1})
    persons["prediction"] = rng.random(n) < logistic(logit - gap * tone / 9)
    persons["cluster"] = [f"p{i}" for i in photograph]
    nothing = pd.DataFrame({"label": 0, "prediction": rng.random(n) >= accuracy})
    nothing["cluster"] = [f"n{i}" for i in range(n)]
    nothing["group"] = pd.array([pd.NA] * n, dtype="Int16")
    frame = pd.concat([persons.astype({"group": "Int16"}), nothing], ignore_index=True)
    frame["lighting"] = rng.choice(LIGHTS, 2 * n)
    frame["image_id"] = [f"{split}{i}" for i in range(2 * n)]
    return Predictions(frame.assign(split=split))


def shuffled(predictions: Predictions, seed=0) -> Predictions:
    frame = predictions.frame.sample(frac=1, random_state=seed)
    return Predictions(frame, predictions.threshold)


def at_most(rate: float, trials: int) -> float:
    """What a rate stays below in ``trials`` with 99.9 % when it truly is ``rate``."""
    return rate + 3.1 * np.sqrt(rate * (1 - rate) / trials)


def at_least(rate: float, trials: int) -> float:
    """What a rate stays above, likewise."""
    return rate - 3.1 * np.sqrt(rate * (1 - rate) / trials)
