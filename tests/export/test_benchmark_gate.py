"""``moenas benchmark --gate``: a verdict on stored scores, of COCO's labels alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx

from moenas.cli import main
from moenas.config import to_dict
from moenas.data.manifest import Manifest
from moenas.data.sources.coco import RULES, make_coco
from moenas.errors import DataError
from moenas.evaluation.scores import Scores
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import write_json
from moenas.workflows import benchmark_formats
from moenas.workflows.benchmark_entrants import Entrant, find_entrants
from moenas.workflows.benchmark_gate import GATES, judge
from moenas.workflows.data import make_manifest
from moenas.workflows.export import export
from published_data import write_coco

GATE = GATES["mlperf-tiny"]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small COCO."""
    folder = tmp_path_factory.mktemp("coco")
    write_coco(folder)
    return folder


@pytest.fixture
def scores(cards: Any) -> Scores:
    """Far above the gate."""
    found: Scores = cards[1].report.eager
    return with_accuracy(found, 0.85, 0.83, 0.87)


def with_accuracy(scores: Scores, accuracy: float, low: float, high: float) -> Scores:
    intervals = scores.intervals | {"accuracy": (low, high)}
    return dataclasses.replace(scores, accuracy=accuracy, intervals=intervals)


@pytest.fixture
def trained(coco: Path, checkpoint: Path, scores: Scores, tmp_path: Path) -> Path:
    """The checkpoint of a run on COCO by MLPerf Tiny's rule."""
    run = RunFolder(tmp_path / "run")
    folder = ModelFolder(run.path / "trials" / "small_vit-e312-s1")
    folder.path.mkdir(parents=True)
    write_json(run.config, {})
    make_coco(coco, "mlperf").save(run.manifest)
    shutil.copy(checkpoint, folder.checkpoint)
    store(folder, scores)
    return folder.checkpoint


def store(folder: ModelFolder, scores: Scores) -> None:
    found = {"report": to_dict(scores)}
    write_json(folder.scores, {"scores": found, "seconds": 1.0, "stopped_because": None})


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((0.80, 0.90), "passed"),
        ((0.79, 0.90), "not decided"),
        ((0.70, 0.80), "not decided"),
        ((0.70, 0.7999), "failed"),
    ],
)
@pytest.mark.parametrize("rule", ["mlperf", "vww"])
def test_the_interval_decides(
    scores: Scores, bounds: tuple[float, float], verdict: str, rule: str
) -> None:
    own = with_accuracy(scores, sum(bounds) / 2, *bounds)
    labelling = dataclasses.replace(RULES[rule], annotations=("instances_val2017.json",))
    result = judge(GATE, [Entrant("m", "onnx", scores=own, labelling=labelling)])
    (row,) = result.rows
    assert row.verdict == verdict
    assert (row.accuracy, row.low, row.high, row.images) == (own.accuracy, *bounds, own.n)
    assert f"rule {rule}" in str(row.labels)
    assert result.passed == (verdict == "passed")


def test_one_that_is_not_judged_holds_the_gate_shut(scores: Scores) -> None:
    good = Entrant("m", "onnx", scores=scores, labelling=RULES["mlperf"])
    result = judge(GATE, [good, Entrant("m", "openvino", note="not checked")])
    assert [row.verdict for row in result.rows] == ["passed", "not judged"]
    assert not result.passed
    assert str(result) == "1 passed, 1 not judged"
    assert judge(GATE, [good]).passed
    assert not judge(GATE, []).passed


def test_labels_of_another_making_are_refused(scores: Scores, checkpoint: Path) -> None:
    other = dataclasses.replace(RULES["vww"], above=0.01)
    for labelling in (None, other, dataclasses.replace(RULES["vww"], source="facet")):
        with pytest.raises(DataError, match="can neither pass nor fail"):
            judge(GATE, [Entrant("m", "onnx", scores=scores, labelling=labelling)])
    with pytest.raises(DataError, match="without a record"):  # in no run
        judge(GATE, [Entrant("m", "torch", source=checkpoint, scores=scores)])


def test_a_card_says_what_its_own_images_were(
    coco: Path, trained: Path, cards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (cards[0] / cards[1].file).read_bytes()
    monkeypatch.setattr(
        "moenas.export.onnx_file.onnx_model",
        lambda model, details: onnx.load_model_from_string(content),
    )
    assert cards[1].labelling is None  # of drawn scenes
    manifest = make_manifest((str(coco),), tmp_path / "vww", rule="vww")
    (card,) = export(trained, data=str(manifest))
    assert card.labelling == Manifest.load(manifest).labelling
    assert card.labelling.rule == "vww"
    own, file = find_entrants([trained], [])
    assert file.labelling == card.labelling
    row, other = judge(GATE, [own, file]).rows
    assert row.labels == "coco, rule mlperf (box > 2.5 %)"
    assert other.labels == "coco, rule vww (mask > 0.5 %)"


def test_the_command(
    trained: Path, scores: Scores, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(benchmark_formats, "ROUNDS", 20)
    monkeypatch.setattr("moenas.workflows.benchmark_lanes.memory_of", lambda *_: 7_000_000)
    call = ["benchmark", str(trained), "--gate", "mlperf-tiny", "--json"]
    assert main(call) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)["gate"]["rows"]
    assert (row["verdict"], row["accuracy"], row["format"]) == ("passed", 0.85, "torch")
    assert "passed: small_vit-e312-s1, torch: 85.0 % (95 %: 83.0 to 87.0" in err
    store(ModelFolder(trained.parent), with_accuracy(scores, 0.81, 0.78, 0.84))
    assert main(call) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["gate"]["rows"][0]["verdict"] == "not decided"
    assert "The gate 'mlperf-tiny' is not passed: 1 not decided." in err
    run = trained.parents[2]
    manifest = Manifest.load(run / "manifest.parquet")
    Manifest(manifest.frame, manifest.root).save(run / "manifest.parquet")
    measured: list[Any] = []
    monkeypatch.setattr(benchmark_formats, "prepare", lambda *each: measured.append(each))
    assert main(call) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert " ".join(err.split()).startswith("Error: The gate 'mlperf-tiny' is for images labelled")
    assert not measured  # refused before anything is timed
