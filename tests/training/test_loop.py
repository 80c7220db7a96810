from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moenas.data.dataset import ImageDataset
from moenas.data.transforms import train_transform
from moenas.errors import CheckpointError, ConfigError, MoENASError
from moenas.evaluation.predict import probabilities
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.runs import ModelFolder
from moenas.training import input_size, loop, resume
from moenas.training.checkpoint import TrainingState, load_state, save_state
from moenas.training.history import EpochRecord, read_history
from moenas.training.loop import OutOfTime, TrainResult, train
from moenas.training.schemes import SCHEMES, Scheme
from moenas.training.step import Batch, plain_step

CPU = torch.device("cpu")
EXPERTS = (2, 1, 1, 2, 1, 1, 1, 1, 3)


@pytest.fixture
def run(pictures: tuple[Any, Any], scheme: Scheme, tmp_path: Path) -> Any:
    """Train a model with experts in a folder of the test."""

    def go(name: str = "a", recipe: Scheme = scheme, **options: Any) -> TrainResult:
        images, labels = pictures
        transform = train_transform(recipe.augmentation, 32)
        model = upcycle(build_model("mobilevitv2_050", seed=1), EXPERTS, seed=1)
        return train(
            model,
            ImageDataset(images, labels, transform, rows=np.arange(16)),
            ImageDataset(images, labels, rows=np.arange(16, 24)),
            recipe,
            folder=ModelFolder(tmp_path / name),
            seed=3,
            device=CPU,
            **options,
        )

    return go


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: TrainResult, two: TrainResult) -> bool:
    mine, other = weights(one.model), weights(two.model)
    return mine.keys() == other.keys() and all(torch.equal(mine[k], other[k]) for k in mine)


def facts(result: TrainResult) -> list[tuple[float, ...]]:
    return [(r.epoch, r.loss, r.accuracy_val, r.learning_rate) for r in result.history]


class Deadline:
    """A clock that is past the deadline after so many readings (one a batch)."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def monotonic(self) -> float:
        self.left -= 1
        return 0.0 if self.left >= 0 else 2.0

    def perf_counter(self) -> float:
        return time.perf_counter()


DRAWN = {"dropout": 0.3, "stochastic_depth": 0.3, "small_share": 0.5}
"""Of a recipe that draws at random in each step."""


@pytest.mark.parametrize("decay", [0.9, None], ids=["ema", "no ema"])
def test_a_training_stopped_by_its_deadline_ends_in_the_same_weights(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decay: float | None
) -> None:
    recipe = dataclasses.replace(scheme, ema_decay=decay, **DRAWN)
    whole = run("whole", recipe)
    for batches in (2, 1):  # in the second epoch, and at once after it
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", Deadline(batches))
            with pytest.raises(OutOfTime, match="time limit came in epoch"):
                run("parts", recipe, deadline=1.0)
    history = (tmp_path / "parts" / "history.jsonl").read_text().splitlines()
    assert len(history) == 2
    torch.manual_seed(99)  # whatever the process drew meanwhile
    parts = run("parts", recipe)
    assert facts(parts) == facts(whole)
    assert same(parts, whole)


class Killed(BaseException):
    """What no code of ours catches."""


class Dying:
    """A step that ends the process, as it were, after so many; notes which it computed."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.numbers: list[int] = []

    def __call__(self, model: nn.Module, batch: Any, backward: Any, **_: Any) -> Any:
        if not self.left:
            raise Killed
        self.left -= 1
        self.numbers.append(batch.number)
        return plain_step(model, batch, backward)


@pytest.mark.parametrize("decay", [0.9, None], ids=["ema", "no ema"])
def test_no_step_of_a_long_epoch_is_lost_or_taken_twice(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decay: float | None
) -> None:
    recipe = dataclasses.replace(scheme, epochs=1.75, batch_size=4, ema_decay=decay, **DRAWN)
    whole = run("whole", recipe)
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "COST", math.inf)
    numbers = []
    for after in (1, 2, 1, 2):
        step = Dying(after)
        # The third ends with the epoch, before it is judged.
        judge = Dying(0) if numbers == [0, 1, 2] else probabilities
        monkeypatch.setattr(loop, "probabilities", judge)
        with pytest.raises(Killed):
            run("parts", recipe, step=step)
        numbers += step.numbers
    torch.manual_seed(99)
    step = Dying(-1)
    parts = run("parts", recipe, step=step)
    assert numbers + step.numbers == list(range(7))
    assert facts(parts) == facts(whole)
    assert [(r.least_used, r.router_entropy) for r in parts.history] == [
        (r.least_used, r.router_entropy) for r in whole.history
    ]
    assert same(parts, whole)
    assert parts.history[0].seconds < 60


