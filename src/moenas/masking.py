"""What must not be shown as it is: secrets, and characters that steer a terminal.

Logs and messages are passed on in bug reports, and what a library says of a server that it cannot
reach holds its address, password and all.
"""

from __future__ import annotations

import os
import re
from typing import Any

MASK = "***"

SHORTEST = 8
"""Letters of a secret variable's value that is looked for; shorter ones are in any text."""

MOST = 20_000
"""Characters of the longest text that is shown whole."""

_SAID = r"token|secret|passphrase|passw(?:or)?d|[-_]pass|api[-_]?key|access[-_]?key"
_NAME = rf"\b[\w.-]{{0,64}}(?:{_SAID}|pwd)"
_VARIABLE = re.compile(rf"(?:{_SAID}|^pass|dbpass|[-_]pwd|[-_]key)$", re.IGNORECASE)  # not PWD
_VALUE = r"""(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|['"]?[^\s&,;'"]+)"""
_RULES = (
    (re.compile(r"(:/{1,2}[^\s:/@'\"]{0,512}):[^\s'\"]{1,512}@"), rf"\1:{MASK}@"),
    (re.compile(rf"({_NAME}['\"]? ?[:=] ?){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"(--{_NAME} |\b[\w.-]{{0,64}}signature=){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bauthorization\W{1,8}(?:bearer|basic) )\S+", re.IGNORECASE), rf"\1{MASK}"),
)
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff]"
)


def masked(text: str) -> str:
    """Return a text with ``***`` in place of each secret: ``postgresql://me:***@host/db``.

    Hidden are the password of an address, what follows ``token=``, ``password:``, ``--password``
    and the like and ``Authorization:``, and the values of environment variables that are named so.
    Names of users, hosts and databases stay: without them nobody could tell which one is meant.
    """
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and _VARIABLE.search(name):
            text = text.replace(value, MASK)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def masked_variable(name: str, value: str) -> str:
    """Return an environment variable's value without secrets, none of it where it is one."""
    return MASK if _VARIABLE.search(name) else masked(value)


def masked_all(value: Any) -> Any:
    """Return JSON-ready data with all texts in it masked, and those of secret names whole."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {
            key: masked_variable(str(key), item) if isinstance(item, str) else masked_all(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked_all(item) for item in value]
    return value


def shown(text: str) -> str:
    """Return a text as a terminal may show it: `masked`, of bounded length, nothing but text.

    File names and messages of other programs can hold escape sequences, which change what the
    terminal shows or does, and marks that turn the direction of reading; these are spelled out.
    """
    if len(text) > MOST:
        text = f"{text[:MOST]} ... ({len(text) - MOST} characters more)"
    return _STEERING.sub(lambda match: ascii(match[0])[1:-1], masked(text))
