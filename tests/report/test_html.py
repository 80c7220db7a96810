from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
from page_reader import Page
from synthetic_run import MEASURES, NOTE, PARTS, make_run

from moenas.atomic import write_text
from moenas.errors import RunFolderError
from moenas.report.html import render
from moenas.report.measures import MEASURES as KNOWN
from moenas.report.measures import percent
from moenas.report.theme import run_styles
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json

SECTIONS = {
    "trials": {"search"},
    "comparison": {"key-numbers", "models", "tones", "light", "noise"},
    "pruning": {"pruning"},
}
ALWAYS = {"verdict", "method", "setup", "paper", "caveats", "glossary"}
LEADERBOARD = "All models on the report half"


def read(run: RunFolder) -> Page:
    return Page(render(run).read_text(encoding="utf-8"))


def test_full_run(full_run):
    path = render(full_run)
    assert path == full_run.report
    assert path.stat().st_size < 8_000_000
    page = read(full_run)
    assert set().union(ALWAYS, *SECTIONS.values()) <= page.ids
    first = page.text.index("MoENAS-S is 2.9 points more accurate")
    assert first < page.text.index("The large number is of")
    assert NOTE in page.text
    assert "left out" not in page.text
    assert "credits" in page.ids
    assert "Better" in page.text


def test_same_run_gives_same_bytes(full_run):
    assert render(full_run).read_bytes() == render(full_run).read_bytes()


@pytest.mark.parametrize(
    "parts",
    [parts for n in (1, 2, 3) for parts in itertools.combinations(PARTS, n)],
    ids="+".join,
)
def test_degraded_runs_leave_sections_out_and_say_so(tmp_path, parts):
    run = make_run(tmp_path / "run", parts, trials=12)
    page = read(run)
    assert page.ids >= ALWAYS
    for part, sections in SECTIONS.items():
        if part == "trials" and "summary" in parts:
            continue  # the summary brings the search's progress
        assert sections <= page.ids if part in parts else not sections & page.ids, part
    assert "left out" in page.text
    for part, file in [("summary", "summary.json"), ("trials", "trials.json"),
                       ("comparison", "comparison.json"), ("pruning", "curve.json")]:  # fmt: skip
        assert (f"there is no {file}" in page.text or f"no pruned/{file}" in page.text) == (
            part not in parts
        )
    hrefs = [str(link["href"]) for link in page.all("a")]
    assert {href[1:] for href in hrefs if href.startswith("#")} <= page.ids


def test_comparison_without_finalists(tmp_path):
    page = read(make_run(tmp_path / "run", ("comparison",), finalists=False))
    assert "Not compared" in page.text
    assert "Finalists: comparison.json holds none." in page.text
    assert "key-numbers" in page.ids


def test_one_trial_and_bare_models(tmp_path):
    run = make_run(tmp_path / "run", ("trials", "comparison"), trials=1)
    data = read_json(run.comparison)
    for model in data["models"]:
        model |= {"groups": [], "lights": [], "noise_floor": None, "versus": {}, "seeds": []}
        model["report"] = {"balanced_accuracy": {"mean": 0.8, "low": None, "high": None}}
    write_json(run.comparison, data)
    page = read(run)
    assert {"models", "search"} <= page.ids
    assert not {"tones", "light", "noise"} & page.ids


def test_leaderboard_equals_the_comparison(full_run):
    rows = read(full_run).tables[LEADERBOARD][1:]
    models = read_json(full_run.comparison)["models"]
    assert len(rows) == len(models)
    for row, model in zip(rows, models, strict=True):
        cells = {cell.label: cell for cell in row}
        assert float(cells["Size, M"].value) == model["parameters"]
        assert cells["Size, M"].text == f"{model['parameters'] / 1e6:.2f}"
        for key in MEASURES:
            unit = "%" if KNOWN[key].unit == "%" else "pts"
            cell = cells[f"{KNOWN[key].label}, {unit}"]
            assert float(cell.value) == model["report"][key]["mean"], key
            assert cell.text == percent(model["report"][key]["mean"])


def test_counts_equal_the_summary(full_run):
    rows = [row for row in read(full_run).tables["Number of images"] if row]
    counts = read_json(full_run.summary)["data"]["counts"]
    assert [cell.label for cell in rows[0][1:]] == list(counts)
    assert [int(cell.value) for cell in rows[0][1:]] == [split["n"] for split in counts.values()]
    assert [int(cell.value) for cell in rows[11][1:]] == [
        split["groups"]["10"] for split in counts.values()
    ]