def test_states_within_epochs_cost_little(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come half a minute after what was written before, or later where writing takes long."""
    now, written = 0.0, []

    def clock() -> float:
        return now

    def step(model: nn.Module, batch: Batch, backward: Any) -> Any:
        nonlocal now
        now += 20.0
        return plain_step(model, batch, backward)

    def save(*_: Any) -> None:
        nonlocal now
        written.append(now)
        now += 0.5

    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(resume, "save_state", save)
    recipe = dataclasses.replace(SCHEMES["short"], epochs=1.0, batch_size=2)
    run(recipe=recipe, step=step)
    assert written == [40.0, 100.5, 161.0, 161.5]  # after 2, 5 and 8 steps, and judged


def test_nothing_is_kept_of_a_training_that_diverged(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def step(model: nn.Module, batch: Batch, backward: Any) -> Any:
        loss, routings = plain_step(model, batch, backward)
        return loss * (math.nan if batch.number == 1 else 1), routings

    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "COST", math.inf)
    with pytest.raises(MoENASError, match="loss became nan in epoch 1"):
        run(step=step)
    state = load_state(tmp_path / "a" / "state.safetensors")
    assert state is not None
    assert state.progress["steps"] == 1
    assert len(run().history) == 3


def test_a_training_whose_state_is_truncated_ends_in_the_same_weights(
    run: Any, tmp_path: Path
) -> None:
    whole = run("whole")
    stop = lambda history: "stopped" if len(history) == 2 else None  # noqa: E731
    run("parts", stop=stop)
    state = tmp_path / "parts" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    again = run("parts")
    assert [r.epoch for r in again.history] == [1, 2, 3]
    assert facts(again) == facts(whole)
    assert same(again, whole)


def test_no_epoch_is_missing_in_the_history_after_a_kill(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even the last one's, which no further epoch writes anew."""

    def die(*_: Any) -> None:
        raise Killed

    recipe = dataclasses.replace(scheme, epochs=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_history", die)
        with pytest.raises(Killed):
            run(recipe=recipe)
    assert read_history(ModelFolder(tmp_path / "a")) == []
    result = run(recipe=recipe)
    assert read_history(ModelFolder(tmp_path / "a")) == list(result.history)
    assert len(result.history) == 1


def test_a_training_that_begins_anew_forgets_its_history(run: Any, tmp_path: Path) -> None:
    """Else it would seem to be further than it is until its first epoch is over."""
    run(stop=lambda _: "stopped")
    (tmp_path / "a" / "state.safetensors").unlink()
    with pytest.raises(Killed):
        run(step=Dying(1))
    assert read_history(ModelFolder(tmp_path / "a")) == []


def test_a_finished_training_is_not_trained_on(run: Any) -> None:
    first = run()
    epochs: list[EpochRecord] = []
    again = run(on_epoch=epochs.append)
    assert not epochs
    assert same(first, again)


def test_a_half_trained_model_of_another_architecture_is_set_aside(
    run: Any, scheme: Scheme, tmp_path: Path
) -> None:
    other = {"model": build_model("mobilevitv2_050", seed=1).state_dict()}
    progress = {"history": [], "best": 0.5, "of": {"architecture": "mobilevitv2_050-e111111111"}}
    state = TrainingState(other, {"state": {}, "param_groups": []}, progress)
    save_state(tmp_path / "a" / "state.safetensors", state)
    result = run(recipe=dataclasses.replace(scheme, epochs=0.01))
    assert [record.epoch for record in result.history] == [1]


@pytest.mark.parametrize("change", [{"history": None}, {"history": [{}]}, {"steps": "a"}])
def test_a_state_that_says_something_else_is_told(
    run: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(stop=lambda _: "stopped")
    path = tmp_path / "a" / "state.safetensors"
    state = load_state(path)
    assert state is not None
    state.progress.update(change)
    save_state(path, state)
    with pytest.raises(CheckpointError, match=r"state\.safetensors' is not of this training"):
        run()


def test_the_deadline_is_kept_within_a_batch(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Deadline(0)
    monkeypatch.setattr(loop, "time", clock)
    with pytest.raises(OutOfTime):
        run(deadline=1.0)
    assert clock.left == -1


def test_the_seed_decides(run: Any, pictures: tuple[Any, Any], scheme: Scheme) -> None:
    recipe = dataclasses.replace(scheme, epochs=1)
    one, two = run("a", recipe), run("b", recipe)
    assert same(one, two)
    assert facts(one) == facts(two)


def test_the_best_epoch_is_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = iter([0.6, 0.9, 0.7])
    seen: list[dict[str, torch.Tensor]] = []

    def predict(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.append(weights(model))
        predicted.append(probabilities(model, *arguments, **options))
        return predicted[-1]

    predicted: list[Any] = []
    monkeypatch.setattr(loop, "probabilities", predict)
    monkeypatch.setattr(loop, "_balanced_accuracy", lambda *_: next(quality))
    result = run()
    kept = weights(result.model)
    assert (result.validation == predicted[1]).all()
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], seen[2][name]) for name in kept)


def test_the_moving_average_is_what_is_judged_and_kept(run: Any, scheme: Scheme) -> None:
    one = run("ema", dataclasses.replace(scheme, epochs=1, ema_decay=0.9))
    two = run("none", dataclasses.replace(scheme, epochs=1, ema_decay=None))
    assert [r.loss for r in one.history] == [r.loss for r in two.history]  # the same training
    assert not same(one, two)


def test_it_learns(run: Any, scheme: Scheme) -> None:
    recipe = dataclasses.replace(scheme, epochs=12, augmentation="none", ema_decay=None)
    result = run(recipe=recipe)
    assert result.history[-1].loss < 0.75 * result.history[0].loss
    assert not result.model.training


def test_history_is_one_json_line_an_epoch(run: Any, tmp_path: Path) -> None:
    told: list[EpochRecord] = []
    result = run(on_epoch=told.append)
    lines = (tmp_path / "a" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(r) for r in result.history]
    assert tuple(told) == result.history
    assert [r.epoch for r in told] == [1, 2, 3]
    assert all(math.isfinite(r.loss) and 0 <= r.accuracy_val <= 1 for r in told)


def test_a_stop_rule_ends_it_and_says_why(run: Any) -> None:
    result = run(stop=lambda history: "hopeless" if len(history) == 2 else None)
    assert len(result.history) == 2
    assert result.stopped_because == "hopeless"
    assert run("b").stopped_because is None


def test_a_loss_that_is_not_finite_is_told(run: Any, scheme: Scheme, tmp_path: Path) -> None:
    recipe = dataclasses.replace(scheme, learning_rate=1e30, gradient_clip=None, warmup=0.0)
    with pytest.raises(MoENASError, match=r"loss became .* lower the learning rate") as caught:
        run("nan", recipe)
    assert str(tmp_path / "nan") in str(caught.value)


def test_the_first_epochs_see_smaller_images(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    normalise = loop.normalise

    def watch(images: torch.Tensor) -> torch.Tensor:
        sides.append(images.shape[-1])
        return normalise(images)

    monkeypatch.setattr(loop, "normalise", watch)
    monkeypatch.setattr(input_size, "SMALL", 2.0)  # the fixture's images are as small as can be
    run(recipe=dataclasses.replace(scheme, small_share=2 / 3))
    assert sides == [64] * 4 + [32] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"small_share": 1.5}, "small_share must be within"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate must be above 0"),
        ({"final_learning_rate": -1e-4}, "final_learning_rate must be at least 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"weight_decay": math.nan}, "weight_decay must be at least 0"),
        ({"gradient_clip": 0.0}, "gradient_clip must be above 0"),
        ({"label_smoothing": 1.5}, "label_smoothing must be within"),
        ({"ema_decay": 1.5}, "ema_decay must be within"),
        ({"warmup": -1.0}, "warmup must be within"),
    ],
)
def test_impossible_schemes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SCHEMES["mobilevitv2"], **change)


def test_an_unknown_scheme_suggests_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'mobilevitv2'"):
        SCHEMES["mobilevit2"]


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, [1]), (1.5, [2, 1]), (0.01, [1]), (2, [2, 2])])
def test_epochs_may_be_parts(
    run: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch, epochs: float, steps: list[int]
) -> None:
    seen: list[int] = []
    normalise = loop.normalise

    def count(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return normalise(images)

    monkeypatch.setattr(loop, "normalise", count)
    result = run(recipe=dataclasses.replace(scheme, epochs=epochs))
    assert len(seen) == sum(steps)
    assert [record.epoch for record in result.history] == list(range(1, len(steps) + 1))
    if len(seen) > 1:  # the cosine came to its end
        assert result.history[-1].learning_rate < scheme.learning_rate / 2
