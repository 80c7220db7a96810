from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moenas.data.manifest import Manifest
from moenas.errors import DataError, RunFolderError
from moenas.evaluation.scores import score
from moenas.evaluation.threshold import best_threshold
from moenas.predictions import Predictions
from moenas.serialisation import read_json, write_json
from moenas.workflows.audit_findings import leading
from moenas.workflows.audit_predictions import audit_predictions
from moenas.workflows.doctor_run import examine
from moenas.workflows.predictions_file import read_predictions
from moenas.workflows.report import report
from moenas.workflows.verification import Verification
from moenas.workflows.verify import verify
from moenas.workflows.verify_audit import _table


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
        read_predictions(tmp_path / f"out.{kind}", str(scenes)).table for kind in ("csv", "parquet")
    )
    pd.testing.assert_frame_equal(table.frame, again.frame)  # the order of rows tells nothing
    known = Predictions(Manifest.load(scenes).frame.merge(said, on="image_id"))
    known = known.with_threshold(best_threshold(known.split("val")))
    result = audit_predictions([tmp_path / "out.csv"], tmp_path / "run", str(scenes))
    (model,) = result.models
    stored = read_json(tmp_path / "run" / "summary.json")["models"][0]["scores"]
    assert (stored["parameters"], stored["macs"]) == (None, None)  # nothing is known of it
    assert model.scores == score(known, split="report", parameters=0, macs=0)
    assert model.judgement
    assert "drawings" in read_json(tmp_path / "run" / "summary.json")["data"]["note"]
    assert "out has" in result.report.read_text()
    found = verify(tmp_path / "run")
    assert (found.models, found.problems) == (1, [])
    state = examine(tmp_path / "run")
    assert (state.models, state.begun, state.finished) == (1, 0, True)


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


@pytest.mark.slow
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


def test_an_empty_table_is_not_missed(tmp_path: Path) -> None:
    """An audit writes none."""
    found = Verification()
    _table(tmp_path / "intersections.csv", pd.DataFrame(columns=["model"]), found)
    assert found.problems == []
    _table(tmp_path / "intersections.csv", pd.DataFrame({"model": ["one"]}), found)
    assert found.problems == ["intersections.csv: it is missing"]


def test_null_is_no_missing_key_and_text_no_number() -> None:
    found = Verification()
    found.compare("model", {"p": None, "mean": 0.5}, {"p": None, "mean": 0.5})
    found.compare("model", {"p": None}, {"p": float("nan")})
    assert found.problems == []
    found.compare("model", {"mean": 0.5}, {"p": None, "mean": "x"})
    assert found.problems == [
        "model.mean: stored 0.5, recomputed 'x'",
        "model.p: stored nothing, recomputed None",
    ]
    found.problems.clear()
    for one, two in ((None, "x"), ("x", 0.5), (None, 0.5), (0.5, None)):
        found.compare("model", one, two)
    assert len(found.problems) == 4


def test_what_is_lost_or_of_another_shape_is_told(tmp_path: Path) -> None:
    labelled(n=80).to_csv(tmp_path / "a.csv", index=False)
    audit_predictions([tmp_path / "a.csv"], tmp_path / "run")
    (tmp_path / "run" / "audit.tex").unlink()
    (problem,) = verify(tmp_path / "run").problems
    assert problem.startswith("comparison.json: it cannot be recomputed: a file is missing")
    assert "audit.tex" in problem
    stored = read_json(tmp_path / "run" / "comparison.json")
    (tmp_path / "run" / "comparison.json").unlink()
    assert "a file of it is lost (comparison.json)" in verify(tmp_path / "run").problems[0]
    del stored["models"][0]["report"]["balanced_accuracy"]
    shapes = (([], "at the whole file"), ({"models": []}, "at models"), (stored, "of 'a'"))
    for shape, where in shapes:
        write_json(tmp_path / "run" / "comparison.json", shape)
        told = " ".join(verify(tmp_path / "run").problems)
        assert "comparison.json' is damaged or of another version" in told
        assert where in told
        with pytest.raises(RunFolderError, match=r"comparison\.json' is damaged"):
            report(tmp_path / "run")


