"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from moenas.workflows.settings import Cluster, Resources

Json = Annotated[bool, tyro.conf.arg(name="json", help="Print the result as JSON to stdout.")]
Run = Annotated[Path, tyro.conf.arg(help="Run folder; an unfinished run there goes on.")]
Checkpoint = Annotated[
    tyro.conf.Positional[Path],
    tyro.conf.arg(help="A model: its file, its folder, or a run that has no other."),
]
Data = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        help="'emoji', a manifest, a CSV, a folder of images or a published data set; or FACET's "
        "folder and another one."
    ),
]
ANY = Resources()
ANYWHERE = Cluster()
