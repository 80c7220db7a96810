from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from moenas.data.manifest import Manifest
from moenas.data.skipped import skipped_table, tell_skipped
from moenas.errors import DataError


@pytest.fixture
def frame() -> pd.DataFrame:
    """60 images of group 1, 40 of group 2 and 30 of nobody, all of one split."""
    group = pd.array([1] * 60 + [2] * 40 + [None] * 30, dtype="Int16")
    return pd.DataFrame({"split": "report", "label": [1] * 100 + [0] * 30, "group": group})


def mask(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    result = np.zeros(130, dtype=np.bool_)
    result[list(rows)] = True
    return result


def test_what_is_skipped_is_counted_per_group(frame, caplog):
    found = skipped_table(frame, mask(3, 4, 70, 129))
    assert found["n"].tolist() == [30, 60, 40]
    assert found["skipped"].tolist() == [1, 2, 1]
    with caplog.at_level(logging.WARNING, logger="moenas"):
        tell_skipped(frame, mask(3, 4, 70, 129), "it is torn")
    for words in ("4 of 130", "group 1: 2 of 60", "group 2: 1 of 40", "without: 1 of 30",
                  "The first rows: 3, 4, 70, 129", "it is torn", "left out"):  # fmt: skip
        assert words in caplog.text
    caplog.clear()
    tell_skipped(frame, mask(), "")
    assert not caplog.text


def test_too_many_of_one_group_fail(frame):
    tell_skipped(frame, mask(60, 61), "torn")  # 2 of 40: just 5 %
    with pytest.raises(DataError, match=r"More than 5 % are missing in: .*group 2: 3 of 40\. Get"):
        tell_skipped(frame, mask(60, 61, 62), "torn")
    tell_skipped(frame, mask(60, 61, 62), "torn", at_most=0.1)


def test_a_manifest_leaves_out_what_cannot_be_read(manifest: Manifest, caplog) -> None:
    file = manifest.file("04.png")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"group 2: 1 of 1\. Get these files"):
        manifest.checked()
    with caplog.at_level(logging.WARNING, logger="moenas"):
        left = manifest.checked(skip_at_most=1)
    assert "04.png" in caplog.text
    assert left.frame["path"].tolist() == [p for p in manifest.frame["path"] if p != "04.png"]


def test_a_path_that_leaves_the_folder_is_not_opened(manifest: Manifest) -> None:
    frame = manifest.frame.copy()
    frame.loc[2, "path"] = "../../etc/passwd"
    with pytest.raises(DataError, match="leaves the folder of the manifest: row 2"):
        Manifest(frame, manifest.root).checked()
