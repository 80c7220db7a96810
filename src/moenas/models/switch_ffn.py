"""The Switch FFN: a router sends each token to one of several FFNs.

Source: Switch Transformers (Fedus et al., 2022), without a capacity limit: no token is dropped.
Three parts: `routing` decides, `dispatch` carries, the experts are stacked FFN weights.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from moenas.errors import ModelError
from moenas.models.activation import Activation, check_activation
from moenas.models.dispatch import dispatch, is_eager, needs_derivative
from moenas.models.ffn import FFN
from moenas.models.kernels import ops
from moenas.models.kernels.library import MAX_EXPERTS
from moenas.models.routing import Router, Routing, is_watched
from moenas.models.sorted_experts import Weights

Gate = Literal["exact", "probability"]
GATES: tuple[Gate, ...] = ("exact", "probability")


class ExpertLinear(nn.Module):
    """One linear layer for each expert: weight ``[E, out, in]``, bias ``[E, out]``."""

    def __init__(
        self, num_experts: int, cin: int, cout: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        bound = cin**-0.5  # torch's default for linear layers
        weight, bias = torch.empty(num_experts, cout, cin), torch.empty(num_experts, cout)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(bias.uniform_(-bound, bound, generator=generator))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias; a call runs the hooks by which torch's tools replace them."""
        return self.weight, self.bias


