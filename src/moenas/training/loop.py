"""The training loop, to be read in one sitting.

Everything random is drawn from (seed, step), and the state is saved after each epoch and, in long
ones, between steps: a training that is killed and run again ends in the same weights as one that
was not.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, extract_model_from_parallel
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from moenas.data.dataset import ImageDataset, collate, normalise
from moenas.errors import DataError, MoENASError
from moenas.evaluation.predict import probabilities
from moenas.models.routing import record_routing
from moenas.runs import ModelFolder
from moenas.runtime import derived_seed, own_cores, seed_everything
from moenas.training import processes
from moenas.training.batch_norms import share_batch_norms
from moenas.training.checkpoint import drop_state
from moenas.training.dropout import classifier_dropout, stochastic_depth
from moenas.training.expert_sharing import share_gradients
from moenas.training.graphs import graphed
from moenas.training.history import EpochRecord, write_history
from moenas.training.identity import Identity
from moenas.training.input_size import resized
from moenas.training.optimizer import learning_rate_schedule, make_optimizer
from moenas.training.order import EpochOrder
from moenas.training.resume import Best, Resumable
from moenas.training.schemes import Scheme
from moenas.training.step import Batch, Step, in_parts, plain_step


class OutOfTime(MoENASError):  # noqa: N818 - not an error of the run: it goes on later
    """The time limit came before the work was finished; what it needs to go on is saved."""

    goes_on = True


def check_deadline(deadline: float | None, where: str) -> None:
    """Raise `OutOfTime` where a `time.monotonic` value is past.

    Args:
        deadline: None never comes.
        where: What is left unfinished, for the message.
    """
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTime(f"The time limit came in {where}.")


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What `train` returns.

    Attributes:
        model: With the weights of its best epoch.
        validation: [len(validation)] its probability of a person for each validation image.
        history: One record an epoch.
        stopped_because: Why it ended early, or None.
    """

    model: nn.Module
    validation: npt.NDArray[np.float64]
    history: tuple[EpochRecord, ...]
    stopped_because: str | None


StopRule = Callable[[tuple[EpochRecord, ...]], str | None]
"""Looks at the history after each epoch and returns a reason to stop, or None."""