def test_validation_images_without_weight_set_no_threshold(tmp_path: Path) -> None:
    """All images of one label weigh 0."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image_id": range(200), "label": np.tile([0, 1], 100)})
    frame["split"] = np.repeat(["val", "report"], 100)
    frame["probability"] = np.clip(0.3 * frame["label"] + rng.random(200) * 0.7, 0, 1)
    frame["weight"] = np.where((frame["split"] == "val") & (frame["label"] == 1), 0.0, 1.0)
    frame.to_csv(tmp_path / "out.csv", index=False)
    table = read_predictions(tmp_path / "out.csv").table
    assert (table.prediction == (frame["probability"].to_numpy() >= 0.5)).all()
    (model,) = audit_predictions([tmp_path / "out.csv"], tmp_path / "run").models
    assert "overfitting" not in model.report
    assert verify(tmp_path / "run").problems == []


def test_search_images_of_no_weight_choose_no_leader() -> None:
    frame = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "split": "search",
            "label": [0, 1] * 3,
            "prediction": [0, 1, 0, 1, 0, 0],
            "weight": [0.0, 1.0] * 3,
        }
    )
    better = Predictions(frame.assign(prediction=frame["label"]))
    assert leading({"first": Predictions(frame), "better": better}) == ("first", False)
    assert leading(
        {
            n: Predictions(t.frame.assign(weight=1.0))
            for n, t in {"first": Predictions(frame), "better": better}.items()
        }
    ) == ("better", True)


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
    (model,) = audit_predictions([tmp_path / "out.csv"], tmp_path / "run").models
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
    first, second, *rest = audit_predictions(files, tmp_path / "run").verdict
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
        ("columns", r"has no column 'image_id'\. It has: image, probability"),
        ("nothing said", "needs a column 'probability'.* or 'prediction'"),
        ("twice", r"out.parquet', row \d+: a second prediction of '.*'; the first is in row 4"),
        (
            "strange",
            r"row 0: the data do not have \d+ of its images: 'other-.*, \.\.\.; an image_id",
        ),
        ("few", r"lacks \d+ of \d+ images of split 'report' with.*may be what is hard"),
        ("range", "out.parquet', row 7: probability 1.5 is no number from 0 to 1"),
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
    (tmp_path / "out.txt").write_text("image_id,probability")
    with pytest.raises(DataError, match=r"give a \.csv or a \.parquet file"):
        read_predictions(tmp_path / "out.txt")


def labelled(n: int = 400, seed: int = 0, wrong: float = 0.1) -> pd.DataFrame:
    """What a program says that knows what it is shown: images without a person, then tones."""
    label = np.tile([0, 1], n // 2)
    return pd.DataFrame(
        {
            "image_id": [f"frame-{i}" for i in range(n)],
            "label": label,
            "prediction": label ^ (np.random.default_rng(seed).random(n) < wrong),
            "group": np.repeat([1, 2, 3, 4], n // 4),
        }
    )


def test_files_without_labels_need_data(said: pd.DataFrame, tmp_path: Path) -> None:
    said.to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(DataError, match=r"(?s)out\.csv' has no column 'label'.*--data MANIFEST"):
        audit_predictions([tmp_path / "out.csv"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_that_pandas_would_drop_and_endings_in_capitals(tmp_path: Path) -> None:
    names = ["NA", "null", "nan", "None", "007", *(f"x{i}" for i in range(395))]
    labelled().assign(image_id=names).to_csv(tmp_path / "out.CSV", index=False)
    labelled().assign(image_id=names).to_parquet(tmp_path / "other.PARQUET")
    for file in ("out.CSV", "other.PARQUET"):
        assert list(read_predictions(tmp_path / file).table.frame["image_id"]) == names
    labelled().assign(image_id=["", *names[1:]]).to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(DataError, match=r"out\.csv', row 0: image_id is missing"):
        read_predictions(tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, "row 9: weight -1.0 is no number that is finite and at least 0"),
        (np.inf, "row 9: weight inf is no number that is finite"),
        (np.nan, "row 9: weight nan is no number that is finite"),
    ],
)
def test_impossible_weights_name_file_and_row(tmp_path: Path, weight: float, message: str) -> None:
    frame = labelled().assign(weight=1.0)
    frame.loc[9, "weight"] = weight
    frame.to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(DataError, match=rf"out\.csv', {message}"):
        read_predictions(tmp_path / "out.csv")


def test_a_group_that_weighs_nothing_is_left_out_by_name(tmp_path: Path) -> None:
    frame = labelled()
    frame.assign(weight=np.where(frame["group"] == 4, 0.0, 1.0)).to_csv(
        tmp_path / "out.csv", index=False
    )
    result = audit_predictions([tmp_path / "out.csv"], tmp_path / "run")
    (model,) = result.models
    assert model.scores is not None
    assert [group.group for group in model.scores.groups] == [1, 2, 3]
    assert "Group 4 is left out: all their images weigh 0." in result.verdict
    frame.assign(weight=frame["label"]).to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(DataError, match="no image without a person on the report half, or none of"):
        audit_predictions([tmp_path / "out.csv"], tmp_path / "run")


def test_a_refused_call_leaves_the_folder_to_the_corrected_one(tmp_path: Path) -> None:
    good, bad, run = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "run"
    labelled().to_csv(good, index=False)
    labelled(200).to_csv(bad, index=False)
    for files in ([good, bad], [good, tmp_path / "none.csv"]):
        with pytest.raises(DataError):
            audit_predictions(files, run)
        assert not run.exists()
    assert len(audit_predictions([good], run).models) == 1


def test_devices_are_compared_on_the_images_of_all(tmp_path: Path) -> None:
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    labelled().drop([2, 399]).to_csv(files[0], index=False)
    labelled(seed=1).drop([0, 1]).to_csv(files[1], index=False)
    result = audit_predictions(files, tmp_path / "run")
    assert [model.scores.n for model in result.models if model.scores] == [396, 396]
    assert any(
        "4 of 400 images of split 'report' are not in all files" in sentence
        and "(group 1: 3 of 100; group 4: 1 of 100)" in sentence
        for sentence in result.verdict
    )
    # A tenth of one tone: few of all images, and perhaps the hard ones.
    labelled(seed=1).drop(range(10)).to_csv(files[1], index=False)
    with pytest.raises(
        DataError, match=r"missing of group 1\. '.*two\.csv' lacks the most, 'frame-0"
    ):
        audit_predictions(files, tmp_path / "b")


def test_files_that_disagree_about_an_image_name_it(tmp_path: Path) -> None:
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    labelled().to_csv(files[0], index=False)
    other = labelled(seed=1)
    other.loc[5, "group"] = 2
    other.to_csv(files[1], index=False)
    with pytest.raises(DataError, match=r"two\.csv', row 5: image 'frame-5' has group 2, and 1 in"):
        audit_predictions(files, tmp_path / "run")
    other.assign(image_id=[f"no-{i}" for i in range(400)]).to_csv(files[1], index=False)
    with pytest.raises(DataError, match="have no image in common"):
        audit_predictions(files, tmp_path / "run")
