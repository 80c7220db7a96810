"""Expert pruning: the least needed experts go one by one, as long as quality holds.

Which one is least needed is told by the validation images; quality is held on the search half;
nothing here looks at the report half. Removing an expert equals masking its logit, so its tokens
fall to the router's next choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.manifest import Manifest
from moenas.errors import DataError, ModelError
from moenas.evaluation.statistics.score_intervals import Interval
from moenas.evaluation.threshold import best_threshold, missing_label
from moenas.models.convert import architecture_of, remove_expert
from moenas.models.cost import parameters_of
from moenas.predictions import COLUMNS, Predictions
from moenas.pruning import qualities
from moenas.pruning.importance import IMPORTANCES, Importance, least_needed
from moenas.pruning.observer import Observer
from moenas.runtime import pick_device

Tune = Callable[[nn.Module, int], nn.Module]
"""From a pruned model and the step's number to the model after a short training. Called again with
the same number, it gives the same model without training."""


@dataclasses.dataclass(frozen=True)
class PruningStep:
    """One iteration (Fig. 9). Step 0 is the unpruned model.

    Attributes:
        step: Number of removed experts.
        removed: Layer, expert and its importance (for ``usage``, its share of the layer's tokens);
            None at step 0.
        architecture: What is left.
        parameters: Its size.
        file_bytes: Bytes of its weights on disk (the file adds a header of some 10 kB).
        threshold: Decision threshold, set on the validation images.
        scores: Metrics on the search half by name, fractions.
        intervals: Of those that have one, at 95 %.
        recomputed: Share of the images that had to be computed again, 0-1.
        tuned: The model was trained for a while after this removal.
    """

    step: int
    removed: dict[str, str | int | float] | None
    architecture: str
    parameters: int
    file_bytes: int
    threshold: float
    scores: dict[str, float]
    intervals: dict[str, Interval]
    recomputed: float
    tuned: bool = False


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """The smallest model whose quality held, every step that was tried, why it ended.

    Attributes:
        model: The pruned model.
        threshold: Its decision threshold.
        steps: Step 0 and every accepted one, then the one that broke a threshold, if any did, and
            with ``curve`` all others.
        accepted: Number of accepted removals.
        stopped_because: For people.
        predictions: The pruned model's, on validation and search images.
        thresholds: Those that were held: default ones may not be defined on the images.
        importance: What chose the experts.
        fine_tuned: The model after a training at the end, where there was one.
        fine_tuned_kept: Whether it took the pruned model's place.
    """

    model: nn.Module
    threshold: float
    steps: tuple[PruningStep, ...]
    accepted: int
    stopped_because: str
    predictions: Predictions
    thresholds: dict[str, float]
    importance: str
    fine_tuned: PruningStep | None = None
    fine_tuned_kept: bool = False


def prune_experts(
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    *,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    importance: str = "usage",
    curve: bool = False,
    device: torch.device | None = None,
    on_step: Callable[[PruningStep], None] | None = None,
    done: Sequence[PruningStep] = (),
    rescue: Tune | None = None,
    check: Callable[[], None] | None = None,
) -> PruningResult:
    """Remove the least needed expert of the whole model until a quality would fall (III-B3).

    Args:
        model: A model with S-FFN layers; it is not changed.
        manifest: Images of the splits ``val`` (importance, decision threshold) and ``search``
            (quality); rows of other splits are not looked at.
        images: Row i is the manifest's row i; unreadable ones are left out.
        keep_above: For each quality the share of its starting value that must remain, 0-1; those
            not named may fall. Default: `qualities.KEEP_ABOVE`.
        max_parameters: Accept no further removal as soon as the model is this small.
        importance: Name in `IMPORTANCES`: what decides which expert is least needed.
        curve: Go on to one expert a layer, whatever breaks; the accepted model stays the same.
        device: Where to compute.
        on_step: Called after each step.
        done: Steps that an interrupted call with the same arguments has told ``on_step``.
        rescue: Train a model that breaks a threshold; if it then holds, pruning goes on.
        check: Called before each batch; what it raises, at a time limit, ends this.

    Raises:
        ConfigError: An unknown quality or importance, a threshold outside of 0-1.
        DataError: There are no validation or no search images, none with or none without a person,
            or they lack what a threshold or the importance needs.
    """
    qualities.thresholds(keep_above)
    measure = IMPORTANCES[importance]
    seen = _Images(manifest, images, measure, device or pick_device(), check)
    course = _Course(keep_above, max_parameters)
    current, observer = model, None
    for step in done:
        if step.removed is not None:
            current = remove_expert(
                current, str(step.removed["layer"]), int(step.removed["expert"])
            )
        if step.tuned and rescue is not None:
            current = rescue(current, step.step)
        course.take(step, current, None)
    if not done:
        observer = seen.observe(current)
        predictions = seen.decide(observer)
        course.take(judge(0, None, current, predictions, 1.0), current, predictions)
        if on_step:
            on_step(course.steps[-1])
    while curve or course.reason is None:
        observer = observer or seen.observe(current)
        choice = seen.least_needed(observer)
        if choice is None:
            break
        layer, expert, need = choice
        removed: dict[str, str | int | float] = {"layer": layer, "expert": expert}
        removed |= {"usage": seen.usage(observer, layer, expert), "importance": need}
        current = remove_expert(current, layer, expert)
        again = observer.remove(layer, expert)
        predictions = seen.decide(observer)
        step = judge(len(course.steps), removed, current, predictions, again)
        if rescue is not None and course.reason is None and course.breaks(step):
            tuned = rescue(current, step.step)
            anew = seen.observe(tuned)
            better = seen.decide(anew)
            second = judge(step.step, removed, tuned, better, 1.0, tuned=True)
            if not course.breaks(second):
                current, observer, predictions, step = tuned, anew, better, second
        course.take(step, current, predictions)
        if on_step:
            on_step(step)
    kept = course.predictions
    if kept is None:  # its steps were all taken before
        kept = seen.decide(seen.observe(course.kept))
    return PruningResult(
        model=course.kept,
        threshold=kept.threshold,
        steps=tuple(course.steps),
        accepted=course.accepted,
        stopped_because=course.reason or "one expert is left in every layer",
        predictions=kept,
        thresholds=course.limits,
        importance=importance,
    )


def judge(
    number: int,
    removed: dict[str, str | int | float] | None,
    model: nn.Module,
    predictions: Predictions,
    recomputed: float,
    tuned: bool = False,
) -> PruningStep:
    """Return what a step came to.

    Args:
        number: Of removed experts.
        removed: The last one of them.
        model: What is left.
        predictions: Its, on validation and search images.
        recomputed: Share of the images that were computed, 0-1.
        tuned: It was trained after the removal.
    """
    architecture = architecture_of(model)
    scores, intervals = qualities.measure(predictions)
    return PruningStep(
        step=number,
        removed=removed,
        architecture=architecture.id,
        parameters=parameters_of(architecture),
        file_bytes=sum(t.nbytes for t in model.state_dict().values()),
        threshold=predictions.threshold,
        scores=scores,
        intervals=intervals,
        recomputed=recomputed,
        tuned=tuned,
    )


def refuse_dense(model: nn.Module) -> None:
    """Say that a model has nothing to prune.

    Raises:
        ModelError: No layer has several experts.
    """
    architecture = architecture_of(model)
    if architecture.dense:
        raise ModelError(
            f"'{architecture.id}' has one expert in each layer: there is nothing to prune. Prune a "
            "model with experts, e.g. a finalist of 'moenas search'."
        )


class _Course:
    """The steps so far, and the last model whose quality held."""

    def __init__(self, keep_above: Mapping[str, float] | None, max_parameters: int | None) -> None:
        self._keep_above, self._max_parameters = keep_above, max_parameters
        self.steps: list[PruningStep] = []
        self.limits: dict[str, float] = {}
        self.accepted = 0
        self.kept: nn.Module
        self.predictions: Predictions | None = None
        self.reason: str | None = None

    def breaks(self, step: PruningStep) -> str | None:
        """What a step breaks, None: nothing."""
        return qualities.broken(self.limits, self.steps[0].scores, step.scores)

    def take(self, step: PruningStep, model: nn.Module, predictions: Predictions | None) -> None:
        """Add a step; the predictions of one that was replayed are not known."""
        self.steps.append(step)
        if len(self.steps) == 1:
            self.limits = qualities.held(self._keep_above, step.scores)
        if self.reason is not None:
            return
        self.reason = self.breaks(step)
        if self.reason is not None:
            return
        self.accepted, self.kept, self.predictions = step.step, model, predictions
        if self._max_parameters is not None and step.parameters <= self._max_parameters:
            self.reason = f"the model has at most {self._max_parameters:,} parameters"


class _Images:
    """The images that pruning looks at, and what it asks of a model on them."""

    def __init__(
        self,
        manifest: Manifest,
        images: ImageStore,
        importance: Importance,
        device: torch.device,
        check: Callable[[], None] | None,
    ) -> None:
        split = manifest.frame["split"].to_numpy()
        self._rows = np.flatnonzero(((split == "val") | (split == "search")) & images.readable)
        frame = manifest.frame.iloc[self._rows].reset_index(drop=True)
        for name in ("val", "search"):
            _check_labels(frame[frame["split"] == name], name)
        self._table: pd.DataFrame = frame[[name for name in COLUMNS if name in frame]]
        self._counted = (frame["split"] == "val").to_numpy()
        group = frame["group"] if "group" in frame else pd.Series(pd.NA, frame.index, dtype="Int16")
        self._group = group.fillna(-1).to_numpy(dtype=np.int64)
        if importance.needs_groups and (self._group[self._counted] < 0).all():
            raise DataError(
                "This importance needs validation images of groups (skin tones); none has one. "
                "Use --importance usage, or add the column 'group'."
            )
        self._images, self._importance, self._device = images.images, importance, device
        self._check = check

    def observe(self, model: nn.Module) -> Observer:
        """Run a model over all images."""
        return Observer(
            model,
            self._images,
            self._rows,
            self._importance,
            self._counted,
            device=self._device,
            check=self._check,
        )

    def least_needed(self, observer: Observer) -> tuple[str, int, float] | None:
        """Layer, expert and importance of the expert that goes next."""
        rows = np.flatnonzero(self._counted)
        tokens, amounts = observer.tokens, observer.amounts
        return least_needed(tokens, amounts, self._importance, rows, self._group)

    def usage(self, observer: Observer, layer: str, expert: int) -> float:
        """An expert's share of its layer's tokens, whatever the importance is."""
        total = observer.tokens[layer][self._counted].sum(axis=0)
        return float(total[expert] / max(1, total.sum()))

    def decide(self, observer: Observer) -> Predictions:
        """The predictions, at the threshold that is best on validation."""
        predictions = Predictions(self._table.assign(probability=observer.probability))
        return predictions.with_threshold(best_threshold(predictions.split("val")))


def _check_labels(frame: pd.DataFrame, split: str) -> None:
    """Refuse images by which a model that always says the same would be perfect."""
    if not len(frame):
        raise DataError(f"Pruning needs images of the split '{split}'; there are none.")
    if what := missing_label(frame):
        raise DataError(
            f"Pruning needs images with and images without a person in the split '{split}'; "
            f"there is none {what} one: a model that always says the same would be perfect, "
            "and pruning would go on until it does. Add such images."
        )
