"""Each target of ``fuzz/`` runs for a while: the same inputs each time. ``make fuzz`` goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNS = {
    "images": 10_000,
    "checkpoint": 10_000,
    "run_folder": 10_000,
    "onnx_file": 10_000,
    "manifest": 10_000,
}


def run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / f"{name}.py"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_no_target_is_forgotten() -> None:
    assert {path.stem for path in (ROOT / "fuzz").glob("*.py")} == {*RUNS, "harness"}
    assert all(name in (ROOT / "Makefile").read_text() for name in RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_any_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = run(name, tmp_path, "--runs", str(RUNS[name]), "--seed", "1")
    assert f"{RUNS[name]} runs without a finding" in done.stdout, done.stdout[-3000:]


def test_a_finding_is_told_and_kept(tmp_path: Path) -> None:
    """The negative control: where reading fails in another way, the target says so."""
    pytest.importorskip("atheris")
    (tmp_path / "sitecustomize.py").write_text(
        "import json\n"
        "whole = json.loads\n"
        "def loads(text, **options):\n"
        "    if len(text) % 7 == 3: raise ZeroDivisionError('planted')\n"
        "    return whole(text, **options)\n"
        "json.loads = loads\n"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / "run_folder.py"), "--runs", "1000", "--seed", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0
    assert "ZeroDivisionError: planted" in done.stdout
    assert list((tmp_path / "build" / "fuzz").glob("crash-*"))
