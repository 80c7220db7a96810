from __future__ import annotations

from pathlib import Path

import pytest
from audit_run import make_audit
from compared_runs import make_prune, make_search, make_train
from synthetic_run import make_run

from moenas.runs import RunFolder


@pytest.fixture
def full_run(tmp_path: Path) -> RunFolder:
    """A run folder that has everything."""
    return make_run(tmp_path / "full", trials=20)


@pytest.fixture(scope="session")
def audit_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished audit; it is shared and must not be changed."""
    return RunFolder.open(make_audit(tmp_path_factory.mktemp("audit") / "run").run)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches, a training and a pruning on the same images; not to be changed."""
    folder = tmp_path_factory.mktemp("compared")
    make_search(folder / "first")
    skills = (0.80, 0.62, 0.60)
    make_search(folder / "second", skills, start=5000, strategy="supernet", trials=9)
    make_train(folder / "one")
    make_prune(folder / "cut")
    return folder
