"""What a Switch FFN costs beside the dense FFN it replaces, alone and in the whole model.

Peers: timm's FFN (1x1 convolutions, channels first) and the best dense FFN (matrix products on
tokens). All run in turns on one thread, the clock counts CPU seconds, the ratio is the median
over the turns. Eight experts with distinct random weights; timings include the router.

    python benchmarks/switch_ffn.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.layers import ConvMlp
from torch import nn

from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.ffn import FFN
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import keep_freed_memory
from moenas.timing import Timing, interleaved

BASE = "mobilevitv2_050"
EXPERTS = 8
SETTINGS = {"batch 32, 128 px": (32, 128), "batch 1, 256 px": (1, 256)}
REDUCTION = {64: 8, 96: 16, 128: 32}
"""Width of a token -> pixels of the image per position of the map."""

Work = Callable[[], object]


def inference(model: nn.Module, x: torch.Tensor) -> Work:
    model.eval()

    def run() -> object:
        with torch.inference_mode():
            return model(x)

    return run


def training(model: nn.Module, x: torch.Tensor) -> Work:
    """Forward and backward pass, gradients to the parameters and to the input."""
    model.train()
    x = x.detach().requires_grad_()
    upstream = torch.randn_like(model(x))

    def run() -> None:
        model.zero_grad()
        model(x).backward(upstream)

    return run


def distinct_(switch: SwitchFFN) -> SwitchFFN:
    """Give every expert its own weights and spread the tokens."""
    with torch.no_grad():
        for layer in (switch.fc1, switch.fc2):
            layer.weight.add_(torch.randn_like(layer.weight) * layer.weight.std())
        switch.router.weight.normal_()
    return switch


def time_ffns(batch: int, pixels: int, dim: int, mode: Callable, rounds: int) -> Timing:
    patches = (pixels // REDUCTION[dim] // 2) ** 2
    tokens = torch.randn(batch, 4, patches, dim)
    channels_first = tokens.permute(0, 3, 1, 2).contiguous()
    timms = ConvMlp(dim, 2 * dim, act_layer=nn.SiLU)
    dense = FFN(nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, dim, 1))
    work = {
        "switch": mode(distinct_(SwitchFFN(dim, 2 * dim, EXPERTS)), tokens),
        "best dense": mode(dense, tokens),
        "timm": mode(timms, channels_first),
    }
    return interleaved(work, rounds, warm_up=3, minimum_seconds=0.01, clock=time.process_time)


def time_models(batch: int, pixels: int, mode: Callable, rounds: int) -> Timing:
    x = torch.randn(batch, 3, pixels, pixels)
    switched = build_model(BASE, (EXPERTS,) * 9)
    for layer in ffn_layers(switched).values():
        assert isinstance(layer, SwitchFFN)
        distinct_(layer)
    work = {
        "switch": mode(switched, x.to(memory_format=torch.channels_last)),
        "best dense": mode(build_model(BASE), x.to(memory_format=torch.channels_last)),
        "timm": mode(timm.create_model(BASE, num_classes=2), x),
    }
    return interleaved(work, rounds, warm_up=2, clock=time.process_time)


def check_equal() -> None:
    """Refuse to time models that don't compute the same."""
    timms = timm.create_model(BASE, num_classes=2).eval()
    ours = build_model(BASE).eval()
    ours.load_state_dict(timms.state_dict())
    x = torch.randn(2, 3, 128, 128)
    switch = SwitchFFN(64, 128, EXPERTS)
    tokens = torch.randn(100, 64)
    chosen = switch.router(tokens).expert
    with torch.no_grad():
        torch.testing.assert_close(ours(x), timms(x), atol=1e-5, rtol=1e-5)
        each = torch.stack([switch.expert(e)(tokens) for e in range(EXPERTS)])
        picked = each[chosen.long(), torch.arange(100)]
        torch.testing.assert_close(switch(tokens), picked, atol=1e-5, rtol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    check_equal()
    rounds = 7 if arguments.quick else 40
    results: list[dict[str, object]] = []
    header = f"{'':52}{'ms':>9}{'/ timm':>9}{'/ best dense':>14}"
    print(header)

    def report(case: str, timing: Timing) -> None:
        ratios = {peer: timing.ratio("switch", peer) for peer in ("timm", "best dense")}
        milliseconds = timing.quartile("switch") * 1e3
        print(f"{case:52}{milliseconds:9.3f}{ratios['timm']:9.2f}{ratios['best dense']:14.2f}")
        for peer, value in ratios.items():
            assert math.isfinite(value)
            results.append(
                {
                    "case": f"{case} vs {peer}",
                    "value": round(value, 3),
                    "unit": "time ratio",
                    "peer": 1.0,
                    "goal": 1.0,
                    "better": "lower",
                }
            )

    for mode in (inference, training):
        for setting, (batch, pixels) in SETTINGS.items():
            for dim in REDUCTION:
                case = f"FFN d={dim}, {setting}, {mode.__name__}"
                report(case, time_ffns(batch, pixels, dim, mode, rounds))
            case = f"whole model, {setting}, {mode.__name__}"
            report(case, time_models(batch, pixels, mode, max(5, rounds // 3)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
