"""What a benchmark of formats measures: checkpoints and exported files, and what is known of them.

Nothing is scored here. The report half was looked at when a model was trained and when a file was
exported; what was found then is read, where it is of the same file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from moenas.atomic import is_there
from moenas.config import from_dict
from moenas.data.labelling import Labelling
from moenas.errors import CheckpointError, ConfigError, MoENASError, RunFolderError
from moenas.evaluation.scores import Scores
from moenas.export.backends import BACKENDS
from moenas.export.card import ExportCard
from moenas.export.formats import FORMATS
from moenas.export.measuring import CHECKPOINT
from moenas.export.metadata import Details
from moenas.models.architecture import Architecture
from moenas.models.cost import parameters_of
from moenas.models.storage import read_card
from moenas.report.card.subject import places
from moenas.runs import ModelFolder, RunFolder, find_checkpoint
from moenas.serialisation import read_json, sha256_of


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A model in a format.

    Attributes:
        model: What it is called.
        kind: The format's name, or `CHECKPOINT`.
        details: What the model is; None where that cannot be told.
        file: What can be run as it is; None: it is exported anew for that.
        source: A checkpoint to export it from.
        size: Bytes on disk, with what belongs beside the file; None: not there yet.
        scores: On the report half, as they were stored.
        note: Why there are no scores.
        problem: Why it cannot be run; empty where it can be.
        labelling: By which rule the images of an exported file's scores were labelled, as its card
            says.
    """

    model: str
    kind: str
    details: Details | None = None
    file: Path | None = None
    source: Path | None = None
    size: int | None = None
    scores: Scores | None = None
    note: str = ""
    problem: str = ""
    labelling: Labelling | None = None


def find_entrants(paths: Sequence[Path], formats: Sequence[str]) -> list[Entrant]:
    """Return what paths mean, each model's checkpoint first.

    Args:
        paths: Run folders, model folders, checkpoints, exported files.
        formats: Further formats of each checkpoint, unless they are exported already.

    Raises:
        ConfigError: A format is unknown, or formats are named and no checkpoint.
        RunFolderError: A folder holds no model.
        CheckpointError: A file does not exist, or its name is of no format.
    """
    kinds = [FORMATS[name].name for name in dict.fromkeys(formats)]
    found: list[Entrant] = []
    for path in dict.fromkeys(paths):
        if not is_there(path):
            raise CheckpointError(f"'{path}' does not exist.")
        if path.is_file() and _kind_of(path) is not None:
            found.append(_exported(path))
            continue
        for folder in _folders(path):
            own = _of_model(folder)
            there = {each.kind for each in own}
            found += own
            found += [
                dataclasses.replace(
                    own[0], kind=kind, file=None, source=folder, size=None, scores=None,
                    note="exported for this table alone, not checked",
                )
                for kind in kinds
                if kind not in there
            ]  # fmt: skip
    if kinds and not any(each.kind == CHECKPOINT for each in found):
        raise ConfigError("Formats are exported from a checkpoint: name one, or its run.")
    return found


def _kind_of(path: Path) -> str | None:
    """The format that a file's name ends like, the longest such ending."""
    fitting = [kind for kind in FORMATS.values() if path.name.endswith(kind.suffix)]
    return max(fitting, key=lambda kind: len(kind.suffix)).name if fitting else None


def _folders(path: Path) -> list[Path]:
    """The checkpoints that a path means; of a finalist's seeds those with exports, or the first."""
    if path.is_file() or not is_there(RunFolder(path).config):
        return [find_checkpoint(path)]
    chosen: dict[str, list[ModelFolder]] = {}
    for folder, model, _ in places(RunFolder.open(path)):
        chosen.setdefault(model.name if model else folder.path.name, []).append(folder)
    if not chosen:
        raise RunFolderError(f"'{path}' has no finished model: a search's finalists come last.")
    exported = [[f for f in seeds if _files(f)] or seeds[:1] for seeds in chosen.values()]
    return [folder.checkpoint for seeds in exported for folder in seeds]


