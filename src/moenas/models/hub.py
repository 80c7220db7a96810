"""Models in a folder as the Hugging Face Hub and timm have them, and on the Hub.

The names are those of huggingface_hub's ``ModelHubMixin``, as functions: our models are timm's
classes, which have no such base, and the mixin reads ``config.json`` first and pickles at last.
Nothing is sent or fetched but by `push_to_hub`, and by `from_pretrained` of a name.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd
from torch import nn

from moenas import runs
from moenas.atomic import is_there, write_text
from moenas.errors import ModelError
from moenas.models import hub_files
from moenas.models.architecture import Architecture
from moenas.models.cost import parameters_of
from moenas.models.hub_config import config_of, data_config
from moenas.models.storage import ModelCard, load_model, save_model
from moenas.serialisation import write_json


def save_pretrained(
    model: nn.Module | Path | str,
    folder: Path | str,
    *,
    image_size: int | None = None,
    threshold: float | None = None,
) -> Path:
    """Write a folder that can be published: ``model.safetensors``, ``config.json``, ``README.md``.

    The weights' file is `save_model`'s. The README is the model card beside the checkpoint, where
    there is one; else a README that is already in the folder stays, or a short one is written.

    Args:
        model: A model of ours; or a checkpoint, a folder that has one, or a training run.
        folder: Where; made if it does not exist.
        image_size: Side in pixels of the images it was trained on. A checkpoint knows it.
        threshold: Decision threshold, 0 to 1; None for 0.5. A checkpoint knows it.

    Returns:
        The folder.

    Raises:
        ModelError: The model is not one of ours, the image size is missing, or a value is given
            that the checkpoint has.
        CheckpointError: The checkpoint cannot be used.
        RunFolderError: The folder cannot be written.
    """
    folder, readme, extra = Path(folder), None, None
    if isinstance(model, nn.Module):
        if image_size is None:
            raise ModelError(
                "On images of what size was this model trained? Pass image_size=96, for example."
            )
        threshold = 0.5 if threshold is None else threshold
    else:
        if image_size is not None or threshold is not None:
            raise ModelError(
                f"'{model}' knows its image size and threshold: leave out image_size and threshold."
            )
        path = _checkpoint(Path(model))
        readme = _card_beside(path)
        model, stored = load_model(path)
        image_size, threshold, extra = stored.image_size, stored.threshold, stored.extra
    weights = folder / hub_files.WEIGHTS
    card = save_model(weights, model, image_size=image_size, threshold=threshold, extra=extra)
    write_json(folder / hub_files.CONFIG, config_of(model, card))
    target = folder / hub_files.README
    if readme is not None or not is_there(target):
        write_text(target, readme or _short_readme(card))
    return folder


def from_pretrained(
    name_or_folder: Path | str,
    *,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> tuple[nn.Module, ModelCard]:
    """Load a model from a folder of `save_pretrained`, or from the Hugging Face Hub.

    Only ``model.safetensors`` is read. timm finds in the model how images are to be prepared
    (``timm.data.resolve_model_data_config(model)``).

    Args:
        name_or_folder: A folder, or else ``owner/name`` on the Hub.
        revision: Branch, tag or commit on the Hub; None for the newest.
        token: For private repositories; None for the one that is logged in.
        local_files_only: Use no network: the model must be in the cache.

    Returns:
        The model on the CPU in evaluation mode, and its card, as `load_model` does.

    Raises:
        ModelError: The repository or the Hub cannot be reached, or has no such file.
        CheckpointError: The file is missing, truncated, changed, unsafe, or not one of ours.
    """
    if hub_files.is_folder(name_or_folder):
        path = hub_files.in_folder(Path(name_or_folder))
    else:
        path = hub_files.on_hub(
            str(name_or_folder), revision=revision, token=token, local_files_only=local_files_only
        )
    model, card = load_model(path)
    model.pretrained_cfg = data_config(model, card)  # type: ignore[assignment]
    return model, card


def push_to_hub(
    model: nn.Module | Path | str,
    repo_id: str,
    *,
    image_size: int | None = None,
    threshold: float | None = None,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "Add a model of moenas",
) -> str:
    """Publish a model on the Hugging Face Hub: what `save_pretrained` writes, in one commit.

    The repository is made if there is none; its other files stay.

    Args:
        model: See `save_pretrained`; of its folder, the weights and the model card are taken.
        repo_id: ``owner/name``, or a name of your own.
        image_size: See `save_pretrained`.
        threshold: See `save_pretrained`.
        private: Whether a new repository is; None for what its owner has set.
        token: That may write; None for the one that is logged in.
        commit_message: Of the commit.

    Returns:
        Address of the commit.

    Raises:
        ModelError: See `save_pretrained`; or the Hub cannot be reached or does not allow it.
        CheckpointError: The checkpoint cannot be used.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(model, temporary, image_size=image_size, threshold=threshold)
        operations = [
            CommitOperationAdd(name, folder / name)
            for name in (hub_files.WEIGHTS, hub_files.CONFIG, hub_files.README)
        ]
        with hub_files.explained(repo_id):
            api = huggingface_hub.HfApi(token=token, library_name="moenas")
            created = api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.create_commit(created.repo_id, operations, commit_message=commit_message)
    return str(done.commit_url)


def _checkpoint(path: Path) -> Path:
    """The checkpoint that a path means: of a folder of ours, or what a run means by it."""
    own = path / hub_files.WEIGHTS
    return own if own.is_file() else runs.find_checkpoint(path)


def _card_beside(checkpoint: Path) -> str | None:
    """The model card of a checkpoint, naming the file as it is named in the new folder."""
    path = checkpoint.parent / hub_files.README
    if not is_there(path):
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"The model card '{path}' cannot be read: {error}.") from error
    return text.replace(runs.ModelFolder(path.parent).checkpoint.name, hub_files.WEIGHTS)


_README = """\
---
library_name: moenas
pipeline_tag: image-classification
tags:
- moenas
- timm
- image-classification
- mixture-of-experts
---

# {id}

{what}, {parameters:,} parameters, {classes} classes.
Images are RGB, resized to {size} × {size} pixels without keeping their aspect ratio.

**Nothing is known here of how good or how fair it is.** The model card that moenas writes for a
run says it.

```python
import moenas

model, card = moenas.from_pretrained("THIS-REPOSITORY")
```

After `import moenas.timm`, timm's `create_model("hf-hub:THIS-REPOSITORY", pretrained=True)` loads
it, too.
"""


def _short_readme(card: ModelCard) -> str:
    architecture = Architecture.parse(card.architecture)
    counts = ", ".join(map(str, architecture.experts))
    what = f"{architecture.base} whose feed-forward layers have {counts} experts"
    return _README.format(
        id=architecture.id,
        what=f"{architecture.base}, without experts" if architecture.dense else what,
        parameters=parameters_of(architecture, card.num_classes),
        classes=card.num_classes,
        size=card.image_size,
    )
