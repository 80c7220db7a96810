"""``moenas verify``: recompute every number of a run from its predictions and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from moenas.config import to_dict
from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import MoENASError, RunFolderError
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import score
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of, parameters_of
from moenas.models.latency import LatencyTable
from moenas.models.storage import load_model
from moenas.nas.objectives import LATENCY
from moenas.nas.records import comparison_record, search_record, trial_records
from moenas.nas.study import open_recorded_study
from moenas.predictions import Predictions
from moenas.pruning.experts import prune_experts
from moenas.report.results import Comparison, Pruning, Trial, read_part
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.serialisation import read_json
from moenas.workflows.prune import curve_record
from moenas.workflows.verification import Verification
from moenas.workflows.verify_audit import verify_audit
from moenas.workflows.verify_routes import verify_routes

PROBABILITY_TOLERANCE = 1e-4
"""Largest difference of a probability predicted anew: other processors round differently."""


WITHOUT_CHECKPOINT = ("trials/", "supernets/")
"""Where parts of a supernet leave their scores: the supernet has their weights."""

UNREADABLE = (MoENASError, LookupError, TypeError, AttributeError, ValueError, OSError)
"""What files raise that are missing, damaged, or hold JSON of another shape."""


def verify(run: Path | str) -> Verification:
    """Recompute a run's numbers.

    Every model's scores are computed again from its predictions; where the images are at hand, the
    predictions of the reported models are made again from their checkpoints and pruning is done
    again; trials, hypervolume, comparison and verdict are made again from the scores.

    Args:
        run: A run folder of a search, an audit, a training, a pruning or of routes.

    Raises:
        RunFolderError: It is no run folder.
    """
    folder = RunFolder.open(run)
    result = Verification()
    for path in sorted(folder.path.rglob("scores.json")):
        name = path.parent.relative_to(folder.path).as_posix()
        try:
            _model(name, folder, ModelFolder(path.parent), result)
        except UNREADABLE as error:
            result.problems.append(f"{name}: {_told(error)}")
    for file, shape, check in (
        (folder.trials, tuple[Trial, ...], _search),
        (folder.comparison, Comparison, _comparison),
        (folder.pruning, Pruning, _pruning),
        (folder.routes_summary, dict[str, Any], verify_routes),
    ):
        if file.exists():
            try:
                read_part(file, shape)
                check(folder, result)
            except UNREADABLE as error:
                result.problems.append(f"{file.name}: it cannot be recomputed: {_told(error)}")
    kind = folder.read_config()["kind"]
    left = {
        "search": (folder.trials, folder.comparison, folder.summary),
        "audit": (folder.comparison, folder.summary),
        "prune": (folder.pruning,),
        "routes": (folder.routes_summary, folder.summary),
    }
    if lost := [file.name for file in left.get(kind, ()) if not file.exists()]:
        result.problems.append(
            f"the run is not finished, or a file of it is lost ({', '.join(lost)}): run the same "
            f"'moenas {kind}' command again"
        )
    if not result.numbers:
        result.problems.append("there is nothing to verify: no model was finished")
    return result


def _told(error: Exception) -> str:
    if isinstance(error, MoENASError):
        return str(error)
    return f"a file is missing, damaged or of another version ({type(error).__name__}: {error})"


def _model(name: str, folder: RunFolder, model: ModelFolder, result: Verification) -> None:
    content = read_json(model.scores)
    stored = content["scores"]
    predictions = Predictions.load(model.predictions)
    result.models += 1
    if not model.checkpoint.exists() and name.startswith(WITHOUT_CHECKPOINT):
        for split, values in stored.items():
            cost = {key: values[key] for key in ("parameters", "macs")}
            _scores(f"{name}/scores.{split}", values, predictions, cost, result)
        return
    network, card = load_model(model.checkpoint)
    architecture = Architecture.parse(card.architecture)
    cost = {
        "parameters": parameters_of(architecture),
        "macs": macs_of(architecture, card.image_size),
    }
    _same_architecture(name, architecture.id, content, result)
    if sum(p.numel() for p in network.parameters()) != cost["parameters"]:
        result.problems.append(f"{name}: the checkpoint has not the size of {architecture.id}")
    if (
        not predictions.with_threshold(card.threshold)
        .frame["prediction"]
        .equals(predictions.frame["prediction"])
    ):
        result.problems.append(f"{name}: its decisions are not those of its probabilities")
    for split, values in stored.items():
        _scores(f"{name}/scores.{split}", values, predictions, cost, result)
    if "report" in stored and folder.manifest.exists():
        manifest = Manifest.load(folder.manifest)
        if _has_images(manifest):
            images = cached_images(manifest, card.image_size, cache_home() / "images")
            splits = tuple(sorted(set(predictions.frame["split"])))
            fresh = predict(network, manifest, images, splits=splits, threshold=card.threshold)
            same = fresh.frame["image_id"].equals(predictions.frame["image_id"])
            gap = fresh.frame["probability"] - predictions.frame["probability"]
            result.numbers += len(fresh)
            if not same or not float(gap.abs().max()) <= PROBABILITY_TOLERANCE:
                result.problems.append(f"{name}: its predictions are not its checkpoint's")


def _scores(
    where: str,
    stored: Any,
    predictions: Predictions,
    cost: dict[str, int],
    result: Verification,
) -> None:
    again = score(predictions, split=where.rpartition(".")[2], **cost)
    result.compare(where, stored, to_dict(again))


def _search(folder: RunFolder, result: Verification) -> None:
    study = open_recorded_study(folder)
    objectives = tuple(study.user_attrs["objectives"])
    records = trial_records(study, objectives)
    result.compare("trials", read_json(folder.trials), records)
    if folder.latency.exists():
        table = LatencyTable.load(folder.latency)
        for record in (r for r in records if "latency_ms" in r):
            time = table.of(Architecture.parse(record["architecture"]))
            result.compare(f"trial {record['number']}.latency_ms", record["latency_ms"], time)
    if folder.summary.exists():
        stored = read_json(folder.summary)["search"]
        again = search_record(study)
        result.compare(
            "summary.search", {key: stored[key] for key in again if key in stored}, again
        )
    for record in records:
        model = folder.trial(record["number"])
        if record["state"] != "COMPLETE":
            continue
        told = record
        if "rung" in record:  # what was told is a guess; what it is guessed from was measured
            model, told = folder.rung(record["number"], record["rung"]), record["measured"]
        content = read_json(model.scores)
        scores = content["scores"]["search"]
        number = f"trial {record['number']}"
        _same_architecture(number, record["architecture"], content, result)
        for name in objectives:
            if name == LATENCY:
                value = record["latency_ms"]
            else:
                value = -abs(scores["overfitting"]) if name == "generalisation" else scores[name]
            result.compare(f"{number}.{name}", told[name], value)


def _same_architecture(
    where: str, known: str, content: dict[str, Any], result: Verification
) -> None:
    """Hold what scores say they are of against it; older versions' say nothing."""
    if content.get("of") is not None:
        result.compare(f"{where}.architecture", content["of"]["architecture"], known)


