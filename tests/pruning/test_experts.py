from __future__ import annotations

import copy
import dataclasses
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, DataError
from moenas.evaluation.predict import predict, tabulate
from moenas.evaluation.scores import score
from moenas.evaluation.threshold import best_threshold
from moenas.metrics import METRICS
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of, ffn_layers, remove_expert, upcycle
from moenas.models.cost import count_parameters
from moenas.models.storage import save_model
from moenas.models.switch_ffn import SwitchFFN
from moenas.pruning import experts as experts_module
from moenas.pruning import qualities
from moenas.pruning.experts import PruningResult, PruningStep, prune_experts
from moenas.pruning.importance import IMPORTANCES, least_needed
from moenas.pruning.observer import Observer
from moenas.runs import cache_home

CPU = torch.device("cpu")
EXPERTS = (2, 1, 1, 1, 1, 2, 1, 1, 3)
MORE = 4  # experts that can go


@pytest.fixture(scope="module")
def manifest(scenes: Path) -> Manifest:
    return Manifest.load(scenes)


@pytest.fixture(scope="module")
def images(manifest: Manifest) -> ImageStore:
    return cached_images(manifest, 32, cache_home() / "images", progress=False)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Experts that differ, so that removing one changes what is computed."""
    dense = build_model("mobilevitv2_050", seed=1)
    return upcycle(dense, EXPERTS, seed=1, noise=0.5).eval()


@pytest.fixture(scope="module")
def everything(model: nn.Module, manifest: Manifest, images: ImageStore) -> PruningResult:
    """Pruned to the end."""
    return prune_experts(model, manifest, images, keep_above={}, device=CPU)


class Watched:
    """Images that remember which of their rows were looked at."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.seen: set[int] = set()
        self.looks = 0
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.seen |= set(np.asarray(rows).tolist())
        self.looks += len(rows)
        return self.images[rows]


def test_to_the_end_one_expert_is_left_in_each_layer(everything: PruningResult) -> None:
    assert everything.stopped_because == "one expert is left in every layer"
    assert everything.accepted == MORE
    assert [step.step for step in everything.steps] == list(range(MORE + 1))
    assert architecture_of(everything.model).dense


def test_each_step_removes_one_expert(everything: PruningResult) -> None:
    steps = everything.steps
    assert steps[0].removed is None
    assert Architecture.parse(steps[0].architecture).experts == EXPERTS
    for before, after in itertools.pairwise(steps):
        old, new = (Architecture.parse(s.architecture).experts for s in (before, after))
        assert sum(old) - sum(new) == 1
        assert min(new) >= 1
        assert after.parameters == count_parameters("mobilevitv2_050", new) < before.parameters
        assert after.file_bytes < before.file_bytes
        assert 0 <= after.recomputed <= 1
        assert after.removed is not None
        assert set(after.removed) == {"layer", "expert", "usage", "importance"}
        assert after.removed["usage"] == after.removed["importance"]


def test_the_model_that_was_given_is_not_changed(
    everything: PruningResult, model: nn.Module
) -> None:
    assert architecture_of(model).experts == EXPERTS


def test_incremental_steps_equal_predicting_everything_anew(
    everything: PruningResult, manifest: Manifest, images: ImageStore
) -> None:
    whole = predict(
        everything.model,
        manifest,
        images,
        splits=("val", "search"),
        threshold=everything.threshold,
        device=CPU,
    )
    kept = everything.predictions
    assert kept.frame["image_id"].tolist() == whole.frame["image_id"].tolist()
    np.testing.assert_allclose(kept.frame["probability"], whole.frame["probability"], atol=1e-6)
    assert any(step.recomputed < 1 for step in everything.steps[1:])
    search = whole.split("search")
    last = everything.steps[-1]
    for name in qualities.QUALITIES:
        assert last.scores[name] == pytest.approx(METRICS[name].function(search), abs=1e-12)
    whole_scores = score(whole, split="search", parameters=1, macs=1)
    assert set(last.intervals) == {"balanced_accuracy", "fairness", "robustness", "overfitting"}
    for name, interval in last.intervals.items():
        assert interval == whole_scores.intervals[name]


