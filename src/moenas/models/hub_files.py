"""Where a stored model's file is: in a folder, or on the Hugging Face Hub.

One file is fetched, ``model.safetensors``: no file name comes from a repository, and a pickle is
never opened. What can go wrong on the way becomes one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from moenas.errors import CheckpointError, ModelError, MoENASError

WEIGHTS = "model.safetensors"
"""The name by which timm, too, finds weights in a folder or repository."""
CONFIG = "config.json"
README = "README.md"

_PICKLES = ("pytorch_model.bin", "pytorch_model.pth", "model.pth")


def is_folder(name: Path | str) -> bool:
    """Whether a name is a folder's; one that no file system takes is none."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def in_folder(folder: Path) -> Path:
    """Return the path of a folder's weights.

    Raises:
        CheckpointError: It has none; a pickle beside is named and not opened.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = [name for name in _PICKLES if (folder / name).exists()]
        more = f" Its '{pickles[0]}' is a pickle and was not opened." if pickles else ""
        raise CheckpointError(f"'{folder}' has no '{WEIGHTS}'.{more}")
    return path


def on_hub(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Fetch a repository's weights, or find them in the cache.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; None for the newest.
        token: For private repositories; None for the one that is logged in.
        cache_dir: None for huggingface_hub's own (``HF_HOME``).
        local_files_only: Read the cache alone.

    Raises:
        ModelError: The repository or the Hub cannot be reached, or it has no such file.
    """
    with explained(repo_id):
        path = huggingface_hub.hf_hub_download(
            repo_id,
            WEIGHTS,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            library_name="moenas",
        )
    return Path(path)


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Turn whatever the Hub's client raises into a `ModelError` that says what to do."""
    try:
        yield
    except MoENASError:
        raise
    except Exception as error:  # the client's errors, and its HTTP library's, share no base class
        raise ModelError(_sentence(repo_id, error)) from error


def _sentence(repo_id: str, error: BaseException) -> str:
    if isinstance(error, hub_errors.LocalEntryNotFoundError) and isinstance(
        error.__cause__, hub_errors.HfHubHTTPError
    ):
        error = error.__cause__  # the Hub was reached, and this is what it said
    if isinstance(error, hub_errors.HFValidationError):
        return (
            f"'{repo_id}' is neither a folder nor the id of a repository: write it like "
            "owner/name, letters, digits, '-', '_' and '.' only."
        )
    if isinstance(error, hub_errors.LocalEntryNotFoundError | hub_errors.OfflineModeIsEnabled):
        return (
            f"'{repo_id}' is not in the cache, and the Hugging Face Hub was not reached: connect "
            "to the network, or pass a folder that has the model."
        )
    if isinstance(error, hub_errors.GatedRepoError):
        return f"'{repo_id}' is gated: ask for access on its page, then run 'hf auth login'."
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return (
            f"There is no repository '{repo_id}' on the Hugging Face Hub, or it is private: check "
            "its name, or log in with 'hf auth login'."
        )
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"'{repo_id}' has no such revision: name a branch, a tag or a commit of it."
    if isinstance(error, hub_errors.EntryNotFoundError):
        return (
            f"'{repo_id}' has no '{WEIGHTS}': it is not a model that moenas saved. Pickles such as "
            f"'{_PICKLES[0]}' are not read."
        )
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return (
            f"The Hugging Face Hub refused access to '{repo_id}' ({status}): log in with "
            "'hf auth login', with a token that may do this."
        )
    reason = f"status {status}" if status else type(error.__cause__ or error).__name__
    return (
        f"The Hugging Face Hub could not be used for '{repo_id}' ({reason}): try again later, or "
        "use a folder."
    )
