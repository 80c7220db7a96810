"""The doctor looks at a cache that nobody can use, too: that is when it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moenas.workflows import doctor as module
from moenas.workflows.doctor import doctor


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOENAS_KERNEL", "0")


def test_below_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "closed" / "cache"
    monkeypatch.setenv("MOENAS_CACHE", str(cache))
    exists = Path.exists

    def closed(path: Path) -> bool:  # as Path does to all users but root
        if path == cache:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(module.Path, "exists", closed)
    found = doctor()
    assert (found.cache, found.disk_bytes) == (str(cache), 0)
    assert "The cache cannot be used: [Errno 13]" in found.problems[0]
    assert "Set MOENAS_CACHE" in found.problems[0]


def test_of_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOENAS_CACHE")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and name
    found = doctor()
    assert (found.cache, found.disk_bytes) == ("", 0)
    assert "The cache cannot be used: Could not determine home directory" in found.problems[0]