def test_cards_show_the_finalist_that_the_search_half_chose(full_run):
    trials = read_json(full_run.path / "trials.json")
    models = read_json(full_run.comparison)["models"]
    accuracy = {trial["architecture"]: trial["balanced_accuracy"] or 0 for trial in trials}
    chosen = max(
        (model for model in models if model["role"] == "finalist"),
        key=lambda model: accuracy[model["architecture"]],
    )
    text = read(full_run).text
    assert re.search(rf"The large number is of\s+{re.escape(chosen['name'])},", text)


def test_no_request_leaves_the_page(full_run):
    text = render(full_run).read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster"):
            value = attributes.get(name)
            if value is None:
                continue
            local = value.startswith(("#", "data:"))
            assert local or (tag == "a" and name == "href"), (tag, name, value)
    style, script = text.split("<style>")[1].split("</style>")[0], text.split("<script>")[1]
    assert "@import" not in style
    assert "url(" not in style
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|http", script.split("</script>")[0])
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")
    digest = base64.b64encode(hashlib.sha256(script.split("</script>")[0].encode()).digest())
    assert f"'sha256-{digest.decode()}'" in policy


GEOMETRY = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "d", "points", "width", "height")

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*191}}"


def test_hostile_strings_stay_text(tmp_path):
    run = make_run(tmp_path / "a<script>alert(2)<", trials=8)
    plain = read(make_run(tmp_path / "plain", trials=8))
    settings = {"moenas_format": 1, "kind": HOSTILE, "settings": {HOSTILE: HOSTILE}}
    write_json(run.config, settings)
    summary, comparison = read_json(run.summary), read_json(run.comparison)
    trials, pruning = read_json(run.path / "trials.json"), read_json(run.pruning)
    summary["data"] |= {"note": HOSTILE, "source": "emoji" + HOSTILE}
    counts = summary["data"]["counts"]
    counts[HOSTILE] = counts["val"] | {"groups": {HOSTILE: 1}, "lights": {HOSTILE: 2}}
    summary |= {"base": HOSTILE, "wider": HOSTILE, "created": HOSTILE,
                "machine": {HOSTILE: HOSTILE}, "versions": {HOSTILE: HOSTILE},
                "seconds": {HOSTILE: 3.0}}  # fmt: skip
    summary["search"] |= {"sampler": HOSTILE, "preset": HOSTILE, "strategy": HOSTILE}
    comparison["verdict"] = [HOSTILE, HOSTILE]
    for model in comparison["models"]:
        model["name"] += HOSTILE
        model["architecture"] = HOSTILE
        model["size_class"] = HOSTILE
        model["lights"][0]["lighting"] = HOSTILE
        for reference in model["versus"].values():
            reference[HOSTILE] = reference["fairness"]
    for trial in trials:
        trial |= {"architecture": HOSTILE, "state": HOSTILE if trial["number"] else "COMPLETE"}
    pruning |= {"model": HOSTILE, "stopped_because": HOSTILE}
    pruning["steps"][0]["removed"]["layer"] = HOSTILE
    write_json(run.summary, summary)
    write_json(run.comparison, comparison)
    write_json(run.path / "trials.json", trials)
    write_json(run.pruning, pruning)
    page = read(run)
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert len(page.all("style")) == 1
    assert page.all("img") == []
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert HOSTILE in page.text
    assert "1337" not in page.text


def test_downloads_hold_their_tables_and_no_formula(full_run):
    data = read_json(full_run.comparison)
    data["models"][2]["name"] = '=HYPERLINK("x")'
    write_json(full_run.comparison, data)
    downloads = {
        str(link["download"]): base64.b64decode(str(link["href"]).split(",", 1)[1]).decode()
        for link in read(full_run).all("a")
        if link.get("download")
    }
    assert set(downloads) == {
        "leaderboard.csv", "differences.csv", "accuracy-per-tone.csv", "accuracy-per-light.csv",
        "noise-floor.csv", "trials.csv", "hypervolume.csv", "pruning.csv", "data-counts.csv",
        "paper-table-1.csv",
    }  # fmt: skip
    assert '"\'=HYPERLINK(""x"")"' in downloads["leaderboard.csv"]
    for text in downloads.values():
        assert not re.search(r'(^|,|\n)"?[=@+]', text)
        assert not re.search(r'(^|,|\n)"?-[^\d]', text)
    assert f"{data['models'][0]['report']['fairness']['mean']}" in downloads["leaderboard.csv"]


