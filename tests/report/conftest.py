from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_run import make_run

from moenas.runs import RunFolder


@pytest.fixture
def full_run(tmp_path: Path) -> RunFolder:
    """A run folder that has everything."""
    return make_run(tmp_path / "full", trials=20)
