"""The verdict that a useless, a bad, an unfair and a fair model deserve."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from moenas.evaluation.judgement import Evidence, judgement, sentences
from moenas.evaluation.scores import score
from moenas.predictions import Predictions

GROUPS, EACH = 10, 120


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def told(rng: np.random.Generator, right: np.ndarray, *, lit: bool = True) -> tuple[str, ...]:
    """Judge a model that is right about an image of group g with probability ``right[g]``."""
    group = np.repeat(np.arange(1, GROUPS + 1), EACH)
    label = np.tile([0, 1], len(group) // 2)
    correct = rng.random(len(group)) < right[group - 1]
    return judge(label, np.where(correct, label, 1 - label), group, lit)


def judge(label: np.ndarray, said: np.ndarray, group: np.ndarray, lit: bool) -> tuple[str, ...]:
    light = np.where(np.arange(len(label)) % 4 < 2, "dimly_lit", "well_lit")
    frame = pd.DataFrame(
        {
            "image_id": np.arange(len(label)).astype(str),
            "label": label,
            "prediction": said,
            "group": group,
            "lighting": light if lit else None,
        }
    )
    return judgement(score(Predictions(frame), split="report", parameters=0, macs=0))


def everyone(label: int) -> tuple[str, ...]:
    group = np.repeat(np.arange(1, GROUPS + 1), EACH)
    labels = np.tile([0, 1], len(group) // 2)
    return judge(labels, np.full(len(labels), label), group, lit=True)


def test_a_constant_answer_is_of_no_use() -> None:
    assert everyone(1)[0].startswith("It sees a person in every image.")
    assert everyone(0)[0].startswith("It sees nobody in every image.")
    for said in (everyone(0), everyone(1)):
        assert len(said) == 1  # no word of its perfect fairness
        assert "of no use" in said[0]


def test_a_model_that_is_fair_by_being_bad(rng: np.random.Generator) -> None:
    said = told(rng, np.full(GROUPS, 0.5))
    assert len(said) == 1
    assert "not shown to be better than guessing" in said[0]
    assert "mean nothing" in said[0]


def test_a_perfectly_fair_model(rng: np.random.Generator) -> None:
    said = told(rng, np.full(GROUPS, 0.9))
    assert said[0].startswith("No unfairness can be shown")
    assert "no proof of fairness" in said[0]


def test_an_unfair_model(rng: np.random.Generator) -> None:
    said = told(rng, np.linspace(0.97, 0.7, GROUPS))
    assert said[0].startswith("It is unfair beyond chance")
    assert "(p < .001)" in said[0]
    assert "Group 10 fares worst" in said[0] or "Group 9 fares worst" in said[0]


def test_what_is_not_known_is_said(rng: np.random.Generator) -> None:
    said = told(rng, np.full(GROUPS, 0.9), lit=False)
    assert any("Nothing is known of poor light" in sentence for sentence in said)
    assert any(sentence.startswith("Too few images") for sentence in said)
    label = np.tile([0, 1], 300)
    one = judge(label, label, np.ones(600, dtype=int), lit=True)
    assert "Nothing is known of its fairness" in one[0]
    assert "In poor light it does as well" in one[1]


def test_a_model_that_is_right_everywhere_is_promised_nothing() -> None:
    group = np.repeat(np.arange(1, 4), 30)
    label = np.tile([0, 1], 45)
    (first, *_) = judge(label, label, group, lit=True)
    assert "a gap of 0 points" not in first


def test_persons_of_one_group_alone_are_scored() -> None:
    group = np.tile([1, 1, 2, 3], 60)
    label = np.tile([1, 0, 0, 0], 60)
    said = label.copy()
    said[::7] = 1 - said[::7]
    assert judge(label, said, group, lit=False)


def known(**what: object) -> Evidence:
    """Of a model that is neither useless nor shown to be unfair."""
    usual = Evidence(
        recalls=((0.9, 0.8), (0.7, 0.8)),
        accuracy=0.8,
        low=0.7,
        robustness=0.7,
        fairness=0.6,
        fair=0.7,
        p=0.06,
        models=5,
        groups={1: 0.9, 2: 0.8},
        few=(),
        detectable=0.12,
    )
    return dataclasses.replace(usual, **what)  # type: ignore[arg-type]


def test_one_of_several_models_is_judged_by_the_corrected_p() -> None:
    first = sentences(known())[0]
    assert first.startswith("No unfairness can be shown")
    assert "(p = 0.060, corrected for 5 models)" in first
    assert "a gap of one training of 12 points" in first
    assert "where no other model was looked at" in first
    assert sentences(known(p=0.04))[0].startswith("It is unfair beyond chance")
    assert "Group 2 fares worst, at 80.0%." in first


def test_a_model_is_constant_when_every_training_is() -> None:
    assert "of no use" in sentences(known(recalls=((1.0, 0.0), (1.0, 0.0)), low=0.4))[0]
    for recalls in (((1.0, 0.0), (0.7, 0.8)), ((1.0, 0.0), (0.0, 1.0))):
        assert "of no use" not in sentences(known(recalls=recalls))[0]
