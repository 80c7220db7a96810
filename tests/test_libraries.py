"""A library that cannot be imported is named, by every command and the doctor above all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moenas.libraries import CORE, broken_libraries, version_of

PROGRAM = "import sys; from moenas.cli import main; sys.exit(main(sys.argv[1:]))"


def test_nothing_is_broken_here() -> None:
    assert broken_libraries() == {}
    assert all(version_of(name) for name in CORE)


def test_the_doctor_names_a_broken_library_instead_of_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('no libcudart\\nmore')")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", "--json"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    told = " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot be imported: torch {version_of('torch')} (RuntimeError: no libcudart);" in told
    assert "pip install --force-reinstall moenas" in told
    assert "Traceback" not in told


def test_it_names_one_that_it_does_not_need_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from moenas.workflows.doctor import doctor

    monkeypatch.setenv("MOENAS_KERNEL", "0")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    (problem,) = [each for each in doctor().problems if "xgboost" in each]
    assert f"cannot be imported: xgboost {version_of('xgboost')} (ModuleNotFoundError" in problem


def test_a_fault_of_ours_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from moenas.cli import load, main

    monkeypatch.setitem(sys.modules, "moenas.cli.commands.verify", None)
    with pytest.raises(ModuleNotFoundError):
        load("verify")
    assert main(["verify", "x"]) == 4
