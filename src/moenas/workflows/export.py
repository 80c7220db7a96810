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

from moenas.atomic import explain_os_error, remove_leftovers, write_bytes, write_text
from moenas.config import to_dict
from moenas.console import logger
from moenas.data.cache import cached_images
from moenas.data.counts import sources_of
from moenas.data.manifest import Manifest
from moenas.data.waiting import one_at_a_time
from moenas.errors import ConfigError, ModelError
from moenas.export.backends import BACKENDS, Source
from moenas.export.calibration import calibration_images
from moenas.export.card import ExportCard
from moenas.export.checking import Check
from moenas.export.formats import FORMATS, Format
from moenas.export.metadata import Details, preprocessing
from moenas.models.architecture import Architecture
from moenas.models.cost import parameters_of
from moenas.models.storage import ModelCard, load_model
from moenas.runs import cache_home, find_checkpoint, run_of
from moenas.serialisation import write_json
from moenas.workflows.data import open_manifest
from moenas.workflows.export_place import Place, place_of

EXPERTS_ALONE = "onnx-int8-weights"
"""The format that leaves all but the experts as it is."""

LITTLE = 1 << 20
"""Bytes: a disk with no more room, on which a file could not be written, is full."""


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
        ConfigError: Unknown format, one that would change nothing of a model without experts, or
            ``out`` has a file of that name of another checkpoint.
        MissingDependencyError: A format's extra is not installed.
        CheckpointError: The checkpoint cannot be used.
        DataError: The data cannot be used, or have neither a split ``val`` nor ``search``.
        ModelError: The model has not two classes; or an export differs from its model beyond the
            tolerances, and was not written.
    """
    kinds = [FORMATS[name] for name in dict.fromkeys(formats)]
    for kind in kinds:
        kind.require()
    checkpoint = find_checkpoint(Path(checkpoint))
    model, card = load_model(checkpoint)
    architecture = Architecture.parse(card.architecture)
    _check_exportable(checkpoint, card, architecture, kinds)
    parameters = parameters_of(architecture, card.num_classes)
    details = Details.of(card, parameters)
    place = place_of(checkpoint, out, details)
    for kind in kinds:
        place.refuse_anothers(place.file(kind))
    run = run_of(checkpoint)
    if run is None and not data:
        logger.warning(
            "'%s' lies in no run: drawn scenes check its exports, and give int8 its ranges. If it "
            "was trained on other images, name them with --data.",
            checkpoint,
        )
    manifest = open_manifest(data or (str(run.manifest) if run else "emoji"), card.image_size)
    manifest.validate(check_images=False)
    images = cached_images(manifest, card.image_size, cache_home() / "images")
    remove_leftovers(place.folder)
    source = Source(model, details, lambda: calibration_images(manifest, images))
    check = Check(model, details, manifest, images)
    return [_export_one(kind, source, check, place, manifest, force) for kind in kinds]


def _check_exportable(
    checkpoint: Path, card: ModelCard, architecture: Architecture, kinds: Sequence[Format]
) -> None:
    """Refuse what cannot be held against its model, or would not be what its name says."""
    if card.num_classes != 2:
        raise ModelError(
            f"'{checkpoint}' was built with num_classes={card.num_classes}. An export is held "
            "against its model by the probability of a person: two classes are needed, no person "
            "and person."
        )
    if architecture.dense and any(kind.name == EXPERTS_ALONE for kind in kinds):
        raise ConfigError(
            f"'{checkpoint}' has no experts, whose weights alone '{EXPERTS_ALONE}' makes smaller: "
            "its file would be that of 'onnx'. Take 'onnx' or 'onnx-int8'."
        )


def _export_one(
    kind: Format,
    source: Source,
    check: Check,
    place: Place,
    manifest: Manifest,
    force: bool,
) -> ExportCard:
    backend, details = BACKENDS[kind.name], source.details
    name = place.file(kind).name
    with tempfile.TemporaryDirectory() as scratch, _full_disk_told(Path(scratch) / name):
        backend.write(source, Path(scratch) / name)
        exported = backend.open(Path(scratch) / name)
        contents = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
    checked = check.of(exported)
    problems = tuple(p for each in checked.agreement for p in each.problems(backend.tolerances))
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
        agreement=checked.agreement,
        problems=problems,
        forced=bool(problems),
        report=check.report(exported, checked),
        preprocessing=preprocessing(kind.name),
        versions={
            package: importlib.metadata.version(package)
            for package in ("moenas", "torch", *(pip for _, pip in kind.packages))
        },
        sha256={part: hashlib.sha256(data).hexdigest() for part, data in contents.items()},
        labelling=manifest.labelling,
        origin=place.origin,
        sources=tuple(sources_of(manifest.frame)),
    )
    folder = place.folder
    with one_at_a_time(folder / ".lock", "writes an export"):  # a file and its card are of one
        place.refuse_anothers(folder / name)
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
