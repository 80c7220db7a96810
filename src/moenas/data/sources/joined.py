"""Two data sets as one: one has the test's persons, the other trains and has images of nobody.

FACET shows persons in every image: a model that always says "person" would be perfect on it. So the
test's images without a person come from elsewhere, held out from training (PAPER row 3). Persons
are seen in all lights, so negatives are too: where their light is unknown, as COCO's, they are
taken as well lit, and as many as of the persons are shown in another light (simulated, seeded).
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from moenas.atomic import write_if_new
from moenas.data.images import read_image
from moenas.data.lighting import apply_lighting
from moenas.data.manifest import Manifest
from moenas.data.parallel import parallel_map
from moenas.errors import DataError
from moenas.predictions import LIGHTS
from moenas.runtime import generator

TEST = ("search", "report")
_RELIT = "images/relit"


def join_test_persons(
    persons: Manifest, base: Manifest, out_dir: Path | str, seed: int = 0
) -> Manifest:
    """Return a manifest that trains on ``base`` and tests on ``persons`` and base's negatives.

    Args:
        persons: Its splits search and report hold the test's persons, as `make_facet` makes them.
        base: Its splits train and val are used as they are, of search and report the images without
            a person; these belong to no group.
        out_dir: Gets the negatives that are shown in another light.
        seed: Of which negatives get which light, and of that light.

    Raises:
        DataError: A split lacks what it must have, or the files have no folder in common.
        RunFolderError: The folder cannot be written.
    """
    frame = base.frame
    learned = frame[frame["split"].isin(("train", "val"))]
    nobody = frame[frame["split"].isin(TEST) & (frame["label"] == 0)].copy()
    nobody["group"] = pd.NA  # whatever it was there, it is no skin tone of a person in the picture
    for split in ("train", "val"):
        if not (learned["split"] == split).any():
            raise DataError(f"The images that are to be trained on have no split '{split}'.")
    for split in TEST:
        if not (nobody["split"] == split).any():
            raise DataError(f"There are no images without a person in split '{split}' to test on.")
        if not (persons.frame["split"] == split).any():
            raise DataError(f"There are no persons in split '{split}' to test on.")
    root = _common_root([persons.root, base.root, Path(out_dir)])
    tested = persons.frame[persons.frame["split"].isin(TEST)]
    if nobody["lighting"].isna().all():
        nobody["lighting"] = _lights(nobody, tested, seed)
        nobody = _relit(nobody, base, root, Path(out_dir), seed)
        learned = _moved(learned, base.root, root)
    else:
        learned, nobody = (_moved(part, base.root, root) for part in (learned, nobody))
    parts = [learned, nobody, _moved(tested, persons.root, root)]
    return Manifest(pd.concat(parts, ignore_index=True), root)


def _common_root(folders: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath([folder.resolve() for folder in folders]))
    except ValueError:
        raise DataError(
            f"{', '.join(map(str, folders))} are on different drives: a manifest needs one folder "
            "above all its images."
        ) from None


def _moved(frame: pd.DataFrame, old: Path, new: Path) -> pd.DataFrame:
    prefix = old.resolve().relative_to(new).as_posix()
    return frame if prefix == "." else frame.assign(path=f"{prefix}/" + frame["path"])


def _lights(nobody: pd.DataFrame, persons: pd.DataFrame, seed: int) -> pd.Series:
    """Lights for images without a person, in the same shares as for persons of their split."""
    lights = pd.Series(None, index=nobody.index, dtype="str")
    for split in TEST:
        counts = persons.loc[persons["split"] == split, "lighting"].value_counts()
        shares = np.array([counts.get(light, 0) for light in LIGHTS], dtype=np.float64)
        rows = nobody.index[nobody["split"] == split].to_numpy()
        if not shares.any():
            continue
        ends = np.cumsum(shares) / shares.sum()
        places = (np.arange(len(rows)) + 0.5) / len(rows)
        order = generator(seed, "lights of nobody", split).permutation(rows)
        lights[order] = np.array(LIGHTS)[np.searchsorted(ends, places)]
    return lights


def _relit(
    nobody: pd.DataFrame, base: Manifest, root: Path, out_dir: Path, seed: int
) -> pd.DataFrame:
    """The rows with paths from ``root``; those that are not well lit are written anew."""
    result = _moved(nobody, base.root, root)
    dark = nobody[nobody["lighting"].notna() & (nobody["lighting"] != "well_lit")]
    jobs = [
        (base.file(path), light, name)
        for path, light, name in zip(dark["path"], dark["lighting"], dark["image_id"], strict=True)
    ]
    work = functools.partial(_relight, folder=out_dir / _RELIT, seed=seed)
    names = list(parallel_map(work, jobs))
    prefix = out_dir.resolve().relative_to(root).as_posix()
    for row, name in zip(dark.index, names, strict=True):
        if name is not None:
            result.loc[row, "path"] = f"{prefix}/{_RELIT}/{name}"
    return result


def _relight(job: tuple[Path, str, str], folder: Path, seed: int) -> str | None:
    """Write an image in another light; None where it cannot be read, which validation will tell."""
    file, light, name = job
    try:
        image = np.asarray(read_image(file))
    except DataError:
        return None
    shown = Image.fromarray(apply_lighting(image, light, generator(seed, "light", name)))
    data = io.BytesIO()
    shown.save(data, "JPEG", quality=95, subsampling=0)
    # Named by its content: another source has other pictures of the same name.
    relit = f"{hashlib.blake2b(data.getvalue(), digest_size=10).hexdigest()}.jpg"
    write_if_new(folder / relit, data.getvalue())
    return relit
