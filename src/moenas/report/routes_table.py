"""The table of routes that a run folder holds."""

from __future__ import annotations

import pandas as pd

from moenas.errors import RunFolderError
from moenas.runs import RunFolder
from moenas.serialisation import read_parquet


def read_routes(run: RunFolder) -> pd.DataFrame:
    """Return ``routes.parquet``.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    try:
        return read_parquet(run.routes)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"'{run.routes}' cannot be read: {error}.") from error
