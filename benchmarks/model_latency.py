"""What eight experts in every layer cost the whole model, beside timm's plain model.

MobileViTV2-0.5 with its FFNs replaced by Switch FFNs of distinct experts: the kernel, its bfloat16
experts and the torch path, our dense model and timm's, in turns. One thread: CPU seconds; more:
wall seconds. Ratios are medians over the turns with their quartiles.

    python benchmarks/model_latency.py [--quick] [--threads N] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterable, Iterator

import timm
import torch
from torch import nn

from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.precision import bfloat16_experts
from moenas.models.switch_ffn import SwitchFFN
from moenas.timing import Timing, interleaved
from switch_ffn import SETTINGS, Work, distinct_, inference, quartiles, start, training, with_kernel

BASE = "mobilevitv2_050"
GOALS = {"batch 1, 256 px, inference": 1.05, "batch 32, 128 px, inference": 0.9}


def with_experts(count: int) -> nn.Module:
    model = build_model(BASE, (count,) * 9)
    for layer in ffn_layers(model).values():
        if isinstance(layer, SwitchFFN):
            distinct_(layer)
    return model


def inference_work(x: torch.Tensor) -> dict[str, Work]:
    tokens_last = x.to(memory_format=torch.channels_last)
    eight = with_experts(8)
    return {
        "timm": inference(timm.create_model(BASE, num_classes=2), x),
        "ours, dense": inference(build_model(BASE), tokens_last),
        "2 experts": with_kernel(True, inference(with_experts(2), tokens_last)),
        "4 experts": with_kernel(True, inference(with_experts(4), tokens_last)),
        "8 experts": with_kernel(True, inference(eight, tokens_last)),
        "8 experts, bfloat16": with_kernel(True, inference(bfloat16_experts(eight), tokens_last)),
        "8 experts, torch path": with_kernel(False, inference(copy.deepcopy(eight), tokens_last)),
    }


def training_work(x: torch.Tensor) -> dict[str, Work]:
    tokens_last = x.to(memory_format=torch.channels_last)
    eight = with_experts(8)
    return {
        "timm": training(timm.create_model(BASE, num_classes=2), x),
        "ours, dense": training(build_model(BASE), tokens_last),
        "8 experts": with_kernel(True, training(eight, tokens_last)),
        "8 experts, torch path": with_kernel(False, training(copy.deepcopy(eight), tokens_last)),
    }


def shares(timing: Timing, work: Iterable[str], what: str) -> Iterator[dict[str, object]]:
    """Print each work's time as a share of timm's, and yield it as a result of ``what``."""
    for name in work:
        low, value, high = quartiles(timing, name, "timm")
        print(f"  {name:28}{value:7.2f} of timm ({low:.2f}-{high:.2f})")
        yield {
            "case": f"whole model{what}: {name}",
            "value": value,
            "quartiles": [low, high],
            "unit": "time ratio",
            "peer": 1.0,
            "better": "lower",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments, clock = start(parser)
    results: list[dict[str, object]] = []
    for kind, make in (("inference", inference_work), ("training", training_work)):
        for setting, (batch, pixels) in SETTINGS.items():
            if kind == "training" and batch == 1:
                continue
            rounds = (5 if arguments.quick else 15) * (3 if batch == 1 else 1)
            work = make(torch.randn(batch, 3, pixels, pixels))
            timing = interleaved(work, rounds, warm_up=2, clock=clock)
            case = f"{setting}, {kind}"
            milliseconds = timing.quartile("timm") * 1e3
            print(f"\n{case}, {arguments.threads} thread(s): timm {milliseconds:.2f} ms")
            found = shares(timing, work, f", {case}, {arguments.threads} thread(s)")
            results += [result | {"goal": GOALS.get(case, 1.05)} for result in found]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
