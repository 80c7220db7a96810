from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def nursery(own_cache: Path) -> Iterator[object]:
    """Where processes come from that may be killed; see `Nursery`."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    from nursery import Nursery

    nursery = Nursery(HERE, HERE.parent, HERE.parent / "nas")
    assert nursery.run("time:time") == 0  # its imports are no part of any work's time
    yield nursery
    nursery.close()


sys.path[:0] = [str(HERE.parent / "nas"), str(HERE.parent)]  # fake_search, inline_executor
