"""``moenas export``: a trained model as files for devices, checked against the model itself."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from moenas.config import to_dict
from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.data.waiting import one_at_a_time
from moenas.errors import DataError, ModelError
from moenas.evaluation.predict import tabulate
from moenas.export.backends import BACKENDS, Source
from moenas.export.calibration import calibration_images
from moenas.export.card import ExportCard, ReportHalf, score_both
from moenas.export.exported import person
from moenas.export.formats import FORMATS, Format
from moenas.export.metadata import Details, preprocessing
from moenas.export.parity import (
    Agreement,
    Runner,
    compare,
    eager_answers,
    exported_answers,
    rows_of,
)
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of, parameters_of
from moenas.models.storage import load_model
from moenas.runs import (
    ModelFolder,
    cache_home,
    explain_os_error,
    find_checkpoint,
    remove_leftovers,
    run_of,
    write_bytes,
    write_json,
    write_text,
)
from moenas.workflows.data import open_manifest

LITTLE = 1 << 20
"""Bytes: a disk with no more room, on which a file could not be written, is full."""

CHECKED = ("val", "search")
"""Splits on which an export is held against its model; ``report`` is scored once, for the card."""


def export(
    checkpoint: Path | str,
    formats: Sequence[str] = ("onnx",),
    out: Path | str | None = None,
    *,
    data: str | Sequence[str] | None = None,
    force: bool = False,
) -> list[ExportCard]:
    """Write a checkpoint in other formats, each with its card (JSON and Markdown) beside it.

    Args:
        checkpoint: A model of ours.
        formats: Names of `FORMATS`.
        out: A folder; by default ``exports`` beside the checkpoint.
        data: Images to check with; by default those of the checkpoint's run, else ``emoji``.
        force: Write a file although it differs from its model; its card says so.

    Raises:
        ConfigError: Unknown format.
        MissingDependencyError: A format's extra is not installed.
        CheckpointError: The checkpoint cannot be used.
        DataError: The data cannot be used, or have neither a split ``val`` nor ``search``.
        ModelError: An export differs from its model beyond the tolerances, and was not written.
    """
    kinds = [FORMATS[name] for name in dict.fromkeys(formats)]
    for kind in kinds:
        kind.require()
    checkpoint = find_checkpoint(Path(checkpoint))
    model, card = load_model(checkpoint)
    architecture = Architecture.parse(card.architecture)
    parameters = parameters_of(architecture, card.num_classes)
    details = Details.of(card, parameters)
    run = run_of(Path(checkpoint))
    manifest = open_manifest(data or (str(run.manifest) if run else "emoji"), card.image_size)
    manifest.validate(check_images=False)
    images = cached_images(manifest, card.image_size, cache_home() / "images")
    source = ModelFolder(Path(checkpoint).parent)
    folder = source.exports if out is None else Path(out)
    remove_leftovers(folder)
    origin = Source(model, details, lambda: calibration_images(manifest, images))
    return [_export_one(kind, origin, manifest, images, folder, force) for kind in kinds]


def _export_one(
    kind: Format,
    source: Source,
    manifest: Manifest,
    images: ImageStore,
    folder: Path,
    force: bool,
) -> ExportCard:
    backend, details = BACKENDS[kind.name], source.details
    name = f"{details.architecture}{kind.suffix}"
    with tempfile.TemporaryDirectory() as scratch, _full_disk_told(Path(scratch) / name):
        backend.write(source, Path(scratch) / name)
        exported = backend.open(Path(scratch) / name)
        contents = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
    agreement = _check(source.model, exported, manifest, images, details.threshold)
    problems = tuple(p for each in agreement for p in each.problems(backend.tolerances))
    if problems and not force:
        raise ModelError(
            f"'{name}' was not written: it is not the model any more. "
            f"{'; '.join(problems)}. --force writes it all the same and says so in its card."
        )
    size = sum(map(len, contents.values()))
    card = ExportCard(
        format=kind.name,
        file=name,
        bytes=size,
        share_of_parameters=size / (4 * details.parameters),
        details=details,
        routing=kind.routing,
        tolerances=backend.tolerances,
        agreement=agreement,
        problems=problems,
        forced=bool(problems),
        report=_report(source.model, exported, manifest, images, details),
        preprocessing=preprocessing(kind.name),
        versions={
            package: importlib.metadata.version(package)
            for package in ("moenas", "torch", *(pip for _, pip in kind.packages))
        },
        sha256={part: hashlib.sha256(data).hexdigest() for part, data in contents.items()},
        labelling=manifest.labelling,
    )
    with one_at_a_time(folder / ".lock", "writes an export"):  # a file and its card are of one
        for part in sorted(contents, key=lambda part: part == name):  # what it reads is there first
            write_bytes(folder / part, contents[part])
        write_json(folder / f"{name}.json", to_dict(card))
        write_text(folder / f"{name}.md", card.markdown(kind))
    return card


@contextlib.contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    """Tell in one message that a file did not fit; each format's library says it in its own way.

    Raises:
        RunFolderError: The disk of temporary files is full.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or shutil.disk_usage(path.parent).free < LITTLE:
            raise explain_os_error(OSError(errno.ENOSPC, str(error)), path) from error
        raise


def _check(
    model: nn.Module,
    exported: Runner,
    manifest: Manifest,
    images: ImageStore,
    threshold: float,
) -> tuple[Agreement, ...]:
    found = []
    for split in CHECKED:
        rows = rows_of(manifest, images, split)
        if len(rows):
            ours = eager_answers(model, images.images, rows)
            theirs = exported_answers(exported, images.images, rows)
            found.append(compare(manifest, rows, ours, theirs, threshold))
    if not found:
        raise DataError(
            "An export is held against its model on the splits 'val' and 'search'; the data have "
            "neither. Name others with --data."
        )
    return tuple(found)


def _report(
    model: nn.Module,
    exported: Runner,
    manifest: Manifest,
    images: ImageStore,
    details: Details,
) -> ReportHalf | None:
    """Look at the report half, once; val travels along for overfitting."""
    if not len(rows_of(manifest, images, "report")):
        return None
    rows = np.concatenate([rows_of(manifest, images, split) for split in ("val", "report")])
    answers = (
        eager_answers(model, images.images, rows),
        exported_answers(exported, images.images, rows),
    )
    tables = [tabulate(manifest, rows, person(a.logits), details.threshold) for a in answers]
    architecture = Architecture.parse(details.architecture)
    macs = macs_of(architecture, details.image_size)
    return score_both(tables[0], tables[1], "report", details, macs)
