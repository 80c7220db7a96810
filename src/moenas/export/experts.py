"""The Switch FFN in the forms that exported files can hold.

A file format has no kernel of ours. ONNX gets one placeholder node a layer, which `routed_graph`
expands; for torch.export, each expert selects its tokens. Runtimes whose shapes are all fixed get
the masked form: all experts compute every token, and all but one count nothing.

Axes: T tokens, E experts, D width of a token, H width of the hidden layer.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moenas.models.activation import activate
from moenas.models.switch_ffn import SwitchFFN

Style = Literal["onnx", "selected", "masked"]

PLACEHOLDER = "moenas::SwitchFFN"
"""The ONNX node that stands for a whole Switch FFN until `routed_graph` expands it."""


class Watch:
    """Keeps what routers choose while a model is traced: layer -> each token's expert ``[T]``."""

    def __init__(self) -> None:
        self.chosen: dict[str, Tensor] = {}


class ExportedExperts(nn.Module):
    """A Switch FFN on rows ``[T, D]``; subclasses say how tokens reach their experts.

    Args:
        switch: What it computes; weights are copied.
        name: Of the layer, for the graph.
        scale: Factor of each feature of the input, ``[D]``: a norm's, folded into the weights.
        shift: What is added to each, ``[D]``.
    """

    def __init__(
        self, switch: SwitchFFN, name: str, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.watch: Watch | None = None
        self.activation = switch.activation
        self.gate = switch.gate
        router, router_bias = folded(switch.router.weight, None, scale, shift)
        self.router = nn.Parameter(router)
        off = sorted(switch.router.disabled)
        router_bias[off] = float("-inf")
        self.router_bias = nn.Parameter(router_bias)
        w1, b1 = folded(switch.fc1.weight, switch.fc1.bias, scale, shift)
        self.w1, self.b1 = nn.Parameter(w1), nn.Parameter(b1)
        self.w2 = nn.Parameter(switch.fc2.weight.detach().clone())
        self.b2 = nn.Parameter(switch.fc2.bias.detach().clone())

    def route(self, x_TD: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return each token's expert and its factor ``[T, 1]``, None where there is none."""
        logits = F.linear(x_TD, self.router, self.router_bias)
        chosen = logits.argmax(dim=-1)
        self.saw(chosen)
        if self.gate == "exact":
            return chosen, None
        return chosen, logits.softmax(dim=-1).amax(dim=-1, keepdim=True)

    def saw(self, chosen_T: Tensor) -> None:
        """Tell each token's expert to who watches."""
        if self.watch is not None:
            self.watch.chosen[self.name] = chosen_T

    def expert(self, index: int, x_TD: Tensor) -> Tensor:
        """Apply one expert to tokens."""
        hidden = activate(F.linear(x_TD, self.w1[index], self.b1[index]), self.activation)
        return F.linear(hidden, self.w2[index], self.b2[index])


class OnnxExperts(ExportedExperts):
    """One placeholder node; it can be exported, not called."""

    def forward(self, x_TD: Tensor) -> Tensor:
        """Stand for the layer."""
        tensors = (x_TD, self.router, self.router_bias, self.w1, self.b1, self.w2, self.b2)
        attributes: dict[str, Any] = {
            "layer": self.name,
            "activation": self.activation,
            "probability": int(self.gate == "probability"),
        }
        y: Tensor = torch.onnx.ops.symbolic(
            PLACEHOLDER, tensors, attributes, dtype=x_TD.dtype, shape=x_TD.shape, version=1
        )
        return y


class SelectedExperts(ExportedExperts):
    """Each expert computes its own tokens."""

    def forward(self, x_TD: Tensor) -> Tensor:
        """Map ``[T, D]`` to ``[T, D]``."""
        chosen_T, factor = self.route(x_TD)
        rows, outputs = [], []
        for index in range(len(self.w1)):
            own = (chosen_T == index).nonzero().reshape(-1)
            rows.append(own)
            outputs.append(self.expert(index, x_TD.index_select(0, own)))
        y = torch.zeros_like(x_TD).index_copy(0, torch.cat(rows), torch.cat(outputs))
        return y if factor is None else y * factor


class MaskedExperts(ExportedExperts):
    """All experts as two products; the hidden units of those not chosen are zeroed.

    Only operators that every runtime has: no comparison, no index. Of equal logits the first wins,
    as in ``argmax``.
    """

    def __init__(
        self, switch: SwitchFFN, name: str, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> None:
        super().__init__(switch, name, scale, shift)
        experts, hidden, width = self.w1.shape
        self.w1 = nn.Parameter(self.w1.reshape(-1, width))
        self.b1 = nn.Parameter(self.b1.reshape(-1))
        self.w2 = nn.Parameter(self.w2.transpose(1, 2).reshape(-1, width).contiguous())
        self.hidden = hidden
        self.numbers: Tensor
        self.before: Tensor
        self.register_buffer("numbers", torch.arange(experts, dtype=torch.float32)[:, None])
        self.register_buffer("before", torch.ones(experts, experts).triu(1))

    def forward(self, x_TD: Tensor) -> Tensor:
        """Map ``[T, D]`` to ``[T, D]``."""
        logits = F.linear(x_TD, self.router, self.router_bias)
        best = logits.amax(dim=-1, keepdim=True)
        largest = F.relu(1 + (logits - best) * STEEP)  # 1 for the largest, else 0
        mine_TE = F.relu(largest - torch.matmul(largest, self.before))  # the first of them
        self.saw(torch.matmul(mine_TE, self.numbers))
        hidden = activate(F.linear(x_TD, self.w1, self.b1), self.activation)
        hidden = hidden.view(-1, len(self.before), self.hidden) * mine_TE[:, :, None]
        y = torch.matmul(hidden.view(-1, len(self.w2)), self.w2) + torch.matmul(mine_TE, self.b2)
        if self.gate == "exact":
            return y
        return y * logits.softmax(dim=-1).amax(dim=-1, keepdim=True)


STEEP = 1e30
"""Makes any difference of two float32 logits larger than 1."""

STYLES: dict[Style, type[ExportedExperts]] = {
    "onnx": OnnxExperts,
    "selected": SelectedExperts,
    "masked": MaskedExperts,
}


class OnTokens(nn.Module):
    """Experts on rows, where the model has tokens ``[..., D]`` or maps ``[B, D, H, W]``."""

    def __init__(self, rows: ExportedExperts, channels_first: bool) -> None:
        super().__init__()
        self.rows = rows
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:
        """Map any tokens to tokens of the same shape."""
        if self.channels_first:
            x = x.movedim(1, -1)
        y: Tensor = self.rows(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return y.movedim(-1, 1) if self.channels_first else y


def folded(
    weight: Tensor, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a linear layer that does a scale and a shift before it as well.

    Args:
        weight: ``[..., out, in]``.
        bias: ``[..., out]``, None for none.
        scale: ``[in]``, None for 1.
        shift: ``[in]``, None for 0.
    """
    w = weight.detach().double()  # folded once: rounding is paid once
    b = w.new_zeros(w.shape[:-1]) if bias is None else bias.detach().double()
    if shift is not None:
        b = b + w @ shift.detach().double()
    if scale is not None:
        w = w * scale.detach().double()
    return w.float().contiguous(), b.float().contiguous()