def train(
    model: nn.Module,
    data: ImageDataset,
    validation: ImageDataset,
    scheme: Scheme,
    *,
    folder: ModelFolder,
    seed: int = 0,
    device: torch.device | None = None,
    precision: str = "no",
    deadline: float | None = None,
    step: Step = plain_step,
    stop: StopRule | None = None,
    accumulate: int = 1,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainResult:
    """Train a model and return it with the weights of its best epoch on the validation images.

    In processes that a launcher started together, each computes its part of every batch; all return
    the same.

    Args:
        model: Classifier of two classes (person = 1); trained in place.
        data: Training images with the scheme's transform.
        validation: Images that choose the epoch; never used for gradients.
        scheme: The recipe.
        folder: Where state and history are kept; an unfinished training found there goes
            on, unless it is of another architecture or seed: that is removed.
        seed: Of the order of the images and their augmentation.
        device: Where to train; the fastest there is by default.
        precision: ``no`` (float32), ``bf16`` or ``fp16``, as accelerate understands it.
        deadline: `time.monotonic` value after which `OutOfTime` is raised.
        step: From a batch to gradients.
        stop: Ends a hopeless training early.
        accumulate: Parts in which each batch is computed, one after the other, where it does not
            fit in memory whole. Batch norms and the routers' balance see one part at a time.
        on_epoch: Called after each epoch.

    Raises:
        OutOfTime: The deadline came first. The same call goes on from the last step.
        DataError: The images of either kind all have the same label.
        ConfigError: A batch cannot be divided among the processes and parts.
        MoENASError: The loss is not finite.
    """
    for name, part in (("training", data), ("validation", validation)):
        if len(set(part.labels[part.rows].tolist())) < 2:
            raise DataError(
                f"The {name} images all have the same label: there is nothing to tell apart. Add "
                "images with and without a person."
            )
    identity = Identity.of_training(model, seed)
    AcceleratorState._reset_state(reset_partial_state=device is not None)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=device is not None and device.type == "cpu",
        dataloader_config=DataLoaderConfiguration(
            split_batches=True,  # batch_size is of all
            non_blocking=True,
        ),
    )
    batch_size = min(scheme.batch_size, len(data))
    processes.check_parts(batch_size, accumulate)
    if accelerator.num_processes > 1:
        model = share_batch_norms(model, accelerator.device)
    model = model.to(memory_format=torch.channels_last)
    order = EpochOrder(len(data))
    loader: DataLoader[Any] = DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        drop_last=True,
        num_workers=0 if accelerator.device.type == "cpu" else min(8, own_cores()),
        collate_fn=collate,
        pin_memory=accelerator.device.type == "cuda",
    )
    optimizer = make_optimizer(model, scheme)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    inner = accelerator.unwrap_model(model)
    steps, epochs = scheme.steps(len(data)), scheme.epochs_begun(len(data))
    length = len(data) // batch_size
    schedule = learning_rate_schedule(optimizer, scheme, steps)
    ema = None
    if scheme.ema_decay is not None:
        ema = ModelEmaV3(inner, decay=scheme.ema_decay, use_warmup=True)
    judged = inner if ema is None else ema.module

    def judge(rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        saved = _as_saved(judged)
        return probabilities(saved, validation.images, rows, device=accelerator.device)

    training = Resumable(folder, identity, inner, judged, optimizer, accelerator)
    done = training.resume()
    history = done.history
    processes.check_agreement(len(history), done.steps)
    if accelerator.is_main_process and (history or folder.history.exists()):
        write_history(folder, history)  # what is there may lack an epoch, or be of a lost state
    alone = accelerator.num_processes == 1 and accumulate == 1
    if accelerator.device.type == "cuda" and alone and precision != "fp16":  # its scaler decides
        step = graphed(step)

    stopped_because = stop(tuple(history)) if stop and history else None
    for epoch in range(len(history), epochs):
        if stopped_because:
            break
        start = time.perf_counter() - done.seconds
        order.begin(derived_seed(seed, "order", epoch), done.steps * batch_size)
        data.draws = derived_seed(seed, "images", epoch)
        model.train()
        with (
            record_routing(inner) as routings,
            classifier_dropout(inner, scheme.dropout),
            stochastic_depth(inner, scheme.stochastic_depth),
        ):
            for images, labels, _ in loader:
                number = epoch * length + done.steps
                if number == steps:  # the last epoch may be a part of one
                    break
                drawn = derived_seed(seed, "step", number, accelerator.process_index)
                seed_everything(drawn, accelerator.device)
                schedule.step_update(number)
                images = resized(images, scheme, seed, number, steps)
                batch = Batch(normalise(images), labels, routings, scheme, number)
                for part_loss, routed in in_parts(step, model, batch, accelerator, accumulate):
                    done.log.add(part_loss, routed)
                share_gradients(inner, scheme.expert_sharing)
                if scheme.gradient_clip is not None:
                    accelerator.clip_grad_norm_(model.parameters(), scheme.gradient_clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if ema is not None:
                    ema.update(inner, step=number + 1)
                done.steps, done.seconds = done.steps + 1, time.perf_counter() - start
                late = deadline is not None and time.monotonic() > deadline
                if not processes.main_says_at(number, late or training.due()):
                    continue
                _check(done.log.loss(), epoch, folder)
                training.keep(done)
                if processes.main_says(late):
                    raise OutOfTime(f"The time limit came in epoch {epoch + 1} of '{folder.path}'.")
        loss = _check(done.log.loss(), epoch, folder)
        processes.share_buffers(judged)
        probability = processes.shared_out(judge, validation.rows)
        record = EpochRecord(
            epoch=epoch + 1,
            loss=round(loss, 6),
            accuracy_val=_balanced_accuracy(probability, validation.labels[validation.rows]),
            learning_rate=float(optimizer.param_groups[0]["lr"]),
            seconds=round(time.perf_counter() - start, 3),
            least_used=done.log.least_used(),
            router_entropy=done.log.entropy(),
        )
        if record.accuracy_val >= done.best.accuracy:
            weights = copy.deepcopy(judged.state_dict())
            done.best = Best(record.accuracy_val, weights, probability)
        done.end_epoch(record)
        training.keep(done)
        if accelerator.is_main_process:
            write_history(folder, history)
        if on_epoch:
            on_epoch(record)
        stopped_because = stop(tuple(history)) if stop else None
    inner.load_state_dict(done.best.weights)
    return TrainResult(
        _as_saved(inner).eval(), done.best.probability, tuple(history), stopped_because
    )


def _check(loss: float, epoch: int, folder: ModelFolder) -> float:
    """Return the loss; nothing is kept of weights that are lost."""
    if math.isfinite(loss):
        return loss
    raise MoENASError(
        f"The loss became {loss} in epoch {epoch + 1} of '{folder.path}': lower the learning rate "
        "or check the images."
    )


def _as_saved(model: nn.Module) -> nn.Module:
    """Return what computes as the saved weights do: a copy where precision is mixed."""
    if "_original_forward" not in vars(model):  # accelerate's casts are in the model itself
        return model
    plain: nn.Module = extract_model_from_parallel(copy.deepcopy(model), keep_fp32_wrapper=False)
    return plain


def forget_state(folder: ModelFolder) -> None:
    """Remove the state of a finished training; its checkpoint and history stay."""
    drop_state(folder.state)


def _balanced_accuracy(
    probability: npt.NDArray[np.float64], labels: npt.NDArray[np.integer]
) -> float:
    """Balanced accuracy at 0.5; what picks the epoch (the threshold is set later)."""
    person = probability >= 0.5
    return float((person[labels == 1].mean() + (~person[labels == 0]).mean()) / 2)
