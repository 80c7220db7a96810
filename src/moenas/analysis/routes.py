"""Routes: which experts the tokens of each image go to, layer by layer, in one pass.

Axes: n images, T tokens of an image, E experts of a layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from moenas.data.dataset import normalise
from moenas.errors import DataError, ModelError
from moenas.evaluation.predict import of_person
from moenas.models.convert import architecture_of, ffn_layers
from moenas.models.folding import fold_batch_norms
from moenas.models.routing import record_routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import exact_products

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class SwitchLayer:
    """A layer that has experts.

    Attributes:
        number: Its place in `Architecture.experts`, from 1.
        name: Its module's name.
        experts: How many it has, at least 2.
    """

    number: int
    name: str
    experts: int


@dataclasses.dataclass(frozen=True)
class Routes:
    """The routes of some images.

    Attributes:
        layers: The layers that have experts, in the order in which an image passes them.
        shares: For each of them [n, E] share of an image's tokens that each expert took.
        probability: [n] of a person, 0–1.
    """

    layers: tuple[SwitchLayer, ...]
    shares: tuple[F32, ...]
    probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.probability)

    def chosen(self) -> list[npt.NDArray[np.int64]]:
        """For each layer [n] the expert that took most of an image's tokens; ties to the first."""
        return [share.argmax(axis=1) for share in self.shares]

    def to_frame(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return one row an image and layer; experts are numbered from 1, as the paper does.

        Args:
            images: [n rows] what is known of each image; its columns come first.

        Returns:
            With the columns ``probability``, ``layer``, ``experts`` (how many), ``expert`` (the
            chosen one), ``share`` (of its tokens) and ``share_1`` … (empty beyond ``experts``).
        """
        most = max(layer.experts for layer in self.layers)
        known = images.reset_index(drop=True).assign(probability=self.probability)
        parts = []
        for layer, share, chosen in zip(self.layers, self.shares, self.chosen(), strict=True):
            columns = {
                f"share_{e + 1}": share[:, e] if e < layer.experts else np.float32(np.nan)
                for e in range(most)
            }
            parts.append(
                known.assign(
                    layer=layer.number,
                    experts=layer.experts,
                    expert=chosen + 1,
                    share=share.max(axis=1, initial=0.0),
                    **columns,
                )
            )
        order = np.arange(len(self.layers) * len(self)).reshape(len(self.layers), -1).T.ravel()
        return pd.concat(parts, ignore_index=True).iloc[order].reset_index(drop=True)


def routes_of(table: pd.DataFrame) -> tuple[Routes, pd.DataFrame]:
    """Return what `Routes.to_frame` was given: the routes, whose layers have no names, and images.

    Raises:
        DataError: A layer has not one row for every image, or a share is missing.
    """
    layers, shares = [], []
    first = table.drop_duplicates("layer", keep="first")
    images = table[table["layer"] == first["layer"].iloc[0]].reset_index(drop=True)
    for row in first.itertuples():
        own = table[table["layer"] == row.layer].reset_index(drop=True)
        share = own[[f"share_{e + 1}" for e in range(row.experts)]].to_numpy(dtype=np.float32)
        if not own["image_id"].equals(images["image_id"]) or np.isnan(share).any():
            raise DataError(f"The table of routes lacks images or shares of layer {row.layer}.")
        layers.append(SwitchLayer(int(row.layer), "", int(row.experts)))
        shares.append(share)
    known = images.columns[: images.columns.get_loc("probability")]
    probability = images["probability"].to_numpy(dtype=np.float64)
    return Routes(tuple(layers), tuple(shares), probability), images[known]


def switch_layers(model: nn.Module) -> tuple[SwitchLayer, ...]:
    """Return the layers of a model that have experts.

    Raises:
        ModelError: The model is not one of ours, or none of its layers has experts.
    """
    found = tuple(
        SwitchLayer(number, name, layer.num_experts)
        for number, (name, layer) in enumerate(ffn_layers(model).items(), start=1)
        if isinstance(layer, SwitchFFN)
    )
    if not found:
        raise ModelError(
            f"'{architecture_of(model).id}' has no experts: every layer has one FFN for all "
            "tokens, so there are no routes to show. Give a model with experts in a layer or more."
        )
    return found


def trace(
    model: nn.Module,
    images: U8,
    rows: npt.NDArray[np.integer] | None = None,
    *,
    device: torch.device,
    batch_size: int = 64,
) -> Routes:
    """Return the routes of images; what is kept of an image are a few numbers a layer.

    Args:
        model: A model of ours; it is not changed.
        images: [n, height, width, 3] RGB; may be memory-mapped, is read batch by batch.
        rows: Which images, in this order; all by default.
        device: Where to compute.
        batch_size: Images at once.

    Raises:
        ModelError: The model has no experts.
    """
    layers = switch_layers(model)
    rows = np.arange(len(images)) if rows is None else rows
    probability = np.empty(len(rows))
    shares = [np.empty((len(rows), layer.experts), dtype=np.float32) for layer in layers]
    for here, seen, choices in _passes(model, images, rows, device, batch_size):
        probability[here] = seen
        for layer, share in zip(layers, shares, strict=True):
            share[here] = count_tokens(choices[layer.name], layer.experts).cpu().numpy()
    return Routes(layers, tuple(shares), probability)


def trace_tokens(
    model: nn.Module,
    images: U8,
    rows: npt.NDArray[np.integer] | None = None,
    *,
    device: torch.device,
    batch_size: int = 64,
) -> list[U8]:
    """Return for each layer with experts [n, T] the expert (from 0) of every single token.

    For a few images: arguments and errors are those of `trace`.
    """
    layers = switch_layers(model)
    rows = np.arange(len(images)) if rows is None else rows
    parts: dict[str, list[U8]] = {layer.name: [] for layer in layers}
    for _, _, choices in _passes(model, images, rows, device, batch_size):
        for name, part in parts.items():
            part.append(choices[name].cpu().numpy())
    return [np.concatenate(part) for part in parts.values()]


def count_tokens(choices: torch.Tensor, experts: int) -> torch.Tensor:
    """Return the share [n, E] of each expert in the tokens' choices [n, T]."""
    offset = torch.arange(len(choices), device=choices.device)[:, None] * experts
    flat = (choices.long() + offset).flatten()
    counts = torch.bincount(flat, minlength=len(choices) * experts).view(len(choices), experts)
    return counts / max(1, choices.shape[1])


@torch.inference_mode()
def _passes(
    model: nn.Module,
    images: U8,
    rows: npt.NDArray[np.integer],
    device: torch.device,
    batch_size: int,
) -> Iterator[tuple[slice, npt.NDArray[np.float64], dict[str, torch.Tensor]]]:
    """Yield, batch by batch, its place, probabilities [b] and each layer's choices [b, T]."""
    model = fold_batch_norms(model).to(device)
    with record_routing(model) as routings:
        for start in range(0, len(rows), batch_size):
            here = slice(start, min(start + batch_size, len(rows)))
            batch = torch.from_numpy(np.array(images[rows[here]])).to(device)
            with exact_products(device):
                logits = model(normalise(batch))
            seen = of_person(logits).cpu().double().numpy()
            # Every base keeps an image's tokens together, so rows of tokens split into images.
            yield here, seen, {n: r.expert.view(len(batch), -1) for n, r in routings.items()}
