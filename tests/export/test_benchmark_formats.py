"""``moenas benchmark PATHS``: a row for each model and format, whatever happens to the others."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from moenas.cli import main  # noqa: E402
from moenas.config import to_dict  # noqa: E402
from moenas.errors import CheckpointError, ConfigError, ModelError  # noqa: E402
from moenas.export import measuring  # noqa: E402
from moenas.export.backends import BACKENDS  # noqa: E402
from moenas.export.measuring import memory_of  # noqa: E402
from moenas.runs import ModelFolder  # noqa: E402
from moenas.serialisation import read_json, write_json  # noqa: E402
from moenas.workflows import benchmark_formats as workflow  # noqa: E402
from moenas.workflows import benchmark_lanes as lanes  # noqa: E402
from moenas.workflows.benchmark_entrants import find_entrants  # noqa: E402
from moenas.workflows.benchmark_formats import FormatRow, benchmark_formats  # noqa: E402


@pytest.fixture
def folder(checkpoint: Path, cards: Any, tmp_path: Path) -> ModelFolder:
    """A trained model with its scores and an ONNX file."""
    result = ModelFolder(tmp_path / "small_vit-e312-s1")
    result.path.mkdir()
    shutil.copy(checkpoint, result.checkpoint)
    shutil.copytree(cards[0], result.exports)
    scores = {"report": to_dict(cards[1].report.eager)}
    write_json(result.scores, {"scores": scores, "seconds": 1.0, "stopped_because": None})
    return result


@pytest.fixture
def quick(cards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rounds, no torch exporter, and no fresh processes, which don't know these tests' base."""
    content = (cards[0] / cards[1].file).read_bytes()
    monkeypatch.setattr(
        "moenas.export.onnx_file.onnx_model",
        lambda model, details: onnx.load_model_from_string(content),
    )
    monkeypatch.setattr(workflow, "ROUNDS", 20)
    monkeypatch.setattr(lanes, "memory_of", lambda *_: 7_000_000)


def by_format(rows: tuple[FormatRow, ...], model: str) -> dict[str, FormatRow]:
    return {row.format: row for row in rows if row.model.startswith(model)}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_model_in_its_formats_beside_the_dense_base(folder: ModelFolder, cards: Any) -> None:
    found = benchmark_formats([folder.path], ["onnx", "onnx-int8"], batch=2)
    rows = by_format(found.rows, "small_vit-e312-s1")
    assert list(rows) == ["torch", "onnx", "onnx-int8"]
    dense = by_format(found.rows, "dense base small_vit")
    assert list(dense) == list(rows)
    for row in found.rows:
        assert row.status == "ok"
        assert row.p50_ms is not None
        assert row.p95_ms is not None
        assert 0 < row.p50_ms <= row.p95_ms
        assert row.memory_bytes == 7_000_000
    for row in dense.values():
        assert row.times_dense == 1
        assert row.parameters is not None
        assert row.parameters < cards[1].details.parameters
    file, temporary = rows["onnx"], rows["onnx-int8"]
    assert file.times_dense != 1
    assert file.bytes == cards[1].bytes
    assert file.accuracy == cards[1].report.exported.balanced_accuracy
    assert file.fairness == cards[1].report.exported.fairness
    assert rows["torch"].accuracy == cards[1].report.eager.balanced_accuracy
    assert temporary.accuracy is None
    assert temporary.note == "exported for this table alone, not checked"
    assert temporary.bytes is not None
    assert temporary.bytes < 0.5 * file.bytes
    assert found.images == "noise"
    assert found.batch == 2
    assert sorted(path.name for path in folder.exports.iterdir()) == sorted(
        path.name for path in cards[0].iterdir()
    )


@pytest.mark.usefixtures("quick")
def test_what_fails_has_a_row_and_the_others_go_on(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Any, path: Path) -> None:
        raise RuntimeError("no operator for this\nand a long story")

    monkeypatch.setitem(BACKENDS, "pt2", dataclasses.replace(BACKENDS["pt2"], write=fail))
    find = lanes.FORMATS["openvino"].__class__.missing.fget
    monkeypatch.setattr(
        "moenas.export.formats.Format.missing",
        property(lambda kind: "openvino" if kind.name == "openvino" else find(kind)),  # type: ignore[misc]
    )
    runs = 0

    def open_timed(kind: str, path: Path, threads: int) -> measuring.Answer:
        answer = measuring.open_timed(kind, path, threads)

        def later(images: Any) -> object:
            nonlocal runs
            runs += 1
            if runs > 9:
                raise ValueError("out of breath")
            return answer(images)

        return later if kind == "torch" else answer

    monkeypatch.setattr(lanes, "open_timed", open_timed)
    rows = by_format(
        benchmark_formats([folder.path], ["openvino", "pt2"]).rows, "small_vit-e312-s1"
    )
    assert rows["openvino"].status == "missing extra: pip install 'moenas[openvino]'"
    assert rows["pt2"].status == "failed: no operator for this"
    assert rows["torch"].status == "failed: out of breath"
    assert rows["torch"].p50_ms is None
    assert rows["onnx"].status == "ok"
    assert rows["onnx"].times_dense is not None


