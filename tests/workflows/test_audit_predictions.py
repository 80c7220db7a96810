from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.evaluation.scores import score
from moenas.evaluation.threshold import best_threshold
from moenas.predictions import Predictions
from moenas.runs import read_json, write_json
from moenas.workflows.audit_predictions import audit_predictions, read_predictions
from moenas.workflows.verify import verify


@pytest.fixture
def said(scenes: Path) -> pd.DataFrame:
    """What some program says of the scenes; it is mostly right."""
    frame = Manifest.load(scenes).frame
    frame = frame[frame["split"] != "train"]
    noise = np.random.default_rng(0).normal(0, 0.2, len(frame))
    probability = np.clip(0.25 + 0.5 * frame["label"].to_numpy() + noise, 0, 1)
    return pd.DataFrame({"image_id": frame["image_id"].to_numpy(), "probability": probability})


def test_a_devices_outputs(said: pd.DataFrame, scenes: Path, tmp_path: Path) -> None:
    said.sample(frac=1, random_state=1).to_csv(tmp_path / "out.csv", index=False)
    said.to_parquet(tmp_path / "out.parquet")
    table, again = (
        read_predictions(tmp_path / f"out.{kind}", str(scenes)) for kind in ("csv", "parquet")
    )
    pd.testing.assert_frame_equal(table.frame, again.frame)  # the order of rows tells nothing
    known = Predictions(Manifest.load(scenes).frame.merge(said, on="image_id"))
    known = known.with_threshold(best_threshold(known.split("val")))
    result = audit_predictions([tmp_path / "out.csv"], tmp_path / "run", str(scenes))
    (model,) = result.models
    assert model.scores == score(known, split="report", parameters=0, macs=0)
    assert model.judgement
    assert "drawings" in read_json(tmp_path / "run" / "summary.json")["data"]["note"]
    assert "out has" in result.report.read_text()
    found = verify(tmp_path / "run")
    assert (found.models, found.problems) == (1, [])


def test_two_devices_are_compared(said: pd.DataFrame, scenes: Path, tmp_path: Path) -> None:
    said.to_csv(tmp_path / "one.csv", index=False)
    blind = said.assign(probability=np.random.default_rng(1).random(len(said)))
    blind.to_csv(tmp_path / "two.csv", index=False)
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    result = audit_predictions(files, tmp_path / "run", str(scenes))
    assert [model.model for model in result.models] == ["one", "two"]
    assert "two is not shown to be better than guessing" in " ".join(result.verdict)
    assert verify(tmp_path / "run").problems == []
    (tmp_path / "other").mkdir()
    said.to_csv(tmp_path / "other" / "one.csv", index=False)
    with pytest.raises(DataError, match="one name cannot be told apart"):
        audit_predictions([*files, tmp_path / "other" / "one.csv"], tmp_path / "b", str(scenes))


FORGERIES = {
    "the verdict": ("summary.json", "is not shown to be", "is shown to be"),
    "the same in the comparison": ("comparison.json", "is not shown to be", "is shown to be"),
    "a judgement": ("summary.json", "It is not shown", "It is shown"),
    "the leader": ("summary.json", '"leader": "one"', '"leader": "two"'),
    "the table": ("audit.csv", "one,,", "one,ResNet18,"),
    "the table for papers": ("audit.tex", "one", "two"),
    "answers": ("answers.csv", "two,one", "one,two"),
    "combinations": ("intersections.csv", "dimly_lit", "well_lit"),
    "labels": ("sensitivity.csv", "two", "too"),
}


def test_a_forged_audit_is_found_out(said: pd.DataFrame, scenes: Path, tmp_path: Path) -> None:
    said.to_csv(tmp_path / "one.csv", index=False)
    blind = said.assign(probability=np.random.default_rng(1).random(len(said)))
    blind.to_csv(tmp_path / "two.csv", index=False)
    run = tmp_path / "run"
    audit_predictions([tmp_path / "one.csv", tmp_path / "two.csv"], run, str(scenes))
    for what, (file, true, false) in FORGERIES.items():
        path = run / file
        honest = path.read_text(encoding="utf-8")
        assert true in honest, what
        path.write_text(honest.replace(true, false, 1), encoding="utf-8")
        assert verify(run).problems, what
        path.write_text(honest, encoding="utf-8")
    assert verify(run).problems == []
    for name in ("answers.csv", "sensitivity.csv"):  # a model or a table is missing
        kept = (run / name).read_bytes()
        (run / name).unlink()
        assert verify(run).problems == [f"{name}: it is missing"]
        (run / name).write_bytes(kept)
    for name in ("summary.json", "comparison.json"):
        whole = read_json(run / name)
        write_json(run / name, whole | {"models": whole["models"][:1]})
        assert verify(run).problems, name
        write_json(run / name, whole)


def test_a_file_that_knows_its_labels_needs_no_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "image_id": [f"frame-{i}" for i in range(400)],
            "label": np.tile([0, 1], 200),
            "prediction": np.tile([0, 1], 200) ^ (rng.random(400) < 0.1),
            "group": np.repeat([1, 2], 200),
        }
    )
    frame.to_csv(tmp_path / "out.csv", index=False)
    (model,) = audit_predictions([tmp_path / "out.csv"], tmp_path / "run", "no such data").models
    right = (frame["label"] == frame["prediction"]).mean()
    assert model.scores is not None
    assert model.scores.accuracy == pytest.approx(right)


def test_a_leader_that_was_only_named_first_is_not_praised(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image_id": [f"i{i}" for i in range(400)], "label": np.tile([0, 1], 200)})
    right = np.random.default_rng(0).random(400) < 0.9
    frame.assign(prediction=1).to_csv(tmp_path / "always.csv", index=False)
    good = np.where(right, frame["label"], 1 - frame["label"])
    frame.assign(prediction=good).to_csv(tmp_path / "good.csv", index=False)
    files = [tmp_path / "always.csv", tmp_path / "good.csv"]
    first, second, *rest = audit_predictions(files, tmp_path / "run", "no such data").verdict
    assert first.startswith("always is not shown to be better than guessing")
    assert second.startswith("2 models are compared with always, which was named first")
    assert "Of the others, 1 is more accurate." in second
    assert all("search half" not in sentence for sentence in (first, second, *rest))


def break_it(said: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "columns":
        return said.rename(columns={"image_id": "image"})
    if how == "nothing said":
        return said[["image_id"]]
    if how == "twice":
        return pd.concat([said, said.iloc[[4]]])
    if how == "strange":
        return said.assign(image_id=["other-" + name for name in said["image_id"]])
    if how == "few":
        return said.iloc[: len(said) - 40]
    return said.assign(probability=np.where(np.arange(len(said)) == 7, 1.5, said["probability"]))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("columns", "has no column 'image_id'"),
        ("nothing said", "need a column 'probability' or 'prediction'"),
        ("twice", r"row \d+: a second prediction of"),
        ("strange", r"images that the data do not have: 'other-.*, \.\.\.; their image_id"),
        ("few", r"lacks \d+ of \d+ images of split 'report'.*may be what is hard"),
        ("range", "Row 7 of the predictions: probability 1.5 is no number from 0 to 1"),
    ],
)
def test_wrong_files(
    said: pd.DataFrame, scenes: Path, tmp_path: Path, how: str, message: str
) -> None:
    break_it(said, how).to_parquet(tmp_path / "out.parquet")
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "out.parquet", str(scenes))


def test_no_file_and_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no predictions file"):
        read_predictions(tmp_path / "out.parquet")
    (tmp_path / "out.parquet").write_text("image_id,probability")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "out.parquet")
