"""The page of routes: do paths cluster, where do positions go, what does an expert like."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from moenas.analysis.attributes import Attribute, find_attributes
from moenas.atomic import write_text
from moenas.errors import RunFolderError
from moenas.report import charts_routes
from moenas.report.flows import paths_of
from moenas.report.grid import Grid, plain_grid
from moenas.report.html import fill
from moenas.report.measures import number, percent, probability
from moenas.report.routes_table import read_routes
from moenas.report.tables import csv_uri
from moenas.report.theme import both_widths
from moenas.runs import RunFolder
from moenas.serialisation import read_json

MOST_ROWS = 20_000
"""Images up to which the page offers every path as CSV; of more, the run folder has the table."""


def render_routes(run: RunFolder) -> Path:
    """Write ``routes.html``, which needs no other file and no network, and return its path.

    Args:
        run: The run folder of ``moenas routes``.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    try:
        page = fill(
            "routes.html.j2",
            styles=("report.css", "routes.css"),
            scripts=("report.js", "routes.js"),
            **_content(run),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"'{run.path}' holds no routes, or they are damaged ({error!r}). Run the same "
            "'moenas routes' command again."
        ) from error
    write_text(run.routes_page, page)
    return run.routes_page


def _content(run: RunFolder) -> dict[str, Any]:
    record, pictures = read_json(run.routes_summary), read_json(run.routes_pictures)
    paths = paths_of(read_routes(run))
    columns = [one["column"] for one in record["attributes"]]
    found, _ = find_attributes(paths, columns)
    experts = [(layer["number"], layer["experts"]) for layer in record["layers"]]
    by_column = {attribute.column: attribute for attribute in found}
    sections = [
        _attribute(paths, by_column[one["column"]], one, experts) for one in record["attributes"]
    ]
    return {
        "name": run.name,
        "version": metadata.version("moenas"),
        "record": record,
        "sections": sections,
        "slots": charts_routes.EXPERT_SLOTS,
        "most_experts": max(count for _, count in experts),
        "usage": _usage(record),
        "maps": [_maps(one) for one in pictures["maps"]],
        "typical": _typical(record, pictures["typical"]),
        "paths_csv": csv_uri(paths) if len(paths) <= MOST_ROWS else None,
    }


def _attribute(
    paths: pd.DataFrame,
    attribute: Attribute,
    record: dict[str, Any],
    experts: list[tuple[int, int]],
) -> dict[str, Any]:
    tests = tests_frame(record)
    title = record["title"]
    label = (
        f"Parallel sets: from each {title} through {len(experts)} layers, the width of a ribbon "
        f"is the number of images. {record['sentence']}"
    )
    legend = []
    for index, name in enumerate(attribute.values):
        cls, colour = charts_routes.value_colour(attribute, index)
        legend.append({"name": name, "cls": cls, "colour": colour})
    return {
        **record,
        **both_widths(charts_routes.parallel_sets, paths, attribute, experts, label=label),
        "legend": legend,
        "counts": _counts(paths, attribute, experts),
        "tests": _tests(tests, record["column"]),
        "chance": both_widths(
            charts_routes.beyond_chance,
            tests,
            column="tokens",
            axis="tokens that go elsewhere, %",
            label=f"Share of tokens that go elsewhere by {title}, beside what chance does",
        ),
    }


def tests_frame(record: dict[str, Any]) -> pd.DataFrame:
    """Return one row a layer from an attribute of ``routes.json``: effects, chance, p-values.

    ``told``: the information without what chance adds, as a share of the attribute's entropy.
    """
    rows = []
    for layer in record["layers"]:
        bits, tokens = layer["information"], layer["tokens"]
        rows.append(
            {
                "layer": layer["layer"],
                "experts": layer["experts"],
                "bits": bits["observed"],
                "bits_by_chance": bits["by_chance"],
                "told": max(0.0, bits["observed"] - bits["by_chance"]) / record["entropy"],
                "bits_p": bits["p"],
                "bits_p_holm": bits["p_holm"],
                "tokens": tokens["observed"],
                "tokens_by_chance": tokens["by_chance"],
                "tokens_high": tokens["chance_high"],
                "tokens_p": tokens["p"],
                "tokens_p_holm": tokens["p_holm"],
            }
        )
    return pd.DataFrame(rows)


def _tests(frame: pd.DataFrame, column: str) -> Grid:
    headers = {
        "layer": "Layer",
        "experts": "Experts",
        "bits": "Information, bits",
        "bits_by_chance": "… by chance",
        "told": "Told, %",
        "bits_p": "p",
        "bits_p_holm": "p, Holm",
        "tokens": "Tokens elsewhere, %",
        "tokens_by_chance": "… by chance, %",
        "tokens_p": "p",
        "tokens_p_holm": "p, Holm",
    }
    p = ("bits_p", "bits_p_holm", "tokens_p", "tokens_p_holm")
    return plain_grid(
        frame,
        f"routes-{_file(column)}-tests.csv",
        headers,
        {
            **dict.fromkeys(("bits", "bits_by_chance"), lambda v: number(v, 4)),
            **dict.fromkeys(("told", "tokens", "tokens_by_chance"), lambda v: percent(v, 2)),
            **dict.fromkeys(p, probability),
        },
    )


def _counts(paths: pd.DataFrame, attribute: Attribute, experts: list[tuple[int, int]]) -> Grid:
    rows = []
    for number_, count in experts:
        chosen = paths[f"layer_{number_}"].to_numpy()
        for index, name in enumerate(attribute.values):
            mine = chosen[attribute.index == index]
            row: dict[str, Any] = {"layer": number_, "value": name, "images": len(mine)}
            row |= {f"E{e}": int((mine == e).sum()) for e in range(1, count + 1)}
            rows.append(row)
    frame = pd.DataFrame(rows)
    named = [column for column in frame if column[0] == "E"]
    frame[named] = frame[named].astype("Int64")
    headers = {"layer": "Layer", "value": attribute.title.capitalize(), "images": "Images"}
    headers |= {column: column for column in named}
    return plain_grid(frame, f"routes-{_file(attribute.column)}-counts.csv", headers)


def _usage(record: dict[str, Any]) -> Grid:
    frame = pd.DataFrame(
        [
            {"layer": layer["number"], "module": layer["name"]}
            | {f"E{e + 1}": share for e, share in enumerate(layer["usage"])}
            for layer in record["layers"]
        ]
    )
    experts = [column for column in frame if column[0] == "E"]
    headers = {"layer": "Layer", **{column: column for column in experts}}
    return plain_grid(frame, "routes-usage.csv", headers, dict.fromkeys(experts, percent))


def _maps(one: dict[str, Any]) -> dict[str, Any]:
    layers = []
    for layer in one["layers"]:
        words = ", ".join(
            f"E{e + 1} {percent(share, 0)} %" for e, share in enumerate(layer["shares"]) if share
        )
        label = f"{one['text']}, layer {layer['layer']}: {words}"
        drawn = layer["places"] is not None
        layers.append(
            {
                "layer": layer["layer"],
                "words": words,
                "svg": charts_routes.usage_map(layer["places"], one["image"], label)
                if drawn
                else None,
            }
        )
    return {**one, "layers": layers}


def _typical(record: dict[str, Any], pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "number": layer["number"],
            "experts": [
                {**one, "usage": layer["usage"][one["expert"] - 1]}
                for one in pictures
                if one["layer"] == layer["number"]
            ],
        }
        for layer in record["layers"]
    ]


def _file(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:40]