def test_removing_equals_masking(
    everything: PruningResult, model: nn.Module, manifest: Manifest, images: ImageStore
) -> None:
    """The first two removals, masked in a copy of the whole model instead."""
    masked = copy.deepcopy(model)
    left = {
        name: list(range(layer.num_experts))
        for name, layer in ffn_layers(masked).items()
        if isinstance(layer, SwitchFFN)
    }
    for step in everything.steps[1:4]:
        assert step.removed is not None
        layer = str(step.removed["layer"])
        original = left[layer].pop(int(str(step.removed["expert"])))
        router = masked.get_submodule(layer).router
        router.disabled = router.disabled | {original}
    removed = prune_experts(
        model, manifest, images, keep_above={}, max_parameters=everything.steps[3].parameters
    )
    assert removed.accepted == 3
    one, two = (predict(m, manifest, images, device=CPU) for m in (masked, removed.model))
    np.testing.assert_allclose(one.frame["probability"], two.frame["probability"], atol=1e-6)


def test_it_stops_at_a_size(model: nn.Module, manifest: Manifest, images: ImageStore) -> None:
    target = count_parameters("mobilevitv2_050", EXPERTS) - 70_000
    result = prune_experts(
        model, manifest, images, keep_above={}, max_parameters=target, device=CPU
    )
    sizes = [step.parameters for step in result.steps]
    assert sizes[-1] <= target < sizes[-2]
    assert f"at most {target:,} parameters" in result.stopped_because
    small = prune_experts(model, manifest, images, max_parameters=10**9, device=CPU)
    assert small.accepted == 0


@pytest.mark.parametrize("curve", [False, True])
@pytest.mark.parametrize("name", ["fairness", "worst_group_accuracy"])
def test_thresholds_hold(
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    curve: bool,
) -> None:
    """Each quality falls by a tenth of its start a step; it may lose a quarter."""
    steps = 0

    def falling(*_: object) -> np.float64:
        return np.float64(0.8 - 0.08 * steps)

    monkeypatch.setitem(METRICS._items, name, dataclasses.replace(METRICS[name], tally=falling))
    told: list[int] = []

    def count(step: Any) -> None:
        nonlocal steps
        told.append(step.step)
        steps = step.step + 1

    steps = 0
    result = prune_experts(
        model, manifest, images, keep_above={name: 0.75}, curve=curve, device=CPU, on_step=count
    )
    assert result.accepted == 2
    # The one that broke it is recorded, not taken; the curve goes on from it.
    assert told == list(range(MORE + 1 if curve else 4))
    assert architecture_of(result.model).id == result.steps[2].architecture
    assert f"{name} would fall from 0.800 to 0.560, below 75% of it" in result.stopped_because


