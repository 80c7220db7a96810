"""MoENAS: search, train and prune small mixture-of-experts vision models that see everyone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moenas.data.manifest import Manifest
    from moenas.errors import MoENASError
    from moenas.evaluation.scores import Scores
    from moenas.metrics.fairness import skin_fairness
    from moenas.models.architecture import Architecture
    from moenas.models.builder import build_model
    from moenas.models.convert import upcycle
    from moenas.models.cost import count_macs, count_parameters
    from moenas.models.hub import from_pretrained, push_to_hub, save_pretrained
    from moenas.models.storage import load_model, save_model
    from moenas.nas.sampler import MoENASSampler
    from moenas.nas.settings import SearchConfig
    from moenas.predictions import Predictions
    from moenas.workflows.audit import AuditConfig, audit
    from moenas.workflows.facade import evaluate, prune_experts
    from moenas.workflows.search import search

_HOME = {
    "Architecture": "models.architecture",
    "AuditConfig": "workflows.audit",
    "Manifest": "data.manifest",
    "MoENASError": "errors",
    "MoENASSampler": "nas.sampler",
    "Predictions": "predictions",
    "Scores": "evaluation.scores",
    "SearchConfig": "nas.settings",
    "audit": "workflows.audit",
    "build_model": "models.builder",
    "count_macs": "models.cost",
    "count_parameters": "models.cost",
    "evaluate": "workflows.facade",
    "from_pretrained": "models.hub",
    "load_model": "models.storage",
    "prune_experts": "workflows.facade",
    "push_to_hub": "models.hub",
    "save_model": "models.storage",
    "save_pretrained": "models.hub",
    "search": "workflows.search",
    "skin_fairness": "metrics.fairness",
    "upcycle": "models.convert",
}
"""Public names and where they live; each is imported when it is first used, so that a worker or
``moenas --help`` does not load what it does not need."""

__all__ = [
    "Architecture",
    "AuditConfig",
    "Manifest",
    "MoENASError",
    "MoENASSampler",
    "Predictions",
    "Scores",
    "SearchConfig",
    "audit",
    "build_model",
    "count_macs",
    "count_parameters",
    "evaluate",
    "from_pretrained",
    "load_model",
    "prune_experts",
    "push_to_hub",
    "save_model",
    "save_pretrained",
    "search",
    "skin_fairness",
    "upcycle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'moenas' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"moenas.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
