"""The page of routes, from a run folder whose routes nobody traced."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_reader import Page

from moenas.analysis.attributes import find_attributes
from moenas.analysis.dependence import dependence
from moenas.analysis.routes import Routes, SwitchLayer
from moenas.atomic import write_text
from moenas.errors import DataError, RunFolderError
from moenas.report.figure_routes import parallel_sets, path_of_image
from moenas.report.figures import encode, save_figures
from moenas.report.flows import flows, paths_of
from moenas.report.pictures import data_uri
from moenas.report.routes_page import render_routes
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json, write_parquet

EVIL = "<script>alert('x')</script>"


def make_routes(
    path: Path,
    experts: tuple[int, ...] = (3, 2),
    images: int = 60,
    values: int = 10,
    **columns: Any,
) -> RunFolder:
    rng = np.random.default_rng(0)
    run = RunFolder.create(path, "routes", {})
    layers = tuple(SwitchLayer(n, f"l{n}", count) for n, count in enumerate(experts, start=1))
    shares = tuple(rng.dirichlet(np.ones(e), images).astype(np.float32) for e in experts)
    routes = Routes(layers, shares, rng.random(images))
    frame = pd.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(images)],
            "label": np.arange(images) % 2,
            "group": pd.Series(np.arange(images) % values + 1, dtype="Int16"),
            "lighting": None,
            "cluster": np.arange(images).astype(str),
            "matched_set": None,
        }
    ).assign(**columns)
    found, notes = find_attributes(frame, tuple(columns))
    picture = data_uri(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8), 96)
    shown = {"image_id": EVIL, "text": f"person, {EVIL}", "image": picture}
    attributes = []
    for one in found:
        tested = dataclasses.asdict(dependence(routes, frame, one.index, draws=19))
        named = {"column": one.column, "title": one.title, "beyond_chance": False}
        attributes.append(named | {"sentence": f"Sentence of {one.title}.", **tested})
    record = {
        "checkpoint": EVIL, "architecture": "a-e1", "image_size": 96, "split": "report",
        "images": images, "note": "Drawings.", "notes": [*notes, EVIL],
        "layers": [
            {"number": n, "name": EVIL, "experts": e, "usage": [1 / e] * e}
            for n, e in enumerate(experts, start=1)
        ],
        "attributes": attributes,
    }  # fmt: skip
    maps = [
        {"layer": n, "shares": [1 / e] * e, "places": rng.integers(0, e, (12, 12)).tolist()}
        for n, e in enumerate(experts, start=1)
    ]
    maps[-1]["places"] = None
    typical = [
        {"layer": n, "expert": e, "images": [shown | {"share": 0.5}] * 6 if e > 1 else []}
        for n, count in enumerate(experts, start=1)
        for e in range(1, count + 1)
    ]
    write_json(run.routes_summary, record)
    write_json(run.routes_pictures, {"maps": [shown | {"layers": maps}] * 6, "typical": typical})
    write_parquet(run.routes, routes.to_frame(frame))
    return run


def read(run: RunFolder) -> Page:
    return Page(render_routes(run).read_text(encoding="utf-8"))


def test_the_first_screen_is_the_sentence(tmp_path: Path) -> None:
    page = read(make_routes(tmp_path / "run"))
    text = page.text
    assert text.index("Sentence of skin tone.") < text.index("Paths through the layers")
    assert "Paths are not compared by light: no image of the split has one." in text
    assert "Drawings." in text
    assert {"verdict", "paths", "maps", "typical", "tests", "method"} <= page.ids
    inputs = [tag for tag in page.all("input") if tag["type"] == "radio"]
    assert len(inputs) == 2  # skin tone, class
    assert all(tag["alt"] for tag in page.all("img"))
    assert all(tag["aria-label"] for tag in page.all("svg"))
    assert "No token of these images goes here." in text


def test_nothing_is_run_or_fetched(tmp_path: Path) -> None:
    run = make_routes(tmp_path / EVIL.replace("/", "-"), hat=[EVIL, "b"] * 30)
    html = render_routes(run).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    page = Page(html)
    assert len(page.all("script")) == 1
    for tag, name in (("img", "src"), ("image", "href"), ("a", "href"), ("link", "href")):
        for attributes in page.all(tag):
            assert str(attributes[name]).startswith(("data:", "#")), attributes
    assert EVIL in page.text


def test_tables_equal_the_files(tmp_path: Path) -> None:
    run = make_routes(tmp_path / "run")
    page = read(run)
    record = read_json(run.routes_summary)["attributes"][0]
    caption = next(name for name in page.tables if name.startswith("Tests by skin tone"))
    rows = [row for row in page.tables[caption] if row]
    for row, layer in zip(rows, record["layers"], strict=True):
        assert float(row[2].value) == layer["information"]["observed"]
        assert float(row[7].value) == layer["tokens"]["observed"]
        assert float(row[10].value) == layer["tokens"]["p_holm"]
    link = next(a for a in page.all("a") if a.get("download") == "routes-paths.csv")
    content = base64.b64decode(str(link["href"]).split(",")[1]).decode()
    table = list(csv.DictReader(io.StringIO(content)))
    stored = paths_of(pd.read_parquet(run.routes))
    assert [int(line["layer_2"]) for line in table] == stored["layer_2"].tolist()


def test_the_largest_page_is_small_enough(tmp_path: Path) -> None:
    run = make_routes(tmp_path / "run", (8,) * 9, 1500, hat=np.arange(1500) % 20)
    assert render_routes(run).stat().st_size < 8_000_000


def test_images_that_cannot_be_compared(tmp_path: Path) -> None:
    page = read(make_routes(tmp_path / "run", group=pd.NA, label=1))
    assert "These images cannot be compared" in page.text
    assert not {"paths", "tests"} & page.ids
    assert {"maps", "typical"} <= page.ids


def test_damaged_runs_are_refused(tmp_path: Path) -> None:
    run = make_routes(tmp_path / "run")
    write_text(run.routes_summary, "{}")
    with pytest.raises(RunFolderError, match="holds no routes, or they are damaged"):
        render_routes(run)
    with pytest.raises(RunFolderError, match="damaged or of another version"):
        save_figures(run, "svg")
    run.routes_summary.unlink()
    with pytest.raises(RunFolderError, match="does not exist"):
        render_routes(run)


def test_ribbons_fill_their_boxes(tmp_path: Path) -> None:
    frame = pd.read_parquet(make_routes(tmp_path / "run", (3, 2, 4)).routes)
    paths = paths_of(frame)
    attribute = find_attributes(paths)[0][0]
    layout = flows(paths, attribute, [(1, 3), (2, 2), (3, 4)])
    assert layout.axes == ("Skin tone", "Layer 1", "Layer 2", "Layer 3")
    unit = max(box.end - box.start for box in layout.boxes) / max(b.images for b in layout.boxes)
    for axis in range(4):
        boxes = [box for box in layout.boxes if box.axis == axis]
        assert sum(box.images for box in boxes) == 60
        assert boxes[-1].end == pytest.approx(1)
        for side, near in (("start", axis), ("end", axis - 1)):
            pieces = sorted(getattr(r, side) for r in layout.ribbons if r.axis == near)
            for box in boxes if pieces else ():
                mine = [p for p in pieces if box.start - 1e-9 <= p[0] < box.end - 1e-9]
                assert sum(b - a for a, b in mine) == pytest.approx(box.images * unit)
                gaps = [b[0] - a[1] for a, b in itertools.pairwise(mine)]
                assert gaps == pytest.approx([0] * len(gaps), abs=1e-9)


def test_figures(tmp_path: Path) -> None:
    frame = pd.read_parquet(make_routes(tmp_path / "run").routes)
    data = encode(parallel_sets(frame), "png")
    assert data.startswith(b"\x89PNG")
    assert data == encode(parallel_sets(frame), "png")
    with pytest.raises(DataError, match="nothing to draw by 'lighting'"):
        parallel_sets(frame, "lighting")
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    maps = [(1, np.arange(16).reshape(4, 4) % 3), (9, None)]
    figure = path_of_image(image, maps, "$x_1$ " * 40)
    assert [axes.get_title() for axes in figure.axes] == ["image", "layer 1", "layer 9"]
    assert [text.get_text() for text in figure.axes[1].texts][:4] == ["1", "2", "3", "1"]
    assert encode(figure, "png")
