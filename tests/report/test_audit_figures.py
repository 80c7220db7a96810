from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moenas.report import tables
from moenas.report.audit import frames
from moenas.report.audit.charts_rows import ROOM, curve_chart, light_rows
from moenas.report.audit.figures import accuracy_per_tone_panels, robustness_and_generalisation
from moenas.report.audit.labels import apart, place
from moenas.report.audit.results import AuditResults, read_audit
from moenas.report.figures import save_figures
from moenas.report.results import Comparison
from moenas.report.svg import size_ticks
from moenas.runs import RunFolder

NAMES = ["robustness-and-generalisation", "size-and-fairness", "pareto-panels",
         "mean-accuracy-per-tone", "accuracy-per-tone-panels", "degradation-low_light"]  # fmt: skip


@pytest.fixture(scope="module")
def audit(audit_run: RunFolder) -> AuditResults:
    return read_audit(audit_run)


def test_all_figures_are_written_and_repeatable(audit_run: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(audit_run.path, tmp_path / "run"))
    paths = save_figures(run, "svg")
    assert [path.name for path in paths] == [f"{name}.svg" for name in NAMES]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in save_figures(run, "svg")] == before


def test_figures_draw_their_frames(audit: AuditResults) -> None:
    lights = frames.lights(audit.compared)
    drawn = robustness_and_generalisation(lights).axes[0].lines
    shown = {str(line.get_label()): np.asarray(line.get_xdata()) for line in drawn}
    np.testing.assert_allclose(shown["poor light"], 100 * lights["poor"])
    tones = tables.tones(Comparison(audit.compared))
    panels = accuracy_per_tone_panels(tones).axes
    for axes, (_, rows) in zip(panels[1:], tones.groupby("model", sort=False), strict=False):
        np.testing.assert_allclose(np.asarray(axes.lines[1].get_ydata()), 100 * rows["mean"])


def test_a_legend_names_what_is_drawn(audit: AuditResults) -> None:
    frame = frames.lights(audit.compared).assign(poor=np.nan)
    (legend,) = robustness_and_generalisation(frame).legends
    assert [text.get_text() for text in legend.get_texts()] == ["validation", "report half"]


def test_the_front_is_what_no_other_model_beats() -> None:
    frame = pd.DataFrame(
        {
            "balanced_accuracy": [0.9, 0.8, 0.7, 0.9, np.nan],
            "parameters": [3e6, 1e6, 2e6, 3e6, 1e5],
            "overfitting": [-0.05, 0.01, -0.02, 0.0, 0.0],
            "able": True,
        }
    )
    assert list(frames.on_front(frame, "balanced_accuracy", "parameters")) == [
        True, True, False, True, False,
    ]  # fmt: skip
    near_zero = frame.iloc[:4]
    assert list(frames.on_front(near_zero, "overfitting", "parameters")) == [
        False, True, False, True,
    ]  # fmt: skip
    useless = near_zero.assign(able=[True, False, True, True])
    assert not frames.on_front(useless, "overfitting", "parameters")[1]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mobilevit_xxs", "mobilevit mobilevit"),
        ("mobilevitv2_050", "mobilevit mobilevitv2"),
        ("resnet18", "resnet resnet"),
        ("efficientvit_m0", "efficientvit_msra efficientvit"),
        ("efficientvit_b0", "efficientvit_mit efficientvit"),  # another one of the same name
        ("resnet50.a1_in1k", "resnet resnet"),
        ("mixer_s32_224@96", "mlp_mixer mixer"),
        ("phone_a", "phone_a"),  # no model's name: nothing is known of its kin
        ("proxyless_gpu", "proxyless_gpu"),
    ],
)
def test_families(name: str, family: str) -> None:
    assert frames.family(name) == family


def test_names_cover_nothing() -> None:
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.uniform(50, 450, (12, 2))]
    spots = place(points, ["model"] * 12, [False] * 12, (0.0, 0.0, 500.0, 500.0))
    boxes = [(x - (32 if anchor == "end" else 16 if anchor == "middle" else 0), y)
             for x, y, anchor in (spot for spot in spots if spot)]  # fmt: skip
    assert len(boxes) > 8
    for i, (x, y) in enumerate(boxes):
        for other_x, other_y in boxes[:i]:
            assert abs(x - other_x) >= 32 or abs(y - other_y) >= 12
    crowded = place([(10.0, 10.0)] * 30, ["model"] * 30, [True] * 30, (0.0, 0.0, 500.0, 500.0))
    assert all(crowded)


def test_labels_of_a_column_keep_their_distance() -> None:
    heights = apart([10, 11, 12, 90, 95], 14, 0, 100)
    ordered = sorted(heights)
    assert np.diff(ordered).min() >= 14 - 1e-9
    assert ordered[-1] <= 100


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.7, 14, [1, 2, 5, 10]), (90, 700, [100, 200, 500]), (0.05, 0.3, [0.05, 0.1, 0.2])],
)
def test_ticks_of_models_of_any_size(low: float, high: float, ticks: list[float]) -> None:
    assert size_ticks(low, high) == ticks


def test_names_of_many_models_stay_on_the_drawing() -> None:
    names = [f"a-very-long-name-of-a-model-from-somewhere-{n:03d}" for n in range(120)]
    frame = pd.DataFrame(
        [
            {"model": name, "severity": severity, "value": 0.9 - 0.001 * n - 0.05 * severity,
             "low": 0.5, "high": 0.95, "drop": 0.05 * severity}
            for n, name in enumerate(names)
            for severity in range(3)
        ]
    )  # fmt: skip
    drawn = ET.fromstring(curve_chart(frame, names[7], label="x"))
    written = [text for text in drawn.iter("text") if text.get("data-model")]
    heights = sorted(float(text.get("y", "nan")) for text in written)
    assert len(heights) > 15
    assert heights[0] > 0
    assert heights[-1] <= 390
    assert np.diff(heights).min() >= 13.9
    assert names[7] in {text.get("data-model") for text in written}
    assert len(list(drawn.iter("polygon"))) == 3  # the leader's
    lights = pd.DataFrame({"model": names, "validation": 0.9, "report": 0.8, "low": 0.7,
                           "high": 0.85, "poor": 0.6})  # fmt: skip
    rows = ET.fromstring(light_rows(lights, label="x"))
    assert max(len(text.text or "") for text in rows.iter("text")) <= ROOM
