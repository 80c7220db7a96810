"""The page and the tables of an audit."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pandas as pd
import pytest
from audit_run import NOTE, make_audit, predictions
from page_reader import Page

from moenas.atomic import write_text
from moenas.errors import RunFolderError
from moenas.evaluation.comparison import Comparison
from moenas.report.audit.results import read_audit
from moenas.report.html import render
from moenas.runs import RunFolder
from moenas.serialisation import read_json

ALL = "All models on the report half"
SECTIONS = {
    "verdict", "models", "points", "tones", "noise", "light", "worse", "intersections", "answers",
    "labels", "method", "setup", "paper", "caveats", "glossary",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(audit_run: RunFolder) -> RunFolder:
    return audit_run


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return Page(run.report.read_text(encoding="utf-8"))


def test_the_whole_page(page: Page, run: RunFolder) -> None:
    assert page.ids >= SECTIONS
    for sentence in read_json(run.summary)["verdict"]:
        assert sentence in page.text
    assert NOTE in page.text
    assert "No training succeeded: tinynet_e." in page.text
    hrefs = [str(link["href"]) for link in page.all("a")]
    assert {href[1:] for href in hrefs if href.startswith("#")} <= page.ids


def test_the_verdict_tells_good_from_unfair_from_useless(run: RunFolder) -> None:
    first, *others = read_json(run.summary)["verdict"]
    assert first.startswith("Of 3 models mobilevit_xxs was the most accurate on the search half")
    assert "2 are less accurate beyond chance." in first
    assert any("mobilevit_s (1 of 2) treats skin tones unequally" in s for s in others)
    assert any("trained once" in sentence for sentence in others)


def test_our_table_one_equals_its_sources(page: Page, run: RunFolder) -> None:
    compared = {m["name"]: m for m in read_json(run.comparison)["models"]}
    frame = pd.read_csv(run.audit).set_index("model")
    rows = {}
    for row in page.tables[ALL][1:]:
        rows[float(row[1].value or 0)] = {cell.label: cell for cell in row}
    for name, model in compared.items():
        cells = rows.get(float(model["parameters"]))
        assert cells is not None
        accuracy = model["report"]["balanced_accuracy"]
        assert float(str(cells["Balanced accuracy, %"].value)) == accuracy["mean"]
        assert frame.loc[name, "balanced_accuracy"] == pytest.approx(accuracy["mean"])
        assert frame.loc[name, "balanced_accuracy_low"] == pytest.approx(accuracy["low"])
        assert frame.loc[name, "fairness_p_value"] == model["noise_floor"]["p_value"]
    assert frame.loc["tinynet_e", "paper_fairness"] == 0.8044
    assert pd.isna(frame.loc["tinynet_e", "balanced_accuracy"])
    same = pd.read_parquet(run.audit_parquet).set_index("model")
    pd.testing.assert_frame_equal(same, frame, check_dtype=False)
    tex = run.audit_latex.read_text()
    assert tex.startswith(r"\begin{tabular}")
    assert r"mobilevit\_xxs & short & 0.95 &" in tex


def test_downloads_are_the_tables(page: Page, run: RunFolder) -> None:
    found = {
        str(link["download"]): pd.read_csv(
            io.BytesIO(base64.b64decode(str(link["href"]).split(",", 1)[1]))
        )
        for link in page.all("a")
        if link.get("download")
    }
    for name in ("audit", "answers", "intersections", "sensitivity"):
        stored = pd.read_csv(run.path / f"{name}.csv")
        if name != "sensitivity":
            assert len(found[f"{name}.csv"]) == len(stored)
    assert {"audit.csv", "answers.csv", "low_light.csv", "intersections.csv"} <= set(found)


def test_models_that_know_nothing_stand_apart(page: Page, run: RunFolder) -> None:
    compared = {m["name"]: m for m in read_json(run.comparison)["models"]}
    assert compared["resnet18"]["report"]["balanced_accuracy"]["low"] <= 0.5
    hollow = {
        str(mark["data-tip"]).partition(":")[0]
        for mark in page.all("circle")
        if "m-useless" in str(mark.get("class")) and mark.get("data-tip")
    }
    assert {name.partition(",")[0] for name in hollow} == {"resnet18"}
    assert "Hollow marks" in page.text
    assert "better than guessing" in page.text


@pytest.mark.parametrize(
    ("what", "lost", "told"),
    [
        ({"tones": False}, {"tones", "noise", "intersections", "labels"}, "no groups"),
        ({"lights": False}, {"worse", "intersections"}, "Poor light: no image"),
    ],
)
def test_what_the_images_lack_is_left_out_and_told(
    tmp_path: Path, what: dict[str, bool], lost: set[str], told: str
) -> None:
    result = make_audit(tmp_path / "run", **what)
    page = Page(result.report.read_text(encoding="utf-8"))
    assert SECTIONS - page.ids == lost
    assert told in page.text


def test_one_model_alone(tmp_path: Path) -> None:
    result = make_audit(tmp_path / "run", names=["mine"])
    page = Page(result.report.read_text(encoding="utf-8"))
    assert {"points", "answers"}.isdisjoint(page.ids)
    assert result.verdict[0].startswith("mine has ")
    assert "Comparisons: there is one model alone." in page.text


def test_several_seeds_widen_the_intervals(tmp_path: Path) -> None:
    result = make_audit(tmp_path / "run", seeds=3)
    page = Page(result.report.read_text(encoding="utf-8"))
    assert "trained 3 times" in page.text
    model = read_json(result.run / "comparison.json")["models"][0]
    values = model["report"]["balanced_accuracy"]["values"]
    assert len(values) == 3
    assert model["report"]["balanced_accuracy"]["mean"] == pytest.approx(sum(values) / 3)
    # Trainings that differ make a mean less sure than the same training three times over does.
    found = model["report"]["balanced_accuracy"]
    once = Comparison({"once": [predictions(0.93, 0.0, 0)] * 3}).estimate(
        "once", "balanced_accuracy"
    )
    assert once is not None
    assert found["high"] - found["low"] > 1.5 * (once.high - once.low)
    outcomes = [
        m["versus"]["mobilevit_xxs"]["balanced_accuracy"]["better"]
        for m in read_json(result.run / "comparison.json")["models"][1:]
    ]
    assert f"{outcomes.count(False)} " in result.verdict[0].rpartition("Of the others, ")[2]


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*191}}"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = ["plain", "=" + HOSTILE]
    page = Page(make_audit(tmp_path / "run", names=names).report.read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert HOSTILE in page.text
    assert "1337" not in page.text
    assert {a["data-model"] for _, a in page.tags if "data-model" in a} >= set(names)


def test_the_same_run_gives_the_same_page(run: RunFolder) -> None:
    before = run.report.read_bytes()
    assert render(run).read_bytes() == before


def test_damaged_and_lost_tables_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder.open(make_audit(tmp_path / "run").run)
    write_text(run.answers, "model,group\na,all\n")
    with pytest.raises(RunFolderError, match=r"answers\.csv' is damaged.*no column 'difference'"):
        read_audit(run)
    write_text(run.answers, "")
    with pytest.raises(RunFolderError, match=r"answers\.csv' cannot be read"):
        render(run)
    run.answers.unlink()
    run.degradation.unlink()
    page = Page(render(run).read_text(encoding="utf-8"))
    for name in ("answers.csv", "degradation.csv"):
        assert f"{name}: the audit wrote this table, and it is no longer in 'run'." in page.text
        assert f"{name}: the audit wrote" in caplog.text
    assert "sensitivity.csv: the audit wrote" not in page.text
    run.summary.unlink()
    with pytest.raises(RunFolderError, match=r"nothing to report yet"):
        render(run)