def test_drawings_and_tables_can_be_read_aloud(full_run):
    page = read(full_run)
    for svg in page.all("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true", svg
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("caption")) == len(page.all("table"))


@pytest.mark.parametrize(
    "file", ["summary.json", "trials.json", "comparison.json", "pruned/curve.json"]
)
@pytest.mark.parametrize(
    "content", ['{"models": [{', "[1]", '"x"', '{"models": [{"name": 1}], "start": 3}']
)
def test_damaged_files_are_named(full_run: RunFolder, file: str, content: str):
    if (file, content) == ("summary.json", '{"models": [{"name": 1}], "start": 3}'):
        content = '{"seconds": {"search": "long"}}'
    write_text(full_run.path / file, content)
    with pytest.raises(RunFolderError, match=re.escape(Path(file).name)):
        render(full_run)
    assert not full_run.report.exists()


def test_message_names_the_place_and_the_cure(full_run):
    data = read_json(full_run.comparison)
    del data["models"][1]["parameters"]
    write_json(full_run.comparison, data)
    with pytest.raises(RunFolderError, match=r"at models\.1\.parameters: .*continues where"):
        render(full_run)


def test_empty_run_has_nothing_to_report(tmp_path):
    with pytest.raises(RunFolderError, match="nothing to report yet"):
        render(make_run(tmp_path / "run", ()))


def test_extreme_numbers_can_be_drawn(full_run):
    data = read_json(full_run.comparison)
    for index, model in enumerate(data["models"]):
        model["name"] = f"a-very-long-name-of-a-model-{index}-" * 6
        model["report"]["fairness"] = {"mean": -4.5, "low": -9.0, "high": 1.0}
        for row in model["groups"] + model["lights"]:
            row |= {"mean": 1.0, "low": 1.0, "high": 1.0}
        model["groups"][0]["group"] = 37
    data["models"] += [
        data["models"][3] | {"name": f"finalist {n}", "versus": {}} for n in range(9)
    ]
    write_json(full_run.comparison, data)
    summary = read_json(full_run.summary)
    summary["seconds"] = {"search": 0.0}
    summary["search"]["hypervolume"] = [0.0, 0.0]
    write_json(full_run.summary, summary)
    pruning = read_json(full_run.pruning)
    write_json(full_run.pruning, pruning | {"steps": [], "accepted": 0})
    page = read(full_run)
    assert {"tones", "light", "noise", "pruning", "search"} <= page.ids
    assert "finalist 8" in page.text
    for tag, attributes in page.tags:
        assert "nan" not in " ".join(str(v) for k, v in attributes.items() if k in GEOMETRY), tag


def test_missing_and_infinite_numbers_become_dashes(full_run):
    text = full_run.comparison.read_text()
    data = read_json(full_run.comparison)
    data["models"][2]["report"]["fairness"] |= {"mean": None, "low": None, "high": None}
    del data["models"][2]["report"]["robustness"]
    data["models"][2]["groups"][3] |= {"mean": None, "low": None, "high": None}
    write_json(full_run.comparison, data)
    damaged = full_run.comparison.read_text().replace('"sd": 0.031', '"sd": Infinity')
    assert damaged != text
    write_text(full_run.comparison, damaged)
    page = read(full_run)
    assert "nan" not in page.text.lower().replace("finalist", "").split()
    assert "inf" not in page.text.lower().split()
    row = page.tables[LEADERBOARD][3]
    assert [cell.value for cell in row if cell.label in ("Fairness, %", "Robustness, %")] == [
        None,
        None,
    ]


def trials_of(run: RunFolder) -> list[dict]:
    return read_json(run.path / "trials.json")


@pytest.mark.parametrize(("count", "says"), [(1, "Only one trial was measured"), (5, "No trial")])
def test_nothing_to_compare_draws_no_empty_chart(tmp_path, count, says):
    run = make_run(tmp_path / "run", ("trials",), trials=count)
    if count > 1:
        empty = dict.fromkeys(("balanced_accuracy", "fairness", "robustness", "generalisation"))
        failed = [t | empty | {"state": "FAIL", "on_front": False} for t in trials_of(run)]
        write_json(run.path / "trials.json", failed)
    page = read(run)
    assert says in page.text
    assert "explorer" not in page.ids
    assert not [svg for svg in page.all("svg") if "0 trials" in str(svg.get("aria-label"))]
    assert len(page.tables["Trials, those on the front first (search half)"]) == 1 + count


