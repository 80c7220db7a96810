from __future__ import annotations

from pathlib import Path

import pytest
from audit_run import make_audit
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
