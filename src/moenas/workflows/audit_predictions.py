"""``moenas audit --predictions``: judge what a device, or any other program, said of images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from moenas.console import logger
from moenas.data.counts import count_images, in_words, sources_of
from moenas.data.sources.emoji import note_on
from moenas.data.sources.opening import names_of
from moenas.errors import DataError
from moenas.run_log import working
from moenas.runs import RunFolder
from moenas.workflows.audit_findings import find
from moenas.workflows.audit_models import Candidate
from moenas.workflows.audit_writing import AuditResult, conclude
from moenas.workflows.common_images import on_common_images
from moenas.workflows.predictions_file import read_predictions


def audit_predictions(
    files: Sequence[Path | str],
    run: Path | str,
    data: str | Sequence[str] | None = None,
    *,
    image_size: int = 128,
) -> AuditResult:
    """Audit what other programs said of the same images; no model is needed.

    Nothing is written before all is read, checked and judged: a call that was refused leaves the
    run folder to the corrected one.

    Args:
        files: Tables of predictions, see `read_predictions`; each is named by its file.
        run: The run folder; an audit of the same files there is made anew.
        data: Says what the images show; needed where a file has no ``label``.
        image_size: Of drawn scenes.

    Raises:
        DataError: A file is no table of predictions, two have one name, or their images differ.
    """
    paths = [Path(file) for file in files]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise DataError(f"Files of one name cannot be told apart: {', '.join(map(str, paths))}.")
    start = time.monotonic()
    read = [read_predictions(path, data, image_size=image_size) for path in paths]
    if data is not None and all(each.labelled for each in read):
        logger.warning("The data are not looked at: every file says with 'label' what it shows.")
    answers, notes = on_common_images(read)
    judged = find([Candidate(each.name, (each.table,)) for each in answers], notes)
    sources = sources_of(*(each.table.frame for each in answers))
    settings = {
        "predictions": [str(path) for path in paths],
        "data": list(names_of(data)) if data is not None else [],
    }
    folder = RunFolder.create(run, "audit", settings)
    with working(folder, settings):
        for each in answers:
            each.table.save(folder.judged(each.name).predictions)
        return conclude(
            folder,
            judged,
            data={
                "source": in_words(sources),
                "counts": count_images(answers[0].table.frame),
                "note": note_on(sources),
            },
            image_size=None,
            seconds={"evaluation": round(time.monotonic() - start, 1)},
            device=torch.device("cpu"),
        )
