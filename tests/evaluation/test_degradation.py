from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from simulated_predictions import at_least, at_most
from torch import Tensor, nn

from moenas.data.cache import ImageStore, cached_images
from moenas.data.corruptions import SEVERITIES, corrupt
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, DataError
from moenas.evaluation.degradation import degradation, predict_severities
from moenas.evaluation.predict import predict
from moenas.metrics import METRICS
from moenas.metrics.fairness import group_table
from moenas.predictions import Predictions


class Brightness(nn.Module):
    """Sees a person where the image is bright."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


@pytest.fixture(scope="module")
def data(scenes, own_cache) -> tuple[Manifest, ImageStore]:
    manifest = Manifest.load(scenes)
    return manifest, cached_images(manifest, 32, own_cache / "images", progress=False)


def test_severities_share_their_images_and_noise(data):
    manifest, images = data
    found = predict_severities(Brightness(), manifest, images, splits=("report",))
    assert list(found) == [0, *SEVERITIES]
    clean = predict(Brightness(), manifest, images, splits=("report",))
    pd.testing.assert_frame_equal(found[0].frame, clean.frame)
    means = [table.frame["probability"].mean() for table in found.values()]
    assert means == sorted(means, reverse=True)  # it gets darker and darker
    rows = np.flatnonzero(manifest.frame["split"] == "report")
    keys = manifest.frame["matched_set"].fillna(manifest.frame["image_id"]).iloc[rows]
    assert keys.nunique() < len(rows)  # scenes in ten tones share their noise
    pixels = torch.from_numpy(np.array(images.images[rows])).permute(0, 3, 1, 2)
    dark = corrupt(pixels, "low_light", 3, list(keys)).permute(0, 2, 3, 1).numpy()
    store = ImageStore(np.array(images.images), images.readable, {})
    store.images[rows] = dark
    by_hand = predict(Brightness(), manifest, store, splits=("report",))
    pd.testing.assert_frame_equal(found[3].frame, by_hand.frame)


def test_attributes_of_the_manifest_travel_to_the_predictions(data):
    manifest, images = data
    frame = manifest.frame.assign(gender="f", probability=0.5)
    found = predict(Brightness(), Manifest(frame, manifest.root), images, splits=("val",))
    assert (found.frame["gender"] == "f").all()
    assert "path" not in found.frame
    assert (found.frame["probability"] != 0.5).any()  # the model's, not the manifest's


def test_an_unknown_corruption_is_named_at_once(data):
    with pytest.raises(ConfigError, match="Did you mean 'low_light'"):
        predict_severities(Brightness(), *data, corruption="lowlight")


def fading(seed=0, people=300, tones=4, loss=0.04, extra=0.0) -> dict[int, Predictions]:
    """A model that loses ``loss`` a severity, and ``extra`` more on the last tone; three persons a
    photograph share their difficulty, and severities share the images' luck."""
    rng = np.random.default_rng(seed)
    photo = np.repeat(np.arange(people), 3)
    group = rng.integers(1, tones + 1, len(photo))
    label = np.concatenate([np.ones(len(photo)), np.zeros(len(photo))]).astype(int)
    shared = rng.random(2 * people).repeat(3)
    luck = np.where(rng.random(len(label)) < 0.5, shared, rng.random(len(label)))
    groups = pd.array([*group, *[pd.NA] * len(photo)], dtype="Int16")
    result = {}
    for severity in (0, *SEVERITIES):
        accuracy = (
            0.9
            - loss * severity
            - extra * severity * np.append(group == tones, np.zeros(len(photo)))
        )
        frame = pd.DataFrame({"image_id": np.arange(len(label)).astype(str), "label": label})
        frame["prediction"] = np.where(luck < accuracy, label, 1 - label)
        frame["group"] = groups
        frame["cluster"] = [f"p{i}" for i in np.append(photo, photo + people)]
        result[severity] = Predictions(frame)
    return result


def test_values_are_the_metrics_and_drops_their_differences():
    severities = fading()
    table = degradation(severities)
    assert set(table["score"]) == {"balanced_accuracy", "fairness", "accuracy"}
    assert len(table) == 6 * (1 + 1 + 4)
    for severity, predictions in severities.items():
        rows = table[table["severity"] == severity]
        for name in ("balanced_accuracy", "fairness"):
            row = rows[rows["score"] == name].iloc[0]
            value, clean = (METRICS[name].function(p) for p in (predictions, severities[0]))
            assert row["value"] == pytest.approx(value, abs=1e-12)
            assert row["drop"] == pytest.approx(clean - value, abs=1e-12)
            assert row["drop_low"] - 1e-12 <= row["drop"] <= row["drop_high"] + 1e-12
        tones = rows[rows["score"] == "accuracy"]
        peer = group_table(predictions)
        np.testing.assert_allclose(tones["value"], peer["accuracy"], atol=1e-12)
        assert list(tones["n"]) == list(peer["n"])
    unchanged = table[(table["severity"] == 0) & (table["score"] != "accuracy")]
    assert (unchanged["drop"] == 0).all()


def test_pairs_make_the_drop_surer_than_two_independent_tests_would():
    table = degradation(fading()).query("severity == 2 and score == 'balanced_accuracy'")
    row = table.iloc[0]
    own, drop = row["high"] - row["low"], row["drop_high"] - row["drop_low"]
    assert drop < 0.75 * 2**0.5 * own


def test_drops_are_covered_and_a_tone_that_fades_faster_shows():
    trials, hits, cells = 30, 0, 0
    for seed in range(trials):
        table = degradation({s: t for s, t in fading(seed, 150).items() if s in (0, 3)})
        rows = table[(table["severity"] == 3) & (table["score"] != "fairness")]
        hits += ((rows["drop_low"] <= 0.12) & (rows["drop_high"] >= 0.12)).sum()
        cells += len(rows)
    assert at_least(0.93, trials * 3) <= hits / cells <= at_most(0.97, trials * 3)
    table = degradation(fading(extra=0.08))
    tones = table[(table["severity"] == 4) & (table["score"] == "accuracy")].set_index("group")
    assert tones.loc[4, "drop_low"] > tones.loc[[1, 2, 3], "drop_high"].max()
    fairness = table[(table["severity"] == 4) & (table["score"] == "fairness")].iloc[0]
    assert fairness["drop_low"] > 0


def test_without_groups_or_one_label_what_is_undefined_is_left_out():
    severities = fading(people=30)
    bare = {s: Predictions(p.frame.assign(group=None)) for s, p in severities.items()}
    assert set(degradation(bare)["score"]) == {"balanced_accuracy"}
    persons = {s: Predictions(p.frame[p.label]) for s, p in severities.items()}
    assert set(degradation(persons)["score"]) == {"fairness", "accuracy"}


def test_what_cannot_be_compared_is_said():
    severities = fading(people=10)
    with pytest.raises(DataError, match="severity 0"):
        degradation({1: severities[1]})
    with pytest.raises(DataError, match="no image of split 'search'"):
        degradation(severities, "search")