class SwitchFFN(nn.Module):
    """Top-1 mixture of ``num_experts`` FFNs on tokens ``[..., dim]``, or on maps.

    The gate says what the chosen expert's output is multiplied with:

    - ``"exact"``: ``p / p.detach()``, which is 1 with the router's gradient. Identical experts then
      compute what one FFN computes, and inference scales nothing. For upcycled models.
    - ``"probability"``: the router's probability p, as in the Switch Transformer.

    Args:
        dim: Width of a token.
        hidden: Width of an expert's hidden layer.
        num_experts: Number of experts, at least 2 (one expert is the plain `FFN`).
        gate: See above.
        activation: The experts' hidden activation.
        convolutions: Whether a single expert, taken out, has 1x1 convolutions or linear layers:
            what the base model's FFN has.
        channels_first: The input is a map ``[B, dim, H, W]`` instead of tokens ``[..., dim]``.
        generator: Draws the weights; None uses torch's global generator.

    Raises:
        ModelError: Fewer than 2 or more than 255 experts, an unknown gate or activation.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        num_experts: int,
        gate: Gate = "exact",
        *,
        activation: Activation = "silu",
        convolutions: bool = True,
        channels_first: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_experts < 2:
            raise ModelError(
                f"A Switch FFN needs at least 2 experts, not {num_experts}; use FFN for one."
            )
        if num_experts > MAX_EXPERTS:
            raise ModelError(
                f"A Switch FFN has at most {MAX_EXPERTS} experts, not {num_experts}: indices are "
                "bytes."
            )
        if gate not in GATES:
            raise ModelError(f"Unknown gate '{gate}': use 'exact' or 'probability'.")
        check_activation(activation)
        self.dim = dim
        self.hidden = hidden
        self.gate: Gate = gate
        self.activation: Activation = activation
        self.convolutions = convolutions
        self.channels_first = channels_first
        self.router = Router(dim, num_experts, generator)
        self.fc1 = ExpertLinear(num_experts, dim, hidden, generator)
        self.fc2 = ExpertLinear(num_experts, hidden, dim, generator)

    @classmethod
    def from_ffn(
        cls,
        ffn: FFN,
        num_experts: int,
        gate: Gate = "exact",
        *,
        generator: torch.Generator | None = None,
        noise: float = 0.0,
    ) -> SwitchFFN:
        """Make every expert a copy of ``ffn`` (sparse upcycling, Komatsuzaki et al., 2023).

        Args:
            ffn: The plain FFN; it is not changed.
            num_experts: Number of experts.
            gate: With ``"exact"`` and no noise the result computes what ``ffn`` computes.
            generator: Draws the router and the noise.
            noise: Standard deviation of Gaussian noise on each expert's weights, relative to the
                weights' own.
        """
        result = cls(
            ffn.dim,
            ffn.hidden,
            num_experts,
            gate,
            activation=ffn.activation,
            convolutions=isinstance(ffn.fc1, nn.Conv2d),
            channels_first=ffn.channels_first,
            generator=generator,
        )
        pairs = ((result.fc1, ffn.fc1), (result.fc2, ffn.fc2))
        with torch.no_grad():
            for layer, plain in pairs:
                layer.weight.copy_(plain.weight.flatten(1).expand_as(layer.weight))
                layer.bias.copy_(plain.bias.expand_as(layer.bias))  # type: ignore[union-attr]
                if noise:
                    draw = torch.randn(layer.weight.shape, generator=generator)
                    layer.weight.add_(draw * noise * layer.weight.std().cpu())
        return result.to(ffn.fc1.weight.device, ffn.fc1.weight.dtype).train(ffn.training)

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return self.router.num_experts

    def expert(self, index: int) -> FFN:
        """Return a copy of one expert as a plain FFN, of the router's type (see `precision`)."""
        weight = self.router.weight
        make = functools.partial(skip_init, nn.Linear)  # spares the generator
        if self.convolutions:
            make = functools.partial(skip_init, nn.Conv2d, kernel_size=1)
        layers = make(self.dim, self.hidden), make(self.hidden, self.dim)
        ffn = FFN(*layers, self.activation, self.channels_first)
        ffn.to(weight.device, weight.dtype)
        with torch.no_grad():
            for plain, layer in ((ffn.fc1, self.fc1), (ffn.fc2, self.fc2)):
                plain.weight.copy_(layer.weight[index].view_as(plain.weight))
                plain.bias.copy_(layer.bias[index])  # type: ignore[union-attr]
        return ffn.to(memory_format=torch.channels_last).train(self.training)

    def without_expert(self, index: int) -> SwitchFFN | FFN:
        """Return a copy without one expert: what disabling it computes, but smaller.

        The tokens of the removed expert go to their next best one.

        Raises:
            ModelError: There is no such expert.
        """
        if not 0 <= index < self.num_experts:
            raise ModelError(f"There is no expert {index}: this layer has {self.num_experts}.")
        return self.with_experts([e for e in range(self.num_experts) if e != index])

    def with_experts(self, keep: Sequence[int]) -> SwitchFFN | FFN:
        """Return a copy with some experts only: what disabling the others computes, but smaller.

        One expert becomes a plain FFN: its probability is 1, so both gates agree.

        Args:
            keep: Their indices, at least one.
        """
        if len(keep) == 1:
            return self.expert(keep[0])
        spare = torch.Generator()  # its draws are overwritten below
        result = SwitchFFN(
            self.dim,
            self.hidden,
            len(keep),
            self.gate,
            activation=self.activation,
            convolutions=self.convolutions,
            channels_first=self.channels_first,
            generator=spare,
        )
        chosen = list(keep)
        for new, old in zip(result.parameters(), self.parameters(), strict=True):
            new.data = old.detach()[chosen]  # of the old one's type and device
        off = self.router.disabled
        result.router.disabled = frozenset(new for new, old in enumerate(keep) if old in off)
        return result.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[..., dim]`` to ``[..., dim]``; any number of tokens, also none.

        Raises:
            ModelError: The last axis (channels first: the second) is not ``dim``.
        """
        if self.channels_first:
            x = x.movedim(1, -1)  # costs nothing in channels_last memory
        if x.shape[-1] != self.dim:
            raise ModelError(
                f"This Switch FFN takes tokens of width {self.dim}; the input's "
                f"{'channel' if self.channels_first else 'last'} axis has {x.shape[-1]}."
            )
        y = self._infer(x)
        if y is None:
            y = self._route_and_dispatch(x)
        return y.movedim(-1, 1) if self.channels_first else y

    def _infer(self, x: Tensor) -> Tensor | None:
        """Route and compute in one pass where that is possible; None where it is not.

        Possible without derivatives, on the CPU, in x's own type, while nobody watches the router.
        """
        if torch.is_grad_enabled() and needs_derivative(x, *self.parameters()):
            return None
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return None
        router, weights = self._parts()
        if is_watched(router):
            return None
        scale = self.gate == "probability"
        if not is_eager(x):
            off = sorted(router.disabled)
            y: Tensor = ops.switch_ffn(x, router.weight, *weights, off, self.activation, scale)
            return y
        kernel = ops.usable_kernel(x, weights[0], weights[2])
        if kernel is None:
            return None
        return ops.switch_ffn_now(
            kernel, x, router.weight, weights, self.activation, scale, router.disabled
        )

    def _parts(self) -> tuple[Router, Weights]:
        """The router and the experts' tensors."""
        table = self._modules  # `self.fc1.weight` takes two slow look-ups, eight for all of them
        first, second = (cast(ExpertLinear, table[name])._parameters for name in ("fc1", "fc2"))
        router = cast(Router, table["router"])
        try:
            weights = first["weight"], first["bias"], second["weight"], second["bias"]
        except KeyError:  # parametrised or pruned by torch's own tools
            weights = *self.fc1(), *self.fc2()
        return router, cast(Weights, weights)

    def _route_and_dispatch(self, x: Tensor) -> Tensor:
        x_TD = x.reshape(-1, self.dim)
        router, weights = self._parts()
        routing: Routing = router(x_TD)
        y_TD = dispatch(
            x_TD,
            routing.expert,
            routing.counts,
            *weights,
            gate_T=self._gate(routing),
            unit_gate=self.gate == "exact",
            activation=self.activation,
        )
        return y_TD.view(x.shape)

    def _gate(self, routing: Routing) -> Tensor | None:
        if self.gate == "probability":
            return routing.probability
        if torch.is_grad_enabled():
            return routing.probability / routing.probability.detach()
        return None

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return (
            f"{self.dim}, {self.hidden}, experts={self.num_experts}, gate={self.gate!r}, "
            f"activation={self.activation!r}, channels_first={self.channels_first}"
        )
