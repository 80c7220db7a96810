"""The answer in plain words: do paths cluster, and how much."""

from __future__ import annotations

from collections.abc import Iterable

from moenas.analysis.dependence import Dependence, LayerDependence

_SIZES = (
    (0.02, "barely, but"),
    (0.05, "a little, and"),
    (0.2, "clearly, and"),
    (1.1, "strongly, and"),
)
"""How the share of tokens that go elsewhere, or of the information, is called below a limit."""


def describe(title: str, found: Dependence) -> str:
    """Return one or two sentences: whether, where and how much paths depend on an attribute.

    Args:
        title: What the attribute is called, e.g. ``"skin tone"``.
        found: The test.
    """
    how = (
        f" (p ≥ {smallest_p(found):.2f} after Holm's correction over "
        f"{_count(len(found.layers), 'layer')})"
    )
    if not found.beyond_chance:
        nearest = max(found.layers, key=lambda layer: layer.tokens.corrected)
        moved = nearest.tokens
        return (
            f"Paths do not cluster by {title} more than chance explains{how}. Layer "
            f"{nearest.layer} comes nearest: {_percent(moved.observed)} of its tokens go elsewhere "
            f"than they do on average; chance alone moves up to {_percent(moved.chance_high)}."
        )
    layers = [layer for layer in found.layers if layer.beyond_chance]
    told = max(layers, key=lambda layer: layer.information.corrected)
    farthest = max(layers, key=lambda layer: layer.tokens.corrected)
    share = told.information.corrected / found.entropy
    effect = max(farthest.tokens.corrected, share)
    size = next(word for limit, word in _SIZES if effect < limit)
    tokens = farthest.tokens
    text = (
        f"Paths cluster by {title} {size} beyond chance, in {_some(layers, len(found.layers))}. "
        f"{_percent(tokens.observed)} of the tokens in layer {farthest.layer} go elsewhere than "
        f"they do on average ({_percent(tokens.by_chance)} would by chance)"
    )
    if told.information.beyond_chance:
        return (
            f"{text}; the expert that an image prefers in layer {told.layer} tells "
            f"{_percent(share)} of what there is to know about its {title}."
        )
    return f"{text}; the one expert that an image prefers does not tell its {title}."


def smallest_p(found: Dependence) -> float:
    """The smallest corrected p-value of all layers and quantities."""
    return min(min(layer.information.p_holm, layer.tokens.p_holm) for layer in found.layers)


def _some(layers: Iterable[LayerDependence], total: int) -> str:
    numbers = [layer.layer for layer in layers]
    if total == 1:
        return f"layer {numbers[0]}, the only one with experts"
    if len(numbers) == total:
        return f"all {total} layers with experts"
    return f"{len(numbers)} of {_count(total, 'layer')} with experts"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _percent(share: float) -> str:
    text = f"{100 * share:.1f}"
    return f"{0.0 if float(text) == 0 else float(text):.1f} %"
