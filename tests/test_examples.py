"""Every example runs as it stands, on its own, and says something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SAYS = {
    "01": r"same output: True",
    "02": r"fairness 0\.\d+; a perfectly fair model would score\n0\.\d+",
    "03": r"40 trials, 40 distinct, 0 beyond the memory limit",
    "04": r"calm minus jumpy: \+0\.0\d+",
    "05": r"240 rows; checked\n  train: \d+ images",
    "06": r"kept [1-5] removals",
    "07": r"16 trials within 2,000,000 parameters.*\n  mobilevitv2_050-e\d{9}: ",
    "08": r"tinymixer-e1428: logits differ by \d\.\de[-+]\d\d",
    "09": r"epoch 3: loss \d",
    "10": r"severity 5: (3[6-9]|4[0-4]) %",
    "11": r"-quantum4x2: loss \d.*\n.*-classical4x2: loss \d.*\nas many parameters: True",
    "12": r"python 12_without_torch\.py MODEL\.onnx PHOTO\.jpg",  # tests/export runs it on a file
    "13": r"step 2: loss \d.*\nthe folder: .* model.safetensors\n.*moenas and timm: True",
    "14": r"2 jobs, 4 trials, 4 architectures",
}
"""What an example must have said, by its number: proof that it did its work."""

NEEDS = {"14": "submitit"}
"""Packages of examples that moenas itself never needs."""


def test_each_example_is_known() -> None:
    assert [path.name[:2] for path in EXAMPLES] == list(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    if path.name[:2] in NEEDS:
        pytest.importorskip(NEEDS[path.name[:2]])
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[path.name[:2]], done.stdout), done.stdout
    assert not list(tmp_path.iterdir()), "an example leaves files where it runs"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_documentation_shows_the_example(path: Path) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert f'--8<-- "examples/{path.name}"' in pages
