"""Several runs side by side: which images count, what is tested, what is said, what is missing."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from compared_runs import LARGE, NOTE, World, answers, make_small_audit, make_train
from page_reader import Page

from moenas.errors import ConfigError, RunFolderError
from moenas.evaluation.comparison import compare
from moenas.evaluation.scores import score
from moenas.evaluation.statistics import holm
from moenas.predictions import Predictions
from moenas.report.compare.comparing import BEST, SAME, ComparedRuns
from moenas.report.compare.images import same_answers
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.workflows.report import compare_runs

ALWAYS = {"verdict", "runs", "models", "settings", "caveats", "glossary"}
COMPARED = {"differences", "answers", "tones", "light", "noise"}


@pytest.fixture(scope="session")
def both(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparedRuns, Page]:
    """The two searches, compared."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    path, compared = compare_runs([runs / "first", runs / "second"], out)
    return compared, Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def audits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two audits of a model each, which have kept what it said; not to be changed."""
    folder = tmp_path_factory.mktemp("audits")
    return [make_small_audit(folder / name, seed).path for seed, name in enumerate("ab")]


def copied(runs: Path, name: str, to: Path) -> RunFolder:
    shutil.copytree(runs / name, to / name)
    return RunFolder(to / name)


# Which images, and what is tested on them


def test_the_numbers_of_equal_images_are_those_of_the_runs(runs, both):
    compared, page = both
    assert len(compared.common.report) == 240
    assert compared.common.own == {"first": 240, "second": 240}
    for name in ("first", "second"):
        for stored in read_json(runs / name / "comparison.json")["models"]:
            model = next(m for m in compared.models if m.name == f"{stored['name']} ({name})")
            for measure, entry in stored["report"].items():
                assert model.report[measure].mean == pytest.approx(entry["mean"], abs=1e-12)
    rows = page.tables["Models of all runs"][1:]
    assert [row[1].label for row in rows] == ["Run"] * 8
    assert len(page.tables["The compared runs"][1:]) == 2


def test_the_best_models_are_chosen_on_the_search_half(both):
    compared, _ = both
    assert {run: model.name for run, model in compared.best.items()} == {
        "first": "MoENAS-XXS", "second": "MoENAS-XXS",
    }  # fmt: skip
    best = compared.runs[0].best
    assert best.searched() == max(
        model.searched() for model in compared.runs[0].entrants if model.role == "finalist"
    )


def test_pairs_are_tested_over_seeds_and_corrected_together(runs, both):
    compared, _ = both
    frame = compared.differences
    assert set(frame["why"]) == {BEST, SAME}
    pairs = frame[["model", "against"]].drop_duplicates()
    # The same networks: base, S, pruned; XXS is the best of both.
    assert len(pairs) == 4
    row = frame[(frame["why"] == BEST) & (frame["measure"] == "balanced_accuracy")].iloc[0]
    tables = [
        [
            Predictions.load(RunFolder(runs / name).finalist("mobilevitv2_050-e211111111", s)
                             .predictions)
            for s in (1, 2)
        ]
        for name in ("second", "first")
    ]  # fmt: skip
    alone = compare(*tables, "balanced_accuracy")
    assert row["difference"] == pytest.approx(alone.difference, abs=1e-12)
    assert row["p"] == pytest.approx(alone.p, rel=0.2)
    tested = frame[frame["measure"].isin(["balanced_accuracy", "fairness", "robustness",
                                          "overfitting"]) & frame["p"].notna()]  # fmt: skip
    assert tested["p_holm"].tolist() == pytest.approx(holm(tested["p"].tolist()))
    assert 0.001 < row["p"] < 0.999
    assert row["outcome"] == "undecided"  # two seeds


def test_the_first_sentence_says_who_is_better_and_how_surely(both):
    compared, page = both
    first, second = compared.verdict[:2]
    assert first.startswith("MoENAS-XXS (second) cannot be told from MoENAS-XXS (first): after")
    assert "95 % interval −" in first
    assert "240 images of 24 independent subjects" in second
    assert "both runs share" in second
    assert page.text.index(first) < page.text.index("Each run has its colour")
    assert NOTE in page.text


def test_every_kind_of_run_in_one_page(runs, tmp_path):
    out = tmp_path / "page.html"
    names = ("one", "first", "cut")
    path, compared = compare_runs([runs / name for name in names], out)
    assert path == out
    page = Page(out.read_text(encoding="utf-8"))
    assert page.ids >= ALWAYS | COMPARED
    assert compared.common.runs == names
    assert [run.best.name for run in compared.runs] == [
        "mobilevitv2_050-e211111111", "MoENAS-XXS", "MoENAS-S pruned",
    ]  # fmt: skip
    same = compared.differences[compared.differences["why"] == SAME]
    assert set(same["model"]) == {"MoENAS-S pruned (cut)"}  # XXS is a pair of best models already
    assert len(page.tables["Models of all runs"][1:]) == 6
    hrefs = {str(link["href"])[1:] for link in page.all("a") if str(link["href"])[0] == "#"}
    assert hrefs <= page.ids


def test_an_audit_beside_a_search_of_other_images(runs, audits, tmp_path):
    path, compared = compare_runs([runs / "first", audits[0]], tmp_path / "page.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert compared.common is None
    assert not COMPARED & page.ids
    assert page.ids >= ALWAYS
    assert compared.verdict[0].startswith("Nothing is compared")
    assert any("shares no image of the report half" in line for line in compared.missing)
    assert len(page.tables["Models of all runs"][1:]) == 4 + 1
    assert "Each model on the report half of its own run" in page.text


def test_two_audits_are_compared_image_by_image(audits, tmp_path):
    path, compared = compare_runs(audits, tmp_path / "page.html")
    assert len(compared.common.report) == 240
    assert compared.differences["p"].isna().all()
    assert "lcnet_075 (b) cannot be told from lcnet_075 (a)" in compared.verdict[0]
    assert "Each was trained once" in compared.verdict[0]
    page = Page(path.read_text(encoding="utf-8"))
    assert {"answers", "tones"} <= page.ids
    assert "Percentage points above or below" in page.text


def test_trainings_of_one_seed_say_that_another_may_turn_it_round(runs, tmp_path):
    make_train(tmp_path / "bad", 0.5, seed=3)
    _, compared = compare_runs([runs / "one", tmp_path / "bad"], tmp_path / "page.html")
    assert "is less accurate than" in compared.verdict[0]
    assert "another training may turn it round" in compared.verdict[0]
    row = compared.answers[compared.answers["group"] == "all"].iloc[0]
    assert row["better"] is False


def test_the_same_network_at_another_threshold_gives_other_answers():
    frame = pd.DataFrame({"image_id": ["a", "b"], "label": [0, 1], "probability": [0.4, 0.6]})
    tables = {str(at): (Predictions(frame, at),) for at in (0.3, 0.5, 0.55)}
    common = SimpleNamespace(tables=tables)
    assert same_answers(common, "0.5", "0.55")
    assert not same_answers(common, "0.3", "0.5")


def test_a_run_and_its_copy_give_the_same_answers(runs, tmp_path):
    copy = copied(runs, "one", tmp_path)
    _, compared = compare_runs([runs / "one", copy.path], tmp_path / "page.html")
    assert "gives the same answer as" in compared.verdict[0]
    assert set(compared.differences["outcome"]) == {"same answers"}
    assert compared.verdict[-1].startswith("To decide more")
    assert compared.settings.empty


def test_only_the_common_images_count(runs, tmp_path):
    make_train(tmp_path / "more", world=World(concepts=10, first=6))
    _, compared = compare_runs([runs / "one", tmp_path / "more"], tmp_path / "page.html")
    assert len(compared.common.report) == 20 * 6
    assert compared.common.own == {"one": 240, "more": 200}
    own = World(concepts=6, first=6).images("report")
    table = Predictions.load(RunFolder(runs / "one").model().predictions)
    kept = Predictions(table.frame[table.frame["image_id"].isin(own["image_id"])])
    expected = score(kept, split="report", parameters=1, macs=1, draws=10)
    found = compared.models[0].report["balanced_accuracy"]
    assert found.mean == pytest.approx(expected.balanced_accuracy)


def test_images_of_one_name_that_differ_are_no_common_images(runs, tmp_path):
    run = copied(runs, "one", tmp_path)
    table = Predictions.load(run.model().predictions)
    table.frame["label"] = 1 - table.frame["label"]
    table.save(run.model().predictions)
    _, compared = compare_runs([runs / "first", run.path], tmp_path / "page.html")
    assert compared.common is None
    assert any("have the same name but another label" in line for line in compared.missing)
    assert not any("fingerprint" in line for line in compared.missing)  # the manifests are equal


def test_tones_that_one_run_does_not_know_are_the_other_ones(runs, tmp_path):
    make_train(tmp_path / "blind", world=World(tones=False))
    _, compared = compare_runs([tmp_path / "blind", runs / "one"], tmp_path / "page.html")
    assert compared.common.report["group"].nunique() == 10
    assert all(len(model.groups) == 10 for model in compared.models)


def test_without_tones_and_light_no_chart_is_empty(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        make_train(tmp_path / name, seed=seed, world=World(tones=False, lights=False))
    path, compared = compare_runs([tmp_path / "a", tmp_path / "b"])
    page = Page(path.read_text(encoding="utf-8"))
    assert {"differences", "answers"} <= page.ids
    assert not {"tones", "light", "noise"} & page.ids
    assert any("fairness is not compared" in line for line in compared.missing)
    assert any("robustness is not compared" in line for line in compared.missing)


# What is missing


def test_lost_predictions_are_told_and_stored_numbers_shown(runs, tmp_path):
    run = copied(runs, "first", tmp_path)
    for seed in (1, 2):
        run.finalist(LARGE, seed).predictions.unlink()
    path, compared = compare_runs([run.path, runs / "one"], tmp_path / "page.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert sum("no predictions file" in line for line in compared.missing) == 2
    assert len(page.tables["Models of all runs"][1:]) == 5
    assert page.text.count("on its own run's images") == 1
    assert len(compared.models) == 4


def test_a_run_of_another_version_is_left_out_and_told(runs, tmp_path):
    run = copied(runs, "second", tmp_path)
    config = read_json(run.config)
    write_json(run.config, config | {"moenas_format": 99})
    path, compared = compare_runs([run.path, runs / "first"], tmp_path / "page.html")
    assert [r.label for r in compared.runs] == ["first"]
    assert any("run folder format 99" in line for line in compared.missing)
    assert compared.verdict == ("Only first could be read: there is nothing to compare.",)
    assert Page(path.read_text(encoding="utf-8")).ids >= ALWAYS
    write_json(run.comparison, {"models": [{"name": 3}]})
    write_json(run.config, config)
    _, compared = compare_runs([run.path, runs / "first"], tmp_path / "page.html")
    assert any("damaged or of another version" in line for line in compared.missing)


@pytest.mark.parametrize("shape", [[], "word", {"scores": 3}, {"scores": {"report": [1]}}])
def test_scores_of_another_shape_are_told(runs, tmp_path, shape):
    run = copied(runs, "one", tmp_path)
    write_json(run.model().scores, shape)
    _, compared = compare_runs([run.path, runs / "first"], tmp_path / "page.html")
    assert any("scores.json' is damaged" in line for line in compared.missing)


def test_an_audits_summary_of_another_shape_is_told(audits, tmp_path):
    run = RunFolder(shutil.copytree(audits[0], tmp_path / "audit"))
    for shape in ([], {"models": [3]}, {"models": 3}):
        write_json(run.summary, shape)
        _, compared = compare_runs([run.path, audits[1]], tmp_path / "page.html")
        assert any("summary.json' is damaged" in line for line in compared.missing)


def test_an_unfinished_search_and_a_foreign_kind(runs, tmp_path):
    RunFolder.create(tmp_path / "early", "search", {})
    RunFolder.create(tmp_path / "table", "table", {})
    names = [tmp_path / "early", tmp_path / "table", runs / "first"]
    path, compared = compare_runs(names, tmp_path / "page.html")
    assert any("there is no comparison.json" in line for line in compared.missing)
    assert any("kind 'table'" in line for line in compared.missing)
    assert "no predictions" in compared.verdict[0]
    assert Page(path.read_text(encoding="utf-8")).ids >= ALWAYS


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    with pytest.raises(RunFolderError, match="named twice"):
        compare_runs([runs / "one", runs / "first" / ".." / "one"])
    with pytest.raises(RunFolderError, match="not a MoENAS run folder"):
        compare_runs([runs / "one", tmp_path])
    with pytest.raises(ConfigError, match="needs two or more"):
        compare_runs([runs / "one"])


# The page


def test_folders_of_one_name_are_told_apart_by_their_path(runs, tmp_path):
    make_train(tmp_path / "one", seed=4)
    _, compared = compare_runs([runs / "one", tmp_path / "one"], tmp_path / "p.html")
    assert [run.label for run in compared.runs] == [f"{runs.name}/one", f"{tmp_path.name}/one"]


def test_settings_that_differ_and_no_others(both):
    compared, page = both
    frame = compared.settings.set_index("setting")
    assert list(frame.index) == ["trials", "strategy"]
    assert list(frame.loc["strategy"]) == ["upcycled", "supernet"]
    rows = page.tables["Settings that differ between the runs"][1:]
    assert len(rows) == 2


def test_downloads_hold_the_numbers(both):
    compared, page = both
    links = {link["download"]: str(link["href"]) for link in page.all("a") if "download" in link}
    assert set(links) == {
        "runs.csv", "models.csv", "differences.csv", "answers.csv", "settings.csv",
        "accuracy-per-tone.csv", "accuracy-per-light.csv",
    }  # fmt: skip
    text = base64.b64decode(links["models.csv"].partition("base64,")[2]).decode()
    frame = pd.read_csv(io.StringIO(text))
    told = [model.report["fairness"].mean for model in compared.models]
    np.testing.assert_allclose(frame["fairness"], told, atol=1e-12)
    text = base64.b64decode(links["answers.csv"].partition("base64,")[2]).decode()
    assert set(pd.read_csv(io.StringIO(text))["group"]) == {"all", *map(str, range(1, 11))}


def test_hostile_and_endless_names(runs, tmp_path):
    hostile = "<img src=x onerror=alert(1)>=cmd|' /C calc'!A0" + "x" * 300
    run = copied(runs, "first", tmp_path)
    record, told = read_json(run.comparison), read_json(run.summary)
    for model in record["models"]:
        model["name"] = model["name"].replace("MoENAS", hostile)
    write_json(run.comparison, record)
    write_json(run.summary, told | {"data": told["data"] | {"note": f"<b>{hostile}</b>"}})
    shutil.copytree(runs / "one", tmp_path / "<script>b")
    path, _ = compare_runs([run.path, tmp_path / "<script>b"], tmp_path / "p.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert hostile in page.text
    assert "<script>b" in page.text


def test_the_page_has_its_script_and_no_request(both):
    _, page = both
    text = next(tag for tag in page.all("meta") if "Content-Security-Policy" in tag.values())
    assert "default-src 'none'" in str(text["content"])
    urls = [str(value) for _, tag in page.tags for name, value in tag.items() if name == "src"]
    assert urls == []


def test_machines_get_the_same(both):
    compared, _ = both
    record = compared.record()
    assert record["common_images"] == 240
    assert len(record["differences"]) == len(compared.differences)
    assert record["verdict"] == list(compared.verdict)


def test_answers_of_a_model_depend_on_its_skill():
    """The made-up world does what the other tests believe."""
    good, bad = (answers(World(), skill, 0.0, 1).split("report") for skill in (0.9, 0.6))
    assert good.correct.mean() > bad.correct.mean() + 0.2
