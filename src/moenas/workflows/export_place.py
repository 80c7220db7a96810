"""Where a checkpoint's exported files go, and whether another checkpoint's are there already."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from moenas.atomic import is_there
from moenas.config import from_dict
from moenas.errors import ConfigError, MoENASError
from moenas.export.card import Origin
from moenas.export.formats import Format
from moenas.export.metadata import Details
from moenas.runs import ModelFolder
from moenas.serialisation import read_json, sha256_of


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder for the files of one checkpoint.

    Their names have the architecture and no seed: in a folder that is not the model's own, a file
    of the same name may be another seed's.

    Attributes:
        folder: The folder.
        own: Whether it is the model's own, where whatever is there was made from it.
        origin: The checkpoint.
        details: Its card.
    """

    folder: Path
    own: bool
    origin: Origin
    details: Details

    def file(self, kind: Format) -> Path:
        """The file of a format."""
        return self.folder / f"{self.details.architecture}{kind.suffix}"

    def refuse_anothers(self, file: Path) -> None:
        """Check that a file that is there is of this checkpoint, as far as its card tells.

        Raises:
            ConfigError: It is another one's.
        """
        card = file.with_name(f"{file.name}.json")
        if self.own or not (is_there(file) and is_there(card)):
            return
        try:
            stored = read_json(card)
            known = from_dict(Origin, stored["origin"]) if stored.get("origin") else None
            details = from_dict(Details, stored["details"])  # in all that older cards have
        except (MoENASError, AttributeError, KeyError, TypeError):
            return  # nobody can tell what it was
        if details == self.details if known is None else known.sha256 == self.origin.sha256:
            return
        which = f", '{known.name}' (sha256 {known.sha256[:12]})" if known else ""
        raise ConfigError(
            f"'{file}' was exported from another checkpoint{which}; names of files have the "
            "architecture alone. Name another folder with --out, or delete that file first."
        )


def place_of(checkpoint: Path, out: Path | str | None, details: Details) -> Place:
    """Return where the files of a checkpoint go.

    Args:
        checkpoint: The checkpoint.
        out: A folder; None: ``exports`` beside the checkpoint.
        details: Its card.
    """
    model = ModelFolder(checkpoint.parent)
    folder = model.exports if out is None else Path(out)
    own = checkpoint == model.checkpoint and folder.resolve() == model.exports.resolve()
    name = "/".join(checkpoint.resolve().parts[-2:])
    return Place(folder, own, Origin(name, sha256_of(checkpoint)), details)