def _comparison(folder: RunFolder, result: Verification) -> None:
    stored = read_json(folder.comparison)
    config = folder.read_config()
    if config["kind"] == "audit":
        verify_audit(folder, result)
        return
    settings = config["settings"]
    models = [
        {key: m[key] for key in ("name", "role", "size_class", "architecture", "seeds")}
        for m in stored["models"]
    ]
    folders = {
        m["name"]: [folder.pruned()]
        if m["role"] == "pruned"
        else [folder.finalist(m["architecture"], seed) for seed in m["seeds"]]
        for m in models
    }
    again = comparison_record(models, folders, settings["image_size"])
    result.compare("comparison", stored, again)
    if folder.summary.exists():
        result.compare("summary.verdict", read_json(folder.summary)["verdict"], again["verdict"])


def _pruning(folder: RunFolder, result: Verification) -> None:
    """Prune again from the same checkpoint, where it and the images are at hand."""
    stored = read_json(folder.pruning)
    config = folder.read_config()
    settings = config["settings"]
    if config["kind"] == "search":
        models = read_json(folder.comparison)["models"]
        start = next((m for m in models if m["name"] == stored["model"]), None)
        if start is None:
            raise RunFolderError(
                f"it is of the model '{stored['model']}', which '{folder.comparison}' does not have"
            )
        checkpoint = folder.finalist(start["architecture"], start["seeds"][0]).checkpoint
    else:
        checkpoint = Path(settings["checkpoint"])
    manifest = Manifest.load(folder.manifest)
    if not checkpoint.exists() or not _has_images(manifest):
        return
    model, card = load_model(checkpoint)
    images = cached_images(manifest, card.image_size, cache_home() / "images")
    own = settings if config["kind"] == "prune" else {}

    def trained_before(_: nn.Module, step: int) -> nn.Module:
        return load_model(folder.pruned_tuned(step).checkpoint)[0]

    again = prune_experts(
        model,
        manifest,
        images,
        keep_above=stored["thresholds"],
        max_parameters=own.get("max_parameters"),
        importance=stored["importance"],
        curve=own.get("curve", False),
        rescue=trained_before if own.get("rescue") else None,
    )
    record = curve_record(stored["model"], again)
    for trained in ("fine_tuned", "fine_tuned_kept"):  # its scores are verified with its model
        record[trained] = stored[trained]
    result.compare("pruned/curve", stored, record)


def _has_images(manifest: Manifest) -> bool:
    return all(manifest.file(path).exists() for path in set(manifest.frame["path"]))
