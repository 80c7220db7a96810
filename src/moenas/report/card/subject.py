"""The models of a run that get a model card, each with all that the card tells of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from moenas.config import from_dict
from moenas.errors import RunFolderError
from moenas.evaluation.scores import Scores
from moenas.models.storage import ModelCard, read_card
from moenas.report.card.escape import short
from moenas.report.data_facts import DataFacts, data_facts
from moenas.report.results import ComparedModel, Comparison, Pruning, read_part, report_scores
from moenas.runs import ModelFolder, RunFolder


@dataclasses.dataclass(frozen=True)
class Subject:
    """One checkpoint and what is known of it.

    Attributes:
        name: Of the model.
        run: Name of its run.
        kind: Of the run.
        settings: Of the run.
        stored: What the checkpoint says of itself.
        scores: Of this checkpoint on the report half.
        over_seeds: Of all trainings of its kind; None where it is alone.
        seed: Of this checkpoint; None where it is not known.
        data: Its images.
        pruning: How it was pruned; None where it was not.
    """

    name: str
    run: str
    kind: str
    settings: Mapping[str, Any]
    stored: ModelCard
    scores: Scores
    over_seeds: ComparedModel | None
    seed: int | None
    data: DataFacts
    pruning: Pruning | None

    @property
    def pretrained(self) -> bool | str:
        """Weights that the first training started from; of a pruned checkpoint not known."""
        value = self.settings.get("pretrained", False)
        return value if isinstance(value, bool | str) else False


def places(run: RunFolder) -> Iterator[tuple[ModelFolder, ComparedModel | None, int | None]]:
    """The folders whose models get a card: finalists and what pruning left, or the one model.

    Raises:
        RunFolderError: A file is damaged.
    """
    kind = run.read_config()["kind"]
    if kind == "train":
        seed = run.read_config()["settings"].get("seed")
        yield run.model(), None, seed if isinstance(seed, int) else None
    elif kind == "prune":
        yield run.pruned(), None, None
    elif kind == "search":
        record: Comparison | None = read_part(run.comparison, Comparison)
        for model in record.models if record else ():
            if model.role == "finalist":
                for seed in model.seeds:
                    yield run.finalist(model.architecture, seed), model, seed
            elif model.role == "pruned":
                yield run.pruned(), model, next(iter(model.seeds), None)


def read_subject(
    run: RunFolder, folder: ModelFolder, model: ComparedModel | None, seed: int | None
) -> Subject:
    """Read all that a card tells of a checkpoint.

    Args:
        run: Its run.
        folder: Of the checkpoint.
        model: Its record in ``comparison.json``, where there is one.
        seed: Of its training.

    Raises:
        RunFolderError: A file is missing, damaged or of another version.
        CheckpointError: The checkpoint cannot be used.
        ConfigError: Its scores are of another version.
    """
    config = run.read_config()
    pruned = folder.path == run.pruned().path
    pruning: Pruning | None = read_part(run.pruning, Pruning) if pruned else None
    stored = read_card(folder.checkpoint)
    scores = report_scores(folder.scores)
    if not scores:
        raise RunFolderError(f"'{folder.scores}' has no scores of the report half.")
    name = model.name if model else stored.architecture
    if model is None and pruning is not None:
        name = f"{pruning.model} pruned"
    return Subject(
        name=short(name),
        run=short(run.name),
        kind=str(config["kind"]),
        settings=config["settings"],
        stored=stored,
        scores=from_dict(Scores, scores),
        over_seeds=model if model and len(model.seeds) > 1 else None,
        seed=seed,
        data=data_facts(run),
        pruning=pruning,
    )
