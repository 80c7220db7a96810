"""Routing: which expert each token visits, with what probability, and the losses on it.

Axes: T tokens, E experts, D width of a token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moenas.errors import ModelError


@dataclasses.dataclass(eq=False)
class Routing:
    """Where the tokens of one Switch FFN went in one forward pass.

    Attributes:
        logits: Router's output ``[T, E]``, fp32; minus infinity at disabled experts.
        expert: Index of the chosen expert ``[T]``, uint8.
        counts: Tokens of each expert ``[E]``, int64.
        active: How many experts are not disabled.
    """

    logits: Tensor
    expert: Tensor
    counts: Tensor
    active: int
    _probabilities: Tensor | None = dataclasses.field(default=None, init=False, repr=False)

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits ``[T, E]``, computed once."""
        if self._probabilities is None:  # functools' cached_property cannot be compiled by torch
            self._probabilities = self.logits.softmax(dim=-1)
        return self._probabilities

    @property
    def probability(self) -> Tensor:
        """Probability of the chosen expert ``[T]``."""
        return self.probabilities.gather(1, self.expert.long().unsqueeze(1)).squeeze(1)


class Router(nn.Module):
    """Linear top-1 router; always computed in fp32, since small rounding changes decisions."""

    def __init__(
        self, dim: int, num_experts: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, dim))
        self.disabled: frozenset[int] = frozenset()
        self.reset_parameters(generator)

    @property
    def num_experts(self) -> int:
        """Number of experts E."""
        return self.weight.shape[0]

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Initialise small and at random: a zero router would send every token to expert 0.

        The standard deviation 0.1/sqrt(D) is the Switch Transformer's (Fedus et al., 2022, 2.4).
        """
        std = 0.1 / math.sqrt(self.weight.shape[1])
        draw = torch.randn(self.weight.shape, generator=generator) * std
        with torch.no_grad():
            self.weight.copy_(draw)

    def forward(self, x_TD: Tensor) -> Routing:
        """Route tokens ``[T, D]``."""
        with torch.autocast(x_TD.device.type, enabled=False):
            logits = self._logits(x_TD.float(), self.weight.float())
        expert = logits.detach().max(dim=-1).indices  # faster than argmax on a short axis
        counts = expert_counts(expert, self.num_experts)
        active = self.num_experts - len(self.disabled)
        return Routing(logits, expert.to(torch.uint8), counts, active)

    def _logits(self, x_TD: Tensor, weight_ED: Tensor) -> Tensor:
        if not self.disabled:
            return F.linear(x_TD, weight_ED)
        # The same product as after removal, so that both decide alike to the last bit.
        keep = [e for e in range(self.num_experts) if e not in self.disabled]
        kept = torch.tensor(keep, device=x_TD.device)
        logits = x_TD.new_full((x_TD.shape[0], self.num_experts), -math.inf)
        return logits.index_copy(1, kept, F.linear(x_TD, weight_ED.index_select(0, kept)))


def expert_counts(expert_T: Tensor, experts: int) -> Tensor:
    """Return the tokens of each expert ``[E]``; the host does not wait, as for `bincount`."""
    if expert_T.device.type == "cpu":
        return torch.bincount(expert_T, minlength=experts)
    return (expert_T.unsqueeze(1) == torch.arange(experts, device=expert_T.device)).sum(dim=0)


def is_watched(router: nn.Module) -> bool:
    """Whether somebody looks at what the router returns, or has replaced it: it must be called."""
    return type(router) is not Router or bool(router._forward_hooks or router._forward_pre_hooks)


def balance_loss(routing: Routing, counts_E: Tensor | None = None) -> Tensor:
    """Load-balancing loss: 1 at a uniform load, up to E when one expert takes all (scalar).

    E is the number of experts that are not disabled.

    Source: Switch Transformer (Fedus et al., 2022), equations 4 to 6, without the factor alpha.

    Args:
        routing: Of one layer.
        counts_E: Tokens of each expert in the whole batch, where ``routing`` is a part of one. The
            loss is linear in the probabilities: the mean over equal parts is the batch's loss, and
            so are the gradients.
    """
    counts_E = routing.counts if counts_E is None else counts_E
    fraction = counts_E.to(routing.logits.dtype) / counts_E.sum().clamp(min=1)  # f_i, no gradient
    tokens = routing.counts.sum().clamp(min=1)
    mean_probability = routing.probabilities.sum(dim=0) / tokens  # P_i
    return routing.active * torch.dot(fraction, mean_probability)


def z_loss(routing: Routing) -> Tensor:
    """Router z-loss: mean squared log-sum-exp of the logits, keeps them small (scalar).

    Source: ST-MoE (Zoph et al., 2022), equation 5, without the factor.
    """
    if routing.logits.shape[0] == 0:
        return routing.logits.sum()
    # log p = logit - log-sum-exp: the chosen expert (p >= 1/E) tells the sum without a new one.
    chosen = routing.logits.gather(1, routing.expert.long().unsqueeze(1)).squeeze(1)
    return (chosen - routing.probability.log()).square().mean()


@contextlib.contextmanager
def record_routing(model: nn.Module) -> Iterator[dict[str, Routing]]:
    """Record the routing of every Switch FFN in ``model`` while the context is open.

    Yields:
        Mapping from the Switch FFN's module name to the `Routing` of the last forward pass, in the
        order of the layers. In training it carries gradients, for `balance_loss` and `z_loss`.
    """
    records: dict[str, Routing] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, Router):
            layer = name.removesuffix("router").removesuffix(".")

            def keep(_module: nn.Module, _inputs: Any, output: Routing, layer: str = layer) -> None:
                records[layer] = output

            handles.append(module.register_forward_hook(keep))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def disabled_experts(model: nn.Module, experts: dict[str, set[int]]) -> Iterator[None]:
    """Switch experts off while the context is open, as if they had been removed.

    Args:
        model: A model with Switch FFNs.
        experts: For each Switch FFN (its module name) the experts whose logits become minus
            infinity.

    Raises:
        ModelError: A name is no Switch FFN, an expert does not exist, or none would be left.
    """
    modules = dict(model.named_modules())
    routers: dict[Router, frozenset[int]] = {}
    for name, indices in experts.items():
        router = modules.get(f"{name}.router" if name else "router")
        if not isinstance(router, Router):
            raise ModelError(f"'{name}' is not a Switch FFN of this model.")
        off = router.disabled | indices
        if not off <= set(range(router.num_experts)) or len(off) == router.num_experts:
            raise ModelError(
                f"Cannot disable experts {sorted(off)} of '{name}': it has {router.num_experts} "
                "and one must stay."
            )
        routers[router] = off
    before = {router: router.disabled for router in routers}
    try:
        for router, off in routers.items():
            router.disabled = off
        yield
    finally:
        for router, off in before.items():
            router.disabled = off
