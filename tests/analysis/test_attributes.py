from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_routes import simulate, table

from moenas.analysis.attributes import find_attributes
from moenas.analysis.dependence import dependence
from moenas.analysis.sentences import describe
from moenas.data.manifest import Manifest
from moenas.errors import DataError


@pytest.fixture
def images() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "path": [f"{n}.png" for n in range(4)],
            "label": [0, 1, 1, 0],
            "split": "report",
            "group": [None, 10, 2, 2],
            "lighting": ["well_lit", "dimly_lit", None, "well_lit"],
            "hat": ["yes", "no", "no", "yes"],
            "age": [1.5, 2.5, 3.5, 4.5],
        }
    )
    return Manifest(frame, ".").frame


def test_values_keep_their_order(images: pd.DataFrame) -> None:
    found, notes = find_attributes(images, ("hat", "label"))
    assert notes == []
    assert [(a.title, a.values, a.index.tolist()) for a in found] == [
        ("skin tone", ("2", "10"), [-1, 1, 0, 0]),
        ("light", ("dimly lit", "well lit"), [1, 0, -1, 1]),
        ("class", ("no person", "person"), [0, 1, 1, 0]),
        ("hat", ("no", "yes"), [1, 0, 0, 1]),
    ]


def test_what_cannot_be_compared_is_said(images: pd.DataFrame) -> None:
    images["group"] = pd.NA
    images["lighting"] = "dimly_lit"
    found, notes = find_attributes(images)
    assert [attribute.column for attribute in found] == ["label"]
    assert notes == [
        "Paths are not compared by skin tone: no image of the split has one.",
        "Paths are not compared by light: all images have the same (dimly lit).",
    ]


def test_a_column_that_is_missing_or_tells_images_apart(images: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no column 'hatt'\. Did you mean 'hat'"):
        find_attributes(images, ("hatt",))
    many = pd.concat([images] * 6, ignore_index=True)
    many["age"] = np.arange(24) / 2
    with pytest.raises(DataError, match="cannot be grouped by 'age': it has 24 different values"):
        find_attributes(many, ("age",))


def test_a_group_of_many_values_does_not_hide_the_rest(images: pd.DataFrame) -> None:
    many = pd.concat([images] * 6, ignore_index=True)
    many["group"] = np.arange(24)  # nobody asked for it
    found, notes = find_attributes(many)
    assert [attribute.column for attribute in found] == ["lighting", "label"]
    assert notes == [
        "Paths are not compared by skin tone: it has 24 different values, more than 20."
    ]
    with pytest.raises(DataError, match="cannot be grouped by 'group'"):
        find_attributes(many, ("group",))


def test_the_sentence_says_whether_and_how_much() -> None:
    rng = np.random.default_rng(2)
    value = np.arange(300) % 3
    one = np.arange(300)
    fair = dependence(simulate(rng, one, 0.0 * one, (2, 3)), table(one), value, draws=199)
    text = describe("skin tone", fair)
    assert text.startswith("Paths do not cluster by skin tone more than chance explains (p ≥ ")
    assert "correction over 2 layers" in text
    unfair = dependence(simulate(rng, one, 4.0 * (value == 1), (2, 3)), table(one), value)
    text = describe("light", unfair)
    assert text.startswith(
        "Paths cluster by light strongly, and beyond chance, in all 2 layers with"
    )
    assert "of what there is to know about its light." in text
