"""The card beside an exported file: what it is, what it lost, what it is worth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from moenas.data.counts import in_words
from moenas.data.labelling import Labelling
from moenas.data.sources.emoji import note_on
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.statistics.paired import holm, mcnemar_test
from moenas.export.formats import Format
from moenas.export.metadata import Details
from moenas.export.parity import MOST_IMAGES, Agreement, Tolerances
from moenas.predictions import Predictions

SHOWN = (
    "accuracy",
    "balanced_accuracy",
    "fairness",
    "fairness_debiased",
    "worst_group_accuracy",
    "gap_lightest_darkest",
    "robustness",
)
"""Scores in the text."""


@dataclasses.dataclass(frozen=True)
class ReportHalf:
    """Scores on the report half, of the model and of its export, and tests of their difference.

    Attributes:
        eager: The model's.
        exported: The file's.
        p_value: Of "both are right equally often" (McNemar, by cluster).
        group_p_values: The same for each group, adjusted for their number (Holm).
    """

    eager: Scores
    exported: Scores
    p_value: float
    group_p_values: dict[int, float]


def score_both(
    eager: Predictions, exported: Predictions, split: str, details: Details, macs: int
) -> ReportHalf:
    """Score a model and its export on the same images.

    Raises:
        DataError: The split has no images of one label.
    """
    costs = {"parameters": details.parameters, "macs": macs}
    first, second = eager.split(split), exported.split(split)
    groups = [int(group) for group in np.unique(first.group) if group >= 0]
    raw = [
        mcnemar_test(*(Predictions(t.frame[t.group == g], t.threshold) for t in (first, second)))
        for g in groups
    ]
    return ReportHalf(
        eager=score(eager, split=split, **costs),
        exported=score(exported, split=split, **costs),
        p_value=mcnemar_test(first, second),
        group_p_values=dict(zip(groups, holm(raw), strict=True)),
    )


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint that a file was made from: the end of its path, and its hash."""

    name: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class ExportCard:
    """All that is known of an exported file.

    Attributes:
        format: Name of the format.
        file: Name of the file.
        bytes: Its size.
        share_of_parameters: Its size over that of the parameters in float32.
        details: What it is.
        routing: ``routed`` or ``masked``.
        tolerances: What was allowed.
        agreement: What was found, by split.
        problems: What lies beyond the tolerances.
        forced: Whether it was written all the same.
        report: Scores on the report half, None where the data have none.
        versions: Of what wrote and ran it.
        preprocessing: How its images are made.
        sha256: Of the file and of what belongs beside it, by name; empty in older cards.
        labelling: By which rule the report half was labelled, None where that is not known.
        origin: Of which checkpoint it is; None in older cards.
        sources: Where the images come from that it was held against its model on, and scored on;
            empty for own images, None in older cards.
    """

    format: str
    file: str
    bytes: int
    share_of_parameters: float
    details: Details
    routing: str
    tolerances: Tolerances
    agreement: tuple[Agreement, ...]
    problems: tuple[str, ...]
    forced: bool
    report: ReportHalf | None
    versions: dict[str, str]
    preprocessing: dict[str, str]
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)
    labelling: Labelling | None = None
    origin: Origin | None = None
    sources: tuple[str, ...] | None = None

    def markdown(self, kind: Format) -> str:
        """Return the card as a page."""
        d = self.details
        lines = [
            f"# {self.file}",
            "",
            *(
                [f"**Written with `--force`: {'; '.join(self.problems)}.**", ""]
                if self.forced
                else []
            ),
            f"`{d.architecture}`, {d.parameters / 1e6:.2f}M parameters, {self.routing}, for "
            f"{kind.runtime}. {self.bytes / 1e6:.2f} MB, {self.share_of_parameters:.2f} of the "
            "parameters in float32.",
            "",
            *([f"- Made from: `{self.origin.name}`"] if self.origin else []),
            f"- Classes: {', '.join(d.classes)}; a person from probability {d.threshold:.4g} on",
            f"- Image: {d.image_size} x {d.image_size} pixels",
            *(f"- {name.capitalize()}: {text}" for name, text in self.preprocessing.items()),
            f"- Gate: {d.gate}",
            *(f"- {name} {version}" for name, version in self.versions.items()),
            "",
            "## Against the model it was made from",
            "",
            *_data_lines(self.sources),
            "| split | images | largest logit difference of images routed alike | change of the "
            f"probability of {MOST_IMAGES:.0%} of images | same decision | same expert | largest "
            "change of a group's accuracy | change of the gap |",
            "|---|---|---|---|---|---|---|---|",
            *(_agreement_row(each) for each in self.agreement),
            _allowed_row(self.tolerances),
            "",
            "Groups may change by two images of the smallest one where that is more.",
            "",
        ]
        if self.report is not None:
            lines += _report_lines(self.report)
        return "\n".join(lines)


def _data_lines(sources: tuple[str, ...] | None) -> list[str]:
    """Whose images all the numbers below are of."""
    if sources is None:
        return []
    note = note_on(sources)
    return [f"Images: {in_words(sources)}.{f' {note}' if note else ''}", ""]


def _agreement_row(a: Agreement) -> str:
    routed = "" if a.alike is None else f" ({a.alike})"
    return _row(
        a.split,
        str(a.images),
        _cell(a.logits, ".1e") + routed,
        _cell(a.probability, ".1e"),
        _cell(a.decisions, ".2%"),
        _cell(a.routing, ".4%"),
        _cell(a.group_change, ".2%"),
        _cell(a.gap_change, ".2%"),
    )


def _allowed_row(t: Tolerances) -> str:
    return _row(
        "allowed",
        "",
        f"≤ {t.logits:.0e}",
        "–" if t.probability is None else f"≤ {t.probability:.0e}",
        f"≥ {t.decisions:.1%}",
        f"≥ {t.routing:.2%}",
        f"≤ {t.groups:.1%}",
        f"≤ {t.groups:.1%}",
    )


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _report_lines(report: ReportHalf) -> list[str]:
    def cell(value: Any) -> str:
        return "–" if value is None else f"{100 * value:.2f}"

    exported = {g.group: g for g in report.exported.groups}
    return [
        f"## On the report half ({report.eager.n} images, scored once)",
        "",
        "| per cent | model | this file |",
        "|---|---|---|",
        *(
            f"| {name.replace('_', ' ')} | {cell(getattr(report.eager, name))} | "
            f"{cell(getattr(report.exported, name))} |"
            for name in SHOWN
        ),
        "",
        f"McNemar's test of both being right equally often: p = {report.p_value:.3g}.",
        "",
        "| group | images | model | this file | p (Holm) |",
        "|---|---|---|---|---|",
        *(
            f"| {g.group} | {g.n} | {cell(g.accuracy)} | {cell(exported[g.group].accuracy)} | "
            f"{report.group_p_values[g.group]:.3g} |"
            for g in report.eager.groups
            if g.group in report.group_p_values
        ),
        "",
    ]
