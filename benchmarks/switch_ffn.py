"""What a Switch FFN of eight experts costs beside the dense FFN that it replaces.

Peers: timm's FFN (1x1 convolutions, channels first), the best dense FFN (matrix products on
tokens; also in bfloat16), transformers' Switch layer where that is installed, torch's grouped_mm,
and all experts with a mask. All run in turns, the clock counts CPU seconds (wall seconds with more
threads), ratios are medians over the turns with their quartiles. Experts are distinct; timings
include the router.

The limit is what no implementation can avoid: the multiply-adds of router and experts at the rate
of a large matrix product, and each row read and written once, both measured in the same turns. It
leaves out the activation, the sort, and the reading of the weights.

    python benchmarks/switch_ffn.py [--quick] [--threads N] [--json FILE] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import ConvMlp
from torch import nn

from moenas.models.ffn import FFN
from moenas.models.grouped_experts import grouped_experts
from moenas.models.kernels.loader import kernel, kernel_status
from moenas.models.precision import bfloat16_experts
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import keep_freed_memory
from moenas.timing import Timing, interleaved

EXPERTS = 8
SETTINGS = {"batch 32, 128 px": (32, 128), "batch 1, 256 px": (1, 256)}
REDUCTION = {64: 8, 96: 16, 128: 32}
"""Width of a token -> pixels of the image per position of the map."""
GOALS = {
    "batch 32, 128 px": {
        "timm": dict.fromkeys(REDUCTION, 0.8),
        "dense": dict.fromkeys(REDUCTION, 1.3),
    },
    "batch 1, 256 px": {"timm": {64: 1.05, 96: 1.05, 128: 1.6}},
}

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


def with_kernel(on: bool, work: Work) -> Work:
    def run() -> object:
        os.environ["MOENAS_KERNEL"] = "1" if on else "0"
        return work()

    return run


def distinct_(switch: SwitchFFN) -> SwitchFFN:
    """Give every expert its own weights and spread the tokens."""
    with torch.no_grad():
        for layer in (switch.fc1, switch.fc2):
            layer.weight.add_(torch.randn_like(layer.weight) * layer.weight.std())
        switch.router.weight.normal_()
    return switch


class Rounded(nn.Module):
    """A dense FFN in bfloat16, between float32 neighbours like the others."""

    def __init__(self, ffn: FFN) -> None:
        super().__init__()
        self.ffn = copy.deepcopy(ffn).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.ffn(x.bfloat16()).float()


class Grouped(SwitchFFN):
    """torch's grouped_mm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        x_TD = x.reshape(-1, self.dim)
        routing = self.router(x_TD)
        weights = (self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)
        gate = None
        if torch.is_grad_enabled():
            gate = routing.probability / routing.probability.detach()
        y = grouped_experts(x_TD, routing.expert, routing.counts, gate, weights, self.activation)
        return y.view(x.shape)


class Masked(SwitchFFN):
    """Every expert on every token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        p, chosen = self.router(x.reshape(-1, self.dim)).probabilities.max(-1)
        y = torch.zeros_like(x)
        for e in range(self.num_experts):
            hidden = F.silu(F.linear(x, self.fc1.weight[e], self.fc1.bias[e]))
            out = F.linear(hidden, self.fc2.weight[e], self.fc2.bias[e])
            gate = (p / p.detach() * (chosen == e)).view(*x.shape[:-1], 1)
            y = y + out * gate
        return y


def transformers_layer(dim: int) -> nn.Module | None:
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers import modeling_switch_transformers as theirs

    class First(theirs.SwitchTransformersSparseMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x.flatten(1, 2))
            return (y[0] if isinstance(y, tuple) else y).view(x.shape)

    config = SwitchTransformersConfig(
        d_model=dim, d_ff=2 * dim, num_experts=EXPERTS, expert_capacity=1 << 20,
        dense_act_fn="silu", dropout_rate=0.0, router_jitter_noise=0.0,
    )  # fmt: skip
    return First(config)


def candidates(batch: int, pixels: int, dim: int, mode: Callable, experts: int) -> dict[str, Work]:
    patches = (pixels // REDUCTION[dim] // 2) ** 2
    tokens = torch.randn(batch, 4, patches, dim)
    channels_first = tokens.permute(0, 3, 1, 2).contiguous()
    dense = FFN(nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, dim, 1))
    timms = ConvMlp(dim, 2 * dim, act_layer=nn.SiLU)
    switch = distinct_(SwitchFFN(dim, 2 * dim, experts))
    work = {
        "timm": mode(timms, channels_first),
        "dense": mode(dense, tokens),
        "kernel": with_kernel(True, mode(switch, tokens)),
        "torch path": with_kernel(False, mode(copy.deepcopy(switch), tokens)),
    }
    maps = SwitchFFN(dim, 2 * dim, experts, channels_first=True)
    maps.load_state_dict(switch.state_dict())
    work["kernel, channels first"] = with_kernel(True, mode(maps, channels_first))
    if mode is inference:
        work["dense, bfloat16"] = mode(Rounded(dense), tokens)
        work["kernel, bfloat16"] = with_kernel(True, mode(bfloat16_experts(switch), tokens))
    for name, kind in (("grouped_mm", Grouped), ("masked", Masked)):
        other = kind(dim, 2 * dim, experts)
        other.load_state_dict(switch.state_dict())
        work[name] = mode(other, tokens)
    if (theirs := transformers_layer(dim)) is not None:
        work["transformers"] = mode(theirs, tokens)
    os.environ["MOENAS_KERNEL"] = "1"
    if kernel() is None:  # torch would run under its name
        work = {name: call for name, call in work.items() if not name.startswith("kernel")}
    return work


PRODUCT = 768
"""Side of the matrices whose product tells how fast this machine multiplies."""


def limit_parts(batch: int, pixels: int, dim: int) -> dict[str, Work]:
    """What the limit is made of: a large product, and moving each row once."""
    a, b, out = (torch.randn(PRODUCT, PRODUCT) for _ in range(3))
    rows = torch.randn(batch * (pixels // REDUCTION[dim]) ** 2, dim)
    order, moved = torch.randperm(len(rows)), torch.empty_like(rows)
    return {
        "large product": lambda: torch.mm(a, b, out=out),
        "rows": lambda: torch.index_select(rows, 0, order, out=moved),
    }


def with_limit(timing: Timing, tokens: int, dim: int, experts: int) -> Timing:
    """Add the limit, turn by turn."""
    share = tokens * (4 * dim * dim + dim * experts) / PRODUCT**3
    pairs = zip(timing.seconds["large product"], timing.seconds["rows"], strict=True)
    limit = tuple(share * product + rows for product, rows in pairs)
    return Timing({**timing.seconds, "limit": limit})


def quartiles(timing: Timing, name: str, peer: str) -> list[float]:
    pairs = zip(timing.seconds[name], timing.seconds[peer], strict=True)
    ratios = torch.tensor([mine / theirs for mine, theirs in pairs], dtype=torch.float64)
    return [round(q, 3) for q in ratios.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()]


def check_equal() -> None:
    """Refuse to time what doesn't compute the same."""
    switch = distinct_(SwitchFFN(64, 128, EXPERTS)).eval()
    tokens = torch.randn(2, 4, 50, 64)
    with torch.no_grad():
        expected = switch(tokens.double().to(torch.float32))
        for kind in (Grouped, Masked):
            other = kind(64, 128, EXPERTS)
            other.load_state_dict(switch.state_dict())
            torch.testing.assert_close(other(tokens), expected, atol=1e-4, rtol=1e-4)
        os.environ["MOENAS_KERNEL"] = "0"
        torch.testing.assert_close(switch(tokens), expected, atol=1e-4, rtol=1e-4)
        os.environ["MOENAS_KERNEL"] = "1"


