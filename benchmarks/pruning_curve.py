"""What the whole pruning curve costs, as a share of the naive one.

The naive curve asks the smaller model about every image after each removal. Ours asks it about the
images that used the removed expert only, from that expert's layer on; in between, without kept
inputs, about those images from the start. All take the same steps (checked), on one thread, in
turns; the clock counts CPU seconds. Ratios are medians over the turns. Both without and with the
scores and intervals of each step, which cost all the same.

Without ``--checkpoint`` the model has random weights and four distinct experts in every layer, on
drawn scenes of 64 pixels; a trained model routes otherwise.

    python benchmarks/pruning_curve.py [--quick] [--checkpoint FILE --data FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.predict import tabulate
from moenas.evaluation.threshold import best_threshold
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import load_model
from moenas.models.switch_ffn import SwitchFFN
from moenas.pruning import qualities
from moenas.pruning.importance import IMPORTANCES, least_needed
from moenas.pruning.observer import MEMORY, Observer
from moenas.runs import cache_home
from moenas.timing import interleaved
from moenas.workflows.data import make_manifest

CPU = torch.device("cpu")
NAIVE = "naive"


class Curve:
    """Removals of the least used expert down to one expert a layer."""

    def __init__(self, model: nn.Module, manifest: Manifest, images: ImageStore) -> None:
        self.model, self.manifest, self.images = model, manifest, images.images
        split = manifest.frame["split"].to_numpy()
        self.rows = np.flatnonzero(np.isin(split, ("val", "search")) & images.readable)
        self.counted = split[self.rows] == "val"
        self.group = manifest.frame["group"].fillna(-1).to_numpy(dtype=np.int64)[self.rows]
        self.steps: dict[str, list[tuple[str, int]]] = {}

    def observe(self, model: nn.Module, memory: int) -> Observer:
        """Run a model over all images."""
        usage = IMPORTANCES["usage"]
        return Observer(
            model, self.images, self.rows, usage, self.counted, device=CPU, memory=memory
        )

    def next(self, seen: Observer) -> tuple[str, int, float] | None:
        """What goes next."""
        rows = np.flatnonzero(self.counted)
        usage = IMPORTANCES["usage"]
        return least_needed(seen.tokens, seen.amounts, usage, rows, self.group)

    def score(self, seen: Observer) -> None:
        """Scores and intervals of a step, to be timed."""
        said = tabulate(self.manifest, self.rows, seen.probability)
        qualities.measure(said.with_threshold(best_threshold(said.split("val"))))

    def run(self, name: str, memory: int | None, scored: bool) -> None:
        """Draw the curve; ``memory`` None: the naive one."""
        steps = []
        model, seen = self.model, self.observe(self.model, memory or 0)
        while (choice := self.next(seen)) is not None:
            layer, expert, _ = choice
            steps.append((layer, expert))
            if memory is None:
                switch = model.get_submodule(layer)
                assert isinstance(switch, SwitchFFN)
                model = _replaced(model, layer, switch.without_expert(expert))
                seen = self.observe(model, 0)
            else:
                seen.remove(layer, expert)
            if scored:
                self.score(seen)
        self.steps[name] = steps


def _replaced(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    model.set_submodule(name, module)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="the checkpoint's manifest")
    parser.add_argument("--images", type=int, default=600, help="at most so many, evenly taken")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if (options.checkpoint is None) != (options.data is None):
        parser.error("give --checkpoint and --data together")
    if options.checkpoint:
        model, card = load_model(options.checkpoint)
        manifest, pixels, kind = Manifest.load(options.data), card.image_size, "trained"
        architecture = card.architecture
    else:
        scenes = EmojiConfig(64, train_scenes=48, val_scenes=16, search_scenes=4, report_scenes=12)
        manifest = Manifest.load(make_manifest("emoji", cache_home() / "data", config=scenes))
        experts = (1, 2, 1, 1, 2, 1, 1, 1, 2) if options.quick else (4,) * 9
        dense = build_model("mobilevitv2_050", seed=0)
        model, pixels, kind = upcycle(dense, experts, seed=0, noise=0.5).eval(), 64, "random"
        architecture = "mobilevitv2_050-e" + "".join(map(str, experts))
    rounds = 1 if options.quick else options.rounds
    used = manifest.frame["split"].isin(("val", "search"))
    rows = np.flatnonzero(used)
    rows = rows[:: max(1, -(-len(rows) // options.images))]
    manifest = manifest.take(rows)
    images = cached_images(manifest, pixels, cache_home() / "images", progress=False)
    curve = Curve(model, manifest, images)
    ways = {NAIVE: None, "affected images": 0, "affected images, from the layer on": MEMORY}
    results = []
    for scored in (False, True):
        work = {name: partial(curve.run, name, memory, scored) for name, memory in ways.items()}
        timing = interleaved(work, rounds, warm_up=1, clock=time.process_time)
        assert all(steps == curve.steps[NAIVE] for steps in curve.steps.values())
        what = "with scores" if scored else "predictions"
        removals = len(curve.steps[NAIVE])
        case = f"{architecture}, {kind}, {pixels} px, {len(rows)} images, {removals} removals"
        print(f"\n{case}, {what}: naive {timing.quartile(NAIVE):.1f} CPU s")
        for name in ways:
            if name == NAIVE:
                continue
            ratio = timing.ratio(name, NAIVE)
            print(f"  {name:36}{ratio:6.3f} of naive ({timing.quartile(name):.1f} CPU s)")
            results.append(
                {
                    "case": f"pruning curve, {case}, {what}: {name}",
                    "value": ratio,
                    "unit": "time ratio",
                    "peer": 1.0,
                    "goal": 1.0,
                    "better": "lower",
                }
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
