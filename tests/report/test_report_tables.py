from __future__ import annotations

import dataclasses
import io

import pandas as pd
import pytest
from synthetic_run import MEASURES

from moenas.report import sections, tables
from moenas.report.results import read_results
from moenas.report.trial_data import columns, ordered
from moenas.serialisation import read_json


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  ="])
def test_text_that_starts_a_formula_is_neutralised(start):
    frame = pd.DataFrame({start + "head": [start + "1+1", "fine"], "number": [-1.5, 2.0]})
    back = pd.read_csv(io.StringIO(tables.csv_text(frame)), keep_default_na=False)
    assert back.columns[0].startswith("'")
    assert back.iloc[0, 0].startswith("'")
    assert back.iloc[1, 0] == "fine"
    assert back["number"].tolist() == [-1.5, 2.0]


def test_leaderboard_puts_references_first_and_keeps_every_number(full_run):
    data = read_json(full_run.comparison)
    results = read_results(full_run)
    frame = tables.leaderboard(results.comparison).set_index("model")
    assert list(frame["role"])[:2] == ["base", "wider"]
    for model in data["models"]:
        for key in MEASURES:
            estimate = model["report"][key]
            row = frame.loc[model["name"]]
            assert (row[key], row[f"{key}_low"], row[f"{key}_high"]) == (
                estimate["mean"], estimate["low"], estimate["high"]
            )  # fmt: skip


def test_tones_lights_and_differences_have_a_row_each(full_run):
    comparison = read_results(full_run).comparison
    assert len(tables.tones(comparison)) == 6 * 10
    assert len(tables.lights(comparison)) == 6 * 4
    differences = tables.differences(comparison)
    assert len(differences) == 4 * 2 * len(MEASURES)
    assert set(differences["outcome"]) == {"better", "undecided"}


def test_pruning_marks_what_was_kept_and_gives_least_values(full_run):
    pruning = read_results(full_run).pruning
    frame = tables.pruning(pruning)
    assert frame["kept"].tolist() == [True] * 17 + [False]
    assert frame["parameters"].is_monotonic_decreasing
    assert pruning.least()["robustness"] == pytest.approx(0.98 * pruning.start.robustness)


def test_trials_have_a_column_a_layer_and_failures_stay_empty(full_run):
    frame = tables.trials(read_results(full_run).trials)
    assert [f"e{layer}" for layer in range(1, 10)] == [c for c in frame if c[0] == "e"]
    failed = frame[frame["state"] == "FAIL"]
    assert len(failed) == 1
    assert failed["fairness"].isna().all()


def grid_of(trials):
    trials = ordered(trials)
    return sections.trials_grid(trials, columns(trials, tables.trials(trials)))


def test_latency_is_a_column_only_where_it_was_looked_up(full_run):
    plain = read_results(full_run).trials
    assert "latency_ms" not in tables.trials(plain)
    assert "Latency, ms" not in grid_of(plain).headers
    timed = (dataclasses.replace(plain[0], latency_ms=7.256), *plain[1:])
    assert tables.trials(timed)["latency_ms"].tolist()[0] == 7.256
    grid = grid_of(timed)
    place = list(grid.headers).index("Latency, ms")
    cells = {row.cells[0].value: row.cells[place] for row in grid.rows}
    assert (cells[0].text, cells[0].value) == ("7.26", 7.256)
    assert (cells[1].text, cells[1].value) == ("–", None)
    assert all(len(row.cells) == len(grid.headers) for row in grid.rows)
    assert "latency_ms" in tables.csv_text(tables.trials(timed)).splitlines()[0]


def test_counts_and_stages(full_run):
    summary = read_results(full_run).summary
    counts = tables.counts(summary).set_index("split")
    assert counts.loc["train", "tone 10"] == 95
    assert list(counts.columns[:3]) == ["n", "positives", "tone 1"]
    stages = tables.stages(summary)
    assert stages["share"].sum() == pytest.approx(1)
    assert stages["stage"].iloc[2] == "search"


def test_names_come_back_letter_by_letter(tmp_path):
    names = [
        "NA", "null", "nan", "None", "007", "1e5", "'apos", "'=x", "''=x", "=x", " +x", "' -x",
        "@x", "\tx", "a,b", 'say "x"', "[red]x",
    ]  # fmt: skip
    frame = pd.DataFrame({"model": names, "group": "all", "value": range(len(names))})
    path = tmp_path / "table.csv"
    path.write_text(tables.csv_text(frame), newline="")
    back = tables.read_csv(path, ["model", "reference"])
    assert list(back["model"]) == names
    assert list(back["value"]) == list(range(len(names)))
    cells = pd.read_csv(path, dtype="str", keep_default_na=False)["model"]
    assert not cells.str.match(r" *[=+\-@\t\r\n]").any()
    path.write_text("a,b\n1,\n")
    assert tables.read_csv(path, ["model"])["b"].isna().all()