def test_a_negative_fairness_may_lose_its_share_too(
    model: nn.Module, manifest: Manifest, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = dataclasses.replace(METRICS["fairness"], tally=lambda *_: np.float64(-0.5))
    monkeypatch.setitem(METRICS._items, "fairness", metric)
    result = prune_experts(model, manifest, images, keep_above={"fairness": 0.95}, device=CPU)
    assert result.accepted == MORE  # it never falls


def test_the_report_half_is_not_looked_at(
    model: nn.Module, manifest: Manifest, images: ImageStore
) -> None:
    watched = Watched(images.images)
    poisoned = Manifest(manifest.frame.copy(), manifest.root)
    report = poisoned.frame["split"].eq("report").to_numpy()
    poisoned.frame.loc[report, "label"] = 1 - poisoned.frame.loc[report, "label"]
    store = dataclasses.replace(images, images=watched)  # type: ignore[arg-type]
    result = prune_experts(model, poisoned, store, keep_above={}, device=CPU)
    honest = prune_experts(model, manifest, images, keep_above={}, device=CPU)
    assert result.steps == honest.steps
    allowed = np.flatnonzero(manifest.frame["split"].isin(["val", "search"]))
    assert watched.seen == set(allowed.tolist())
    assert watched.looks < len(allowed) * (MORE + 1)  # less work than everything each time


def test_unreadable_images_are_left_out(
    model: nn.Module, manifest: Manifest, images: ImageStore
) -> None:
    row = int(np.flatnonzero(manifest.frame["split"] == "search")[0])
    readable = images.readable.copy()
    readable[row] = False
    store = dataclasses.replace(images, readable=readable)
    result = prune_experts(model, manifest, store, max_parameters=10**9, device=CPU)
    assert manifest.frame["image_id"][row] not in set(result.predictions.frame["image_id"])


def test_the_file_is_really_smaller(
    everything: PruningResult, model: nn.Module, tmp_path: Path
) -> None:
    sizes = []
    for name, one in (("before", model), ("after", everything.model)):
        save_model(tmp_path / name, one, image_size=32)
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[1] < 0.9 * sizes[0]
    said = everything.steps[0].file_bytes - everything.steps[-1].file_bytes
    assert sizes[0] - sizes[1] == pytest.approx(said, abs=10_000)


def test_a_dense_model_has_nothing_to_prune(manifest: Manifest, images: ImageStore) -> None:
    result = prune_experts(build_model("mobilevitv2_050", seed=0), manifest, images, device=CPU)
    assert result.accepted == 0
    assert len(result.steps) == 1


def test_an_unknown_quality_suggests_one(
    model: nn.Module, manifest: Manifest, images: ImageStore
) -> None:
    with pytest.raises(ConfigError, match=r"no 'fairnes'. Did you mean 'fairness'\?"):
        prune_experts(model, manifest, images, keep_above={"fairnes": 0.9})


@pytest.mark.parametrize("split", ["val", "search"])
def test_both_splits_are_needed(
    model: nn.Module, manifest: Manifest, images: ImageStore, split: str
) -> None:
    other = Manifest(manifest.frame.copy(), manifest.root)
    other.frame.loc[other.frame["split"] == split, "split"] = "train"
    with pytest.raises(DataError, match=f"needs images of the split '{split}'"):
        prune_experts(model, other, images)


@pytest.mark.parametrize("split", ["val", "search"])
@pytest.mark.parametrize("label", [0, 1])
def test_both_classes_are_needed(
    model: nn.Module, manifest: Manifest, images: ImageStore, split: str, label: int
) -> None:
    """Of persons alone, the best model to prune to is one that sees a person in everything."""
    other = Manifest(manifest.frame.copy(), manifest.root)
    gone = (other.frame["split"] == split) & (other.frame["label"] == label)
    other.frame.loc[gone, "split"] = "train"
    with pytest.raises(DataError, match=f"split '{split}'; there is none with"):
        prune_experts(model, other, images, device=CPU)


def test_without_groups_fairness_is_not_held(
    model: nn.Module, manifest: Manifest, images: ImageStore
) -> None:
    plain = Manifest(manifest.frame.copy(), manifest.root)
    plain.frame["group"] = plain.frame["group"].where(plain.frame["group"] < 0)
    result = prune_experts(model, plain, images, max_parameters=10**9, device=CPU)
    assert "fairness" not in result.steps[0].scores
    assert set(result.thresholds) == {"balanced_accuracy", "robustness"}
    with pytest.raises(DataError, match="'fairness' cannot be held"):
        prune_experts(model, plain, images, keep_above={"fairness": 0.9}, device=CPU)
    with pytest.raises(DataError, match="needs validation images of groups"):
        prune_experts(model, plain, images, importance="group", device=CPU)


def test_the_defaults_are_qualities() -> None:
    assert set(qualities.KEEP_ABOVE) < set(qualities.QUALITIES)
    assert all(0.9 <= share <= 1 for share in qualities.KEEP_ABOVE.values())


@pytest.mark.parametrize("share", [1.2, -0.1, float("nan"), 98])
def test_a_threshold_is_a_share(
    model: nn.Module, manifest: Manifest, images: ImageStore, share: float
) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        prune_experts(model, manifest, images, keep_above={"robustness": share})


# The curve


def naive_curve(model: nn.Module, manifest: Manifest, images: ImageStore, name: str) -> list[Any]:
    """Every step from the start on all images."""
    measure, device = IMPORTANCES[name], CPU
    split = manifest.frame["split"].to_numpy()
    rows = np.flatnonzero(np.isin(split, ["val", "search"]))
    counted = split[rows] == "val"
    group = manifest.frame["group"].fillna(-1).to_numpy(dtype=int)[rows]
    steps: list[Any] = []
    need = None
    while True:
        seen = Observer(model, images.images, rows, measure, counted, device=device, memory=0)
        said = tabulate(manifest, rows, seen.probability)
        said = said.with_threshold(best_threshold(said.split("val")))
        scores = qualities.measure(said)
        steps.append((architecture_of(model).id, need, seen.probability, scores))
        chosen = least_needed(seen.tokens, seen.amounts, measure, np.flatnonzero(counted), group)
        if chosen is None:
            return steps
        model, need = remove_expert(model, *chosen[:2]), chosen[2]


@pytest.mark.parametrize("gate", ["exact", "probability"])
@pytest.mark.parametrize("name", sorted(IMPORTANCES))
def test_the_curve_equals_the_naive_one(
    manifest: Manifest, images: ImageStore, name: str, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps, every score and every interval are the same; probabilities up to rounding."""
    counts = (1, 1, 1, 1, 1, 1, 1, 4, 2)
    dense = build_model("mobilevitv2_050", seed=2)
    model = upcycle(dense, counts, seed=2, noise=0.5, gate=gate).eval()
    said: list[np.ndarray] = []
    decide = experts_module._Images.decide

    def keep(self: Any, observer: Observer) -> Any:
        said.append(observer.probability.copy())
        return decide(self, observer)

    monkeypatch.setattr(experts_module._Images, "decide", keep)
    result = prune_experts(
        model, manifest, images, keep_above={}, importance=name, curve=True, device=CPU
    )
    naive = naive_curve(model, manifest, images, name)
    assert len(result.steps) == len(naive) == 5
    for step, probability, (architecture, need, whole, scores) in zip(
        result.steps, said, naive, strict=True
    ):
        assert step.architecture == architecture
        found = step.removed["importance"] if step.removed else None
        assert found == (need if need is None else pytest.approx(need, rel=1e-5, abs=1e-9))
        np.testing.assert_allclose(probability, whole, rtol=0, atol=1e-6)
        assert (step.scores, step.intervals) == scores


def test_no_memory_gives_the_same(
    everything: PruningResult,
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without kept inputs, or with room for the last layers' only."""
    for bytes_ in (0, 200_000):
        monkeypatch.setattr(experts_module, "Observer", partial(Observer, memory=bytes_))
        again = prune_experts(model, manifest, images, keep_above={}, device=CPU)
        assert again.steps == everything.steps


def test_an_interrupted_curve_goes_on(
    everything: PruningResult,
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[PruningStep] = []
    for known in (3, MORE + 1):
        done = everything.steps[:known]
        again = prune_experts(
            model, manifest, images, keep_above={}, device=CPU, done=done, on_step=told.append
        )
        assert again.steps == everything.steps
        assert [step.step for step in told] == list(range(known, MORE + 1))
        frame = again.predictions.frame
        expected = everything.predictions.frame["probability"]
        np.testing.assert_allclose(frame["probability"], expected, atol=1e-6)
        told.clear()


def test_training_can_rescue_a_removal(
    model: nn.Module, manifest: Manifest, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second removal breaks the threshold until the model is trained; the fourth for good."""
    trained: list[int] = []
    counts = {"now": 0}

    def accuracy(*_: object) -> np.float64:
        value = {2: 0.1, 4: 0.1}.get(counts["now"], 0.8)
        return np.float64(0.8 if trained == [2] and counts["now"] == 2 else value)

    def train(smaller: nn.Module, step: int) -> nn.Module:
        trained.append(step)
        return copy.deepcopy(smaller)

    def count(step: PruningStep) -> None:
        counts["now"] = step.step + 1

    metric = dataclasses.replace(METRICS["balanced_accuracy"], tally=accuracy)
    monkeypatch.setitem(METRICS._items, "balanced_accuracy", metric)
    result = prune_experts(
        model, manifest, images, keep_above={"balanced_accuracy": 0.9}, device=CPU,
        on_step=count, rescue=train,
    )  # fmt: skip
    assert trained == [2, 4]
    assert [step.tuned for step in result.steps] == [False, False, True, False, False]
    assert result.accepted == 3
