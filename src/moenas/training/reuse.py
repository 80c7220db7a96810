"""What a folder holds from before: used where it is of what is wanted, else set aside.

What is another's is never told as this one's, and is never an error: it is removed, with one line
in the log, and the work is done anew.
"""

from __future__ import annotations

from typing import Any

from moenas.config import from_dict
from moenas.console import logger
from moenas.errors import CheckpointError, ConfigError, RunFolderError
from moenas.models.architecture import Architecture
from moenas.models.cost import parameters_of
from moenas.models.storage import read_card
from moenas.runs import ModelFolder
from moenas.training.checkpoint import Tensors, TrainingState, load_state
from moenas.training.identity import Identity
from moenas.training.outcome import JobResult, read_result


def stored_result(folder: ModelFolder, wanted: Identity) -> JobResult | None:
    """Return the result of a finished job; None where there is none, or another's.

    Raises:
        RunFolderError: The scores are damaged.
    """
    try:
        found = _look(folder, wanted)
    except CheckpointError:
        return None
    return found if isinstance(found, JobResult) else None


def take_result(folder: ModelFolder, wanted: Identity) -> JobResult | None:
    """Like `stored_result`, and remove what is another's; for whoever holds the folder.

    Raises:
        RunFolderError: The scores are damaged, or cannot be removed.
    """
    try:
        found = _look(folder, wanted)
    except CheckpointError as error:  # it may be readable again: it stays until there is a new one
        logger.warning("%s It is trained again.", error)
        return None
    if isinstance(found, str):
        _set_aside(folder, found, wanted)
        return None
    return found


def take_state(folder: ModelFolder, wanted: Identity, model: Tensors) -> TrainingState | None:
    """Return the state of a training that goes on; another's is removed.

    Args:
        folder: Of the training.
        wanted: What is trained.
        model: The state dict of the model that is to go on.

    Raises:
        RunFolderError: It cannot be removed.
    """
    state = load_state(folder.state)
    if state is None:
        return None
    stored = state.progress.get("of")
    # What has no identity was written by an older version: its tensors tell architectures apart.
    if stored is not None and not _fits(stored, wanted):
        _set_aside(folder, f"holds the half-trained {_named(stored)}", wanted)
    elif _shapes(state.modules.get("model", {})) != _shapes(model):
        _set_aside(folder, "holds a half-trained model of other tensors", wanted)
    else:
        return state
    return None


def _look(folder: ModelFolder, wanted: Identity) -> JobResult | str | None:
    """Return the result that is there, or what the folder holds instead.

    Raises:
        CheckpointError: It would be the result, but its model cannot be read.
    """
    try:
        result = read_result(folder) if folder.finished else None
    except RunFolderError:
        if folder.finished:
            raise
        return None  # another process of the same training has just removed it
    if result is None:
        return None
    if result.of is not None and not result.of.fits(wanted):
        return f"holds {result.of}"
    if wanted.supernet is not None:
        return result if result.of else "does not say of which supernet its scores are"
    model = read_card(folder.checkpoint).architecture
    if model != wanted.architecture:
        return f"holds '{model}'"
    if result.of is None:  # written by an older version: the size is all that its scores tell
        parameters = parameters_of(Architecture.parse(wanted.architecture))
        if any(scores.parameters != parameters for scores in result.scores.values()):
            return "holds scores of a model of another size"
    return result


def _set_aside(folder: ModelFolder, what: str, wanted: Identity) -> None:
    logger.warning("'%s' %s. It is removed: wanted is %s.", folder.path, what, wanted)
    folder.clear()


def _fits(stored: Any, wanted: Identity) -> bool:
    try:
        return from_dict(Identity, stored).fits(wanted)
    except (ConfigError, TypeError):
        return False


def _named(stored: Any) -> str:
    try:
        return str(from_dict(Identity, stored))
    except (ConfigError, TypeError):
        return "model of another version"


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
