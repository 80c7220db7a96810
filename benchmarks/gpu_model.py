"""What eight experts in every layer cost the whole model on a GPU, beside timm's plain model.

MobileViTV2-0.5 with its FFNs replaced by Switch FFNs of distinct experts, our dense model, timm's,
and all experts with a mask, in turns, for inference and for a whole training step (forward,
backward, AdamW), as usual and recorded as a CUDA graph as `moenas` does it; in bfloat16 and in
float32. Wall seconds of work that the device has finished; ratios are medians over the turns with
their quartiles.

First it checks what is timed: logits and routing of the eight experts against the CPU's.

    python benchmarks/gpu_model.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import sys
from pathlib import Path

import timm
import torch
from torch import nn

from model_latency import BASE, shares, with_experts
from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.routing import record_routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import device_name
from moenas.timing import interleaved
from moenas.training.graphs import graphed
from moenas.training.optimizer import make_optimizer
from moenas.training.schemes import MOBILEVITV2 as SCHEME
from moenas.training.step import Batch, plain_step
from switch_ffn import Masked, Work

CASES = {"inference": ((1, 128), (256, 128)), "training": ((128, 128), (128, 256))}
"""Batch and pixels."""
PRECISIONS = {"bf16": torch.bfloat16, "float32": torch.float32}


def masked(model: nn.Module) -> nn.Module:
    """The same model, where every expert computes every token."""
    model = copy.deepcopy(model)
    for name, layer in ffn_layers(model).items():
        if isinstance(layer, SwitchFFN):
            other = Masked(
                layer.dim, layer.hidden, layer.num_experts, channels_first=layer.channels_first
            )
            other.load_state_dict(layer.state_dict())
            model.set_submodule(name, other)
    return model


def check(model: nn.Module, device: torch.device) -> None:
    """Refuse to time what doesn't compute what the CPU computes."""
    model = copy.deepcopy(model).eval()
    x = torch.randn(8, 3, 128, 128)
    routed = []
    with torch.inference_mode():
        with record_routing(model) as routings:
            expected = model(x)
            routed.append([r.expert for r in routings.values()])
        model = model.to(device)
        with record_routing(model) as routings, torch.backends.cudnn.flags(allow_tf32=False):
            got = model(x.to(device)).cpu()
            routed.append([r.expert.cpu() for r in routings.values()])
    same = [float((a == b).float().mean()) for a, b in zip(*routed, strict=True)]
    print(
        f"float32 against the CPU: logits differ by {float((got - expected).abs().max()):.1e} at "
        f"most, experts agree for {min(same):.2%} of a layer's tokens at least"
    )
    assert min(same) > 0.98


def inference(model: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> Work:
    model.eval()

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cuda", dtype, enabled=dtype != x.dtype):
            model(x)
        torch.cuda.synchronize()

    return run


class Autocast(nn.Module):
    """A model in another precision, as accelerate runs it."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        with torch.autocast("cuda", self.dtype, enabled=self.dtype != x.dtype):
            return self.model(x)


def training(model: nn.Module, x: torch.Tensor, dtype: torch.dtype, record: bool = False) -> Work:
    """A whole step, as `moenas.train` does it: the routers' losses, gradients, AdamW."""
    model = Autocast(model.train(), dtype)
    optimizer = make_optimizer(model, SCHEME)
    labels = torch.arange(len(x), device=x.device) % 2
    step = graphed(plain_step) if record else plain_step
    routings = contextlib.ExitStack().enter_context(record_routing(model))

    def run() -> None:
        step(model, Batch(x, labels, routings, SCHEME, 0), torch.Tensor.backward)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device here.")
    torch.manual_seed(0)
    device = torch.device("cuda")
    print(f"{device_name(device)}, torch {torch.__version__}")
    eight = with_experts(8)
    check(eight, device)
    models = {
        "timm": timm.create_model(BASE, num_classes=2),
        "ours, dense": build_model(BASE),
        "2 experts": with_experts(2),
        "8 experts": eight,
        "8 experts, masked": masked(eight),
    }
    results = []
    for mode in (inference, training):
        for batch, pixels in CASES[mode.__name__]:
            x = torch.randn(batch, 3, pixels, pixels, device=device)
            x = x.to(memory_format=torch.channels_last)
            for precision, dtype in PRECISIONS.items():
                work = {}
                for name, model in models.items():
                    own = copy.deepcopy(model).to(device, memory_format=torch.channels_last)
                    work[name] = mode(own, x, dtype)
                    if mode is training:
                        recorded = copy.deepcopy(own)
                        work[f"{name}, recorded"] = training(recorded, x, dtype, record=True)
                timing = interleaved(work, 5 if arguments.quick else 20, warm_up=5)
                case = f"{mode.__name__}, batch {batch}, {pixels} px, {precision}"
                milliseconds = timing.quartile("timm") * 1e3
                speed = batch / milliseconds * 1e3
                print(f"\n{case}: timm {milliseconds:.2f} ms, {speed:,.0f} images a second")
                found = shares(timing, work, f" on {device_name(device)}, {case}")
                for name, result in zip(work, found, strict=True):
                    results.append(result | {"milliseconds": timing.quartile(name) * 1e3})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