def plot(file: Path, rounds: int, clock: Callable[[], float]) -> None:
    """Cost by the number of experts and of tokens, as shares of timm's dense FFN."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    names = ["kernel", "kernel, bfloat16", "torch path", "dense"]
    if kernel() is None:
        names = names[2:]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    counts = (2, 4, 8)
    for axes, xs, cases in (
        (left, counts, [(32, 128, 64, e) for e in counts]),
        (right, (256, 1024, 4096, 8192), [(b, 128, 64, EXPERTS) for b in (1, 4, 16, 32)]),
    ):
        curves: dict[str, list[float]] = {name: [] for name in names}
        for batch, pixels, dim, experts in cases:
            work = candidates(batch, pixels, dim, inference, experts)
            work = {name: work[name] for name in ("timm", *names)}
            timing = interleaved(work, rounds, warm_up=3, minimum_seconds=0.01, clock=clock)
            for name in names:
                curves[name].append(timing.ratio(name, "timm"))
        for name, values in curves.items():
            axes.plot(xs, values, "o-", label=name)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{x:,}" for x in xs])
    left.set(xlabel="experts (8,192 tokens)", ylabel="CPU time / timm's dense FFN", ylim=(0, None))
    right.set(xlabel="tokens (8 experts)")
    right.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def start(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Callable[[], float]]:
    """Read the command line, prepare torch, and return the clock for so many threads."""
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print("Switch FFN:", kernel_status())
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    return arguments, clock


def goal(mode: Callable, setting: str, peer: str, dim: int, tokens: int) -> float | None:
    if mode is training:
        return 1.05
    if peer == "limit":
        return 1.6 if tokens >= 256 else None
    return GOALS[setting].get(peer, {}).get(dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, help="only draw cost by experts and tokens, as SVG")
    arguments, clock = start(parser)
    rounds = 7 if arguments.quick else 25
    if arguments.plot:
        plot(arguments.plot, rounds, clock)
        return
    check_equal()
    results: list[dict[str, object]] = []
    for mode in (inference, training):
        for setting, (batch, pixels) in SETTINGS.items():
            for dim in REDUCTION:
                work = candidates(batch, pixels, dim, mode, EXPERTS)
                tokens = batch * (pixels // REDUCTION[dim]) ** 2
                parts = limit_parts(batch, pixels, dim) if mode is inference else {}
                timing = interleaved(
                    work | parts, rounds, warm_up=3, minimum_seconds=0.005, clock=clock
                )
                peers = ["timm", "dense"]
                if parts:
                    timing = with_limit(timing, tokens, dim, EXPERTS)
                    peers.append("limit")
                case = f"FFN d={dim}, {setting}, {mode.__name__}, {arguments.threads} thread(s)"
                print(f"\n{case}: timm {timing.quartile('timm') * 1e3:.3f} ms")
                for name in work:
                    ratios = {peer: quartiles(timing, name, peer) for peer in peers}
                    shown = (
                        f"{r[1]:7.2f} of {peer} ({r[0]:.2f}-{r[2]:.2f})"
                        for peer, r in ratios.items()
                    )
                    print(f"  {name:24}" + "".join(shown))
                    for peer, (low, value, high) in ratios.items():
                        assert all(map(math.isfinite, (low, value, high)))
                        results.append(
                            {
                                "case": f"{case}: {name} vs {peer}",
                                "value": value,
                                "quartiles": [low, high],
                                "unit": "time ratio",
                                "peer": 1.0,
                                "goal": goal(mode, setting, peer, dim, tokens),
                                "better": "lower",
                            }
                        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
