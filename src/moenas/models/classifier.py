"""Where a model's classifier is: the layer from the pooled features to the classes."""

from __future__ import annotations

from torch import nn

NO_CLASSIFIER = (
    "'{name}' can have no other head: the width of its pooled features is not known. It needs one "
    "linear classifier, which its get_classifier() returns (models with two, as distilled ones, "
    "have none), and a base model that says its pooled_width."
)


def find_classifier(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Return name and module of the classifier; None where there is no single linear one.

    A module that took a linear layer's place counts as one: it has ``in_features``, too.

    Args:
        model: timm's, or any with ``get_classifier()``.
    """
    get = getattr(model, "get_classifier", None)
    found = get() if callable(get) else None
    if not isinstance(found, nn.Module) or not hasattr(found, "in_features"):
        return None
    names = [name for name, module in model.named_modules() if module is found]
    return (names[0], found) if names else None
