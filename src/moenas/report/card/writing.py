"""Write the model cards of a run, each beside its checkpoint."""

from __future__ import annotations

import functools
import re
from importlib import metadata as package
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moenas.atomic import is_there, write_text
from moenas.console import logger
from moenas.errors import MoENASError
from moenas.report.card.content import card_content
from moenas.report.card.escape import escape
from moenas.report.card.metadata import block
from moenas.report.card.subject import Subject, places, read_subject
from moenas.report.measures import MEASURES
from moenas.runs import RunFolder

EXPLAINED = ("balanced_accuracy", "fairness", "robustness", "overfitting")
"""Measures whose name does not say what they are."""


def write_cards(run: RunFolder) -> tuple[list[Path], list[str]]:
    """Write ``README.md`` beside each finalist's and the pruned model's checkpoint, or the one's.

    Every seed of a finalist has its own: a folder can be published as it is.

    Args:
        run: Of a search, a training or a pruning; others leave no model to pass on.

    Returns:
        The cards, and why a model has none, in sentences.
    """
    cards, problems = [], []
    try:
        found = list(places(run))
    except MoENASError as error:
        return [], [str(error)]
    for folder, model, seed in found:
        if not is_there(folder.checkpoint):
            problems.append(f"No model card: '{folder.checkpoint}' does not exist.")
            continue
        try:
            write_text(folder.card, model_card(read_subject(run, folder, model, seed)))
            cards.append(folder.card)
        except MoENASError as error:
            problems.append(f"No model card for '{folder.path}': {error}")
    return cards, problems


def leave_cards(run: RunFolder) -> None:
    """`write_cards` at the end of a run: what is wrong with a card must not undo hours of work."""
    _, problems = write_cards(run)
    for problem in problems:
        logger.warning(problem)


def model_card(subject: Subject) -> str:
    """Return the card: metadata for the Hugging Face Hub, then Markdown for a person."""
    body = (
        _environment()
        .get_template("model_card.md.j2")
        .render(
            code=_code,
            explained=[MEASURES[key] for key in EXPLAINED],
            version=package.version("moenas"),
            **card_content(subject),
        )
    )
    return f"{block(subject)}\n{re.sub(chr(10) + '{3,}', chr(10) * 2, body).strip()}\n"


def _code(text: str) -> Markup:
    """A name of letters, digits and underscores, in code."""
    return Markup(f"`{text}`")  # noqa: S704 - an architecture's id


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("moenas.report", "templates"),
        autoescape=False,  # noqa: S701 - Markdown is escaped by `escape`, all of it
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
