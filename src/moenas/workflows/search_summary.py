"""``summary.json`` of a search: settings, machine, times, and how it went."""

from __future__ import annotations

import datetime

import optuna
import torch
from pydantic import TypeAdapter

from moenas.config import to_dict
from moenas.errors import RunFolderError
from moenas.nas.records import search_record
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.runtime import Machine, peak_memory
from moenas.serialisation import read_json, write_json
from moenas.training.job import DataReference
from moenas.workflows.data import data_record
from moenas.workflows.doctor import library_versions


def write_summary(
    run: RunFolder,
    config: SearchConfig,
    data: DataReference,
    study: optuna.Study,
    *,
    device: torch.device,
    floor: float,
    verdict: list[str],
    seconds: dict[str, float],
) -> None:
    """Write the summary; the stages' times of an earlier, interrupted call are kept if longer.

    Args:
        run: The search's folder.
        config: Its settings.
        data: The images.
        study: The finished study.
        device: Where it was computed.
        floor: Balanced accuracy that a feasible trial reaches.
        verdict: The report's first sentences.
        seconds: Of each stage in this call.

    Raises:
        RunFolderError: There is a summary, and it is damaged.
    """
    before = _seconds(run) if run.summary.exists() else {}
    took = {k: max(v, before.get(k, 0.0)) for k, v in seconds.items()}
    write_json(
        run.summary,
        {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": to_dict(Machine.here(device)),
            "versions": library_versions(),
            "base": config.base,
            "wider": config.wider_base,
            "image_size": config.image_size,
            "seconds": {**took, "total": round(sum(took.values()), 1)},
            "data": data_record(data),
            "search": {
                "sampler": "MoENASSampler",
                "preset": config.sampler,
                "strategy": config.strategy,
                "router": config.router,
                "bases": list(config.searched_bases),
                "trials": config.trials,
                "rungs": config.rungs,
                "max_parameters": config.max_parameters,
                "max_latency_ms": config.max_latency_ms,
                "accuracy_floor": floor,
                **search_record(study),
            },
            "verdict": verdict,
            "peak_memory_bytes": peak_memory(),
        },
    )


def _seconds(run: RunFolder) -> dict[str, float]:
    """What each stage took, as the summary of an earlier call says."""
    found = read_json(run.summary)
    try:
        return TypeAdapter(dict[str, float]).validate_python(found["seconds"])
    except (LookupError, TypeError, ValueError):
        raise RunFolderError(
            f"'{run.summary}' is damaged: it does not say how many seconds each stage took. Delete "
            "it and run the same command: it is written anew."
        ) from None