@pytest.mark.usefixtures("quick")
def test_what_a_format_cannot_do_is_not_measured(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image at a time, one thread: such a row beside others would be of something else."""
    monkeypatch.delitem(measuring._OPENERS, "pt2")
    fixed = dataclasses.replace(lanes.FORMATS["onnx-int8"], dynamic_batch=False)
    monkeypatch.setitem(lanes.FORMATS._items, "onnx-int8", fixed)
    found = benchmark_formats([folder.path], ["pt2", "onnx-int8"], threads=2, batch=2)
    rows = by_format(found.rows, "small_vit-e312-s1")
    assert rows["pt2"].status == "failed: it runs on one thread"
    assert rows["onnx-int8"].status == "failed: it takes one image at a time"
    assert rows["onnx"].status == rows["torch"].status == "ok"


def test_a_card_of_another_file_says_nothing(folder: ModelFolder, cards: Any) -> None:
    path = folder.exports / cards[1].file
    assert find_entrants([path], [])[0].scores is not None
    beside = path.with_name(f"{path.name}.json")
    card = read_json(beside)
    for change, note in (
        ({"sha256": {}}, "older"),
        ({"sha256": {path.name: "0" * 64}}, "of another file"),
        ({"sha256": {beside.name: "0" * 64}}, "of another file"),
        ({"report": 3}, "cannot be read"),
        ({"report": None}, "no report half"),
    ):
        beside.write_text(json.dumps(card | change))
        (entrant,) = find_entrants([path], [])
        assert entrant.scores is None
        assert note in entrant.note
        assert entrant.file == path
    beside.unlink()
    assert "no card" in find_entrants([path], [])[0].note
    path.write_bytes(path.read_bytes()[:-100])
    (entrant,) = find_entrants([path], [])
    assert entrant.file is None
    assert "damaged" in entrant.problem


def test_weights_beside_a_file_count_without_a_card(tmp_path: Path) -> None:
    for name, weights in (("x.xml", "x.bin"), ("x.ncnn.param", "x.ncnn.bin")):
        (tmp_path / name).write_bytes(bytes(10))
        assert find_entrants([tmp_path / name], [])[0].size == 10
        (tmp_path / weights).write_bytes(bytes(300))
        assert find_entrants([tmp_path / name], [])[0].size == 310


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.usefixtures("quick")
def test_files_that_their_runtime_would_trust_are_not_opened(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone.pt2").write_bytes(pickle.dumps(Bomb()))
    shutil.copy(tmp_path / "alone.pt2", folder.exports / "small_vit-e312.pt2")
    written: list[Path] = []

    def write(source: Any, path: Path) -> None:
        written.append(path)
        raise RuntimeError("enough")

    monkeypatch.setitem(BACKENDS, "pt2", dataclasses.replace(BACKENDS["pt2"], write=write))
    alone, beside = (
        benchmark_formats([path]).rows[0]
        for path in (tmp_path / "alone.pt2", folder.exports / "small_vit-e312.pt2")
    )
    assert alone.status.startswith("refused: its runtime trusts what a file says")
    assert beside.status == "failed: enough"  # of the file that was to be written anew
    assert len(written) == 2  # its own, and the dense base's
    assert folder.path not in {path.parents[1] for path in written}
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
def test_the_finalists_of_a_run(tiny_run: Path) -> None:
    models = read_json(tiny_run / "comparison.json")["models"]
    wanted = [m for m in models if m["role"] in ("finalist", "pruned")]
    found = find_entrants([tiny_run], ["onnx"])
    assert [each.kind for each in found] == ["torch", "onnx"] * len(wanted)
    for model, own in zip(wanted, found[::2], strict=True):
        assert own.model.startswith(model["architecture"])
        assert own.details is not None
        assert own.details.parameters == model["parameters"]
        assert own.scores is not None
        assert own.scores.split == "report"
    with pytest.raises(ConfigError, match="Did you mean 'onnx'"):
        find_entrants([tiny_run], ["onxx"])
    with pytest.raises(CheckpointError, match="does not exist"):
        find_entrants([tiny_run / "none"], [])


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(
    cards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    (tmp_path / "random.py").write_text("raise SystemExit('of the current folder')")
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "one.npy", np.zeros((1, 32, 32, 3), np.uint8))
    small = memory_of("onnx", cards[0] / cards[1].file, tmp_path / "one.npy", 1)
    assert cards[1].bytes < small < 300e6
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        memory_of("onnx", tmp_path / "bad.onnx", tmp_path / "one.npy", 1)


def test_the_table_fits_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = max(lanes.FORMATS, key=len)
    full = FormatRow(
        "m", name, 12_340_000, 3_000_000, 0.9876, 0.5, 12.34, 56.78, 1.23, 26_800_000, "ok"
    )
    bad = dataclasses.replace(full, status="missing extra: pip install", p50_ms=None, accuracy=None)
    other = dataclasses.replace(full, model="other", format="pt2", p50_ms=1.0, bytes=1)
    result = workflow.FormatBenchmark((full, bad, other), "a processor", 1, 1, 100, "noise")
    monkeypatch.setattr("moenas.cli.commands.benchmark.benchmark_formats", lambda *_, **__: result)
    monkeypatch.setattr("moenas.console.console._width", 80)
    assert main(["benchmark", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"][0]["accuracy"] == 0.9876
    lines = [line for line in err.splitlines() if line.startswith(("│", "┃"))]
    assert max(map(len, lines)) <= 80
    assert len(set(map(len, lines))) == 1  # models' tables stand in line
    for cell in (name, "12.3", "98.8", "56.8", "1.23", " 27 ", "missing", "status", "1.00"):
        assert any(cell in line for line in lines), cell
    assert f"m, {name}: missing extra: pip install" in err
