"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from moenas.workflows.settings import Resources

Json = Annotated[bool, tyro.conf.arg(name="json", help="Print the result as JSON to stdout.")]
Run = Annotated[Path, tyro.conf.arg(help="Run folder; an unfinished run there goes on.")]
Checkpoint = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="A model.")]
Data = Annotated[str, tyro.conf.arg(help="'emoji', a manifest, a CSV, or a folder of images.")]
ANY = Resources()