def _files(folder: ModelFolder) -> list[Path]:
    """The exported files of a model."""
    inside = folder.exports.iterdir() if folder.exports.is_dir() else ()
    order = list(FORMATS)
    known = [(kind, path) for path in inside if (kind := _kind_of(path)) is not None]
    return [path for _, path in sorted(known, key=lambda each: (order.index(each[0]), each[1]))]


def _of_model(checkpoint: Path) -> list[Entrant]:
    """A checkpoint, and what was exported from it."""
    stored = read_card(checkpoint)
    folder = ModelFolder(checkpoint.parent)
    scores, note = None, "no scores beside the checkpoint"
    if checkpoint == folder.checkpoint and is_there(folder.scores):
        try:
            scores, note = from_dict(Scores, read_json(folder.scores)["scores"]["report"]), ""
        except (KeyError, TypeError, MoENASError):
            note = "its scores of the report half cannot be read"
    own = Entrant(
        model=_name(folder, stored.architecture),
        kind=CHECKPOINT,
        details=_details_of(checkpoint),
        file=checkpoint,
        source=checkpoint,
        size=checkpoint.stat().st_size,
        scores=scores,
        note=note,
    )
    return [own, *(_exported(path) for path in _files(folder))]


def _details_of(checkpoint: Path) -> Details:
    stored = read_card(checkpoint)
    architecture = Architecture.parse(stored.architecture)
    return Details.of(stored, parameters_of(architecture, stored.num_classes))


def _name(folder: ModelFolder, architecture: str) -> str:
    """The folder's name where it tells the seed, too; else the architecture's."""
    name = folder.path.name
    return name if name.startswith(architecture) else architecture


def _exported(path: Path) -> Entrant:
    """An exported file; one whose runtime would trust it is exported again from its checkpoint."""
    kind = _kind_of(path) or ""
    card, note = _card_of(path)
    details = card.details if card else None
    folder = ModelFolder(path.resolve().parent.parent)
    source, problem = None, ""
    try:
        read = BACKENDS[kind].read
        if read is not None:
            details = read(path).details
        elif folder.exports == path.resolve().parent and is_there(folder.checkpoint):
            source, own = folder.checkpoint, _details_of(folder.checkpoint)
            if details is not None and details.architecture != own.architecture:
                source, problem = None, "refused: the checkpoint beside it is another model"
            details = details or own
        else:
            problem = "refused: its runtime trusts what a file says; name its checkpoint"
    except MoENASError as error:
        problem = str(error)
    return Entrant(
        model=_name(folder, details.architecture) if details else path.name,
        kind=kind,
        details=details,
        file=None if source or problem else path,
        source=source,
        size=card.bytes if card else _size(kind, path),
        scores=card.report.exported if card and card.report else None,
        note=note,
        problem=problem,
        labelling=card.labelling if card else None,
    )


def _size(kind: str, path: Path) -> int:
    """Bytes of a file and of its weights beside it."""
    return sum(part.stat().st_size for part in FORMATS[kind].files(path) if part.is_file())


def _card_of(path: Path) -> tuple[ExportCard | None, str]:
    """The card beside a file where it is that file's, and else why there is none."""
    beside = path.with_name(f"{path.name}.json")
    if not is_there(beside):
        return None, "no card beside the file"
    try:
        card = from_dict(ExportCard, read_json(beside))
    except (MoENASError, TypeError):
        return None, "its card cannot be read"
    if not card.sha256:
        return None, "its card is older than cards that name their file's hash"
    for name, known in card.sha256.items():
        part = path.with_name(Path(name).name)
        if not part.is_file() or sha256_of(part) != known:
            return None, "its card is of another file"
    if path.name not in card.sha256:
        return None, "its card is of another file"
    return card, "" if card.report else "its card has no report half"
