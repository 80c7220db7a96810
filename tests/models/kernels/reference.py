"""Every expert on every token, then pick: slow, obvious, in float64."""

import torch
from torch.nn import functional as F

FUNCTIONS = {"silu": F.silu, "gelu": F.gelu}


def weights(experts, dim, hidden, seed=0):
    """Random distinct experts, float32."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return torch.randn(shape, generator=g) * scale

    return (
        draw(experts, hidden, dim, scale=dim**-0.5),
        draw(experts, hidden, scale=0.3),
        draw(experts, dim, hidden, scale=hidden**-0.5),
        draw(experts, dim, scale=0.3),
    )


def masked(x, expert, gate, weights, activation="silu"):
    """Differentiable; as `moenas.models.dispatch.dispatch`."""
    w1, b1, w2, b2 = weights
    hidden = FUNCTIONS[activation](torch.einsum("td,ehd->teh", x, w1) + b1)
    every = torch.einsum("teh,edh->ted", hidden, w2) + b2
    one_hot = F.one_hot(expert.long(), w1.shape[0]).to(x.dtype)
    return torch.einsum("ted,te->td", every, one_hot) * gate[:, None]