def test_a_measure_that_all_trials_lack_has_no_axis(full_run):
    trials = [t | {"robustness": None} for t in trials_of(full_run)]
    trials[3]["fairness"] = None
    write_json(full_run.path / "trials.json", trials)
    text = render(full_run).read_text(encoding="utf-8")
    assert "Robustness, %: at least" not in text
    assert "Fairness, %: at least" in text
    assert "nan" not in re.findall(r' d="[^"]*"', text)
    data = json.loads(text.split('id="trial-data">')[1].split("</script>")[0])
    assert len(data["kinds"]) == len(trials)
    fairness = next(c for c in data["columns"] if c.get("key") == "fairness")
    place = data["columns"][0]["values"].index(3)
    assert fairness["values"][place] is None
    assert data["kinds"][place]


def test_thousands_of_trials_stay_light(tmp_path):
    run = make_run(tmp_path / "run", ("trials", "summary"), trials=200)
    rows = trials_of(run)
    many = [row | {"number": n} for n, row in enumerate(rows * 25)]
    write_json(run.path / "trials.json", many)
    summary = read_json(run.summary)
    summary["search"]["hypervolume"] = summary["search"]["hypervolume"][:40] * 125
    summary["search"]["hypervolume"].sort()
    write_json(run.summary, summary)
    path = render(run)
    assert path.stat().st_size < 4_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.tags) < 15_000
    assert "an even sample of the other trials, out of 4,975" in page.text


def test_first_screen_answers_and_links_finalists(full_run):
    text = read(full_run).text
    for question in ("Better than the dense models?", "For whom?", "How sure?", "What next?"):
        assert question in text
    models = {m["name"]: m for m in read_json(full_run.comparison)["models"]}
    chosen = re.search(r"The large number is of\s+(\S+),", text)[1]
    gains = {
        g["group"]: g["mean"] - b["mean"]
        for g, b in zip(models[chosen]["groups"], models["mobilevitv2_050"]["groups"], strict=True)
    }
    low, high = (f"{100 * end(gains.values()):+.1f}".replace("-", "−") for end in (min, max))
    assert f"lies {low} to {high} points from the base model" in text
    half = {g["group"]: (g["high"] - g["low"]) / 2 for g in models[chosen]["groups"]}
    undecided = all(abs(gain) < half[tone] for tone, gain in gains.items())
    assert ("Each tone's gain or loss is smaller than that." in text) == undecided
    data = json.loads(
        render(full_run).read_text().split('id="trial-data">')[1].split("</script>")[0]
    )
    numbers = data["columns"][0]["values"]
    trials = {trial["number"]: trial for trial in trials_of(full_run)}
    assert set(data["models"]) == {
        n for n, m in models.items() if m["role"] in ("finalist", "pruned")
    }
    for name, place in data["models"].items():
        source = "MoENAS-S" if name == "MoENAS-S pruned" else name
        assert trials[numbers[place]]["architecture"] == models[source]["architecture"]


def test_a_comparison_of_nothing_is_damaged(full_run):
    write_json(full_run.comparison, {"models": []})
    with pytest.raises(RunFolderError, match=r"comparison\.json' is damaged.*at models"):
        render(full_run)


def test_a_sixth_run_or_finalist_looks_like_no_other():
    looks = [
        (style.colour, style.marker, style.dash) for style in run_styles("abcdefghijkl").values()
    ]
    assert len(set(looks)) == 12


def test_an_arrow_points_where_better_is_and_nowhere_where_zero_is_best(full_run):
    """A gap that rises from below zero gets better."""
    data = read_json(full_run.comparison)
    gap = data["models"][2]["versus"]["base"]["gap_lightest_darkest"]
    gap |= {"difference": 0.02, "low": 0.01, "high": 0.03, "better": True}
    write_json(full_run.comparison, data)
    text = render(full_run).read_text(encoding="utf-8")
    assert "better →" in text
    assert "← better" not in text


def test_undecided_is_read_aloud_as_a_sentence(full_run):
    text = read(full_run).text
    assert "undecided against base" in text
    assert "undecided than" not in text
