"""Text from outside in Markdown: it stays text, whatever it holds."""

from __future__ import annotations

import re

from markupsafe import Markup

from moenas.report.measures import shortened

LONGEST = 160
"""Characters of a name; the rest is cut."""

_SPECIAL = re.compile(r"([\\`*_\[\]#|~!@$]|(?<=www)\.|:(?=//))", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def plain(text: object) -> str:
    """One line without control characters."""
    return " ".join(_UNSEEN.sub(" ", str(text)).split())


def short(text: object) -> str:
    """`plain`, cut at `LONGEST`: for names."""
    return shortened(plain(text), LONGEST)


def escape(value: object) -> object:
    """Escape a string for Markdown; numbers and `Markup` (our own text) stay as they are.

    Markup characters get a backslash, HTML's become entities: no tag, link, image, heading, table
    cell, formula or code begins in it.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = _SPECIAL.sub(r"\\\1", plain(value))
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    return text
