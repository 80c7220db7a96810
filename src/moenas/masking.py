"""Secrets are not written down: addresses with passwords, tokens, the values of secret variables.

Logs and messages are passed on in bug reports, and what a library says of a server that it cannot
reach holds its address, password and all.
"""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "***"

SHORTEST = 8
"""Letters of a secret variable's value that is looked for; shorter ones are in any text."""

_NAMES = r"(?:token|secret|passw(?:or)?d|api[-_]?key|access[-_]?key|signature)"
_VARIABLE = re.compile(r"(?:token|secret|passw(?:or)?d|[-_]key)$", re.IGNORECASE)
_RULES = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(rf"(\b[\w.-]*{_NAMES}=)[^\s&,;'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(\bauthorization\W+(?:bearer|basic) )\S+", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def mask(text: str) -> str:
    """Return a text with ``***`` in place of each secret in it.

    Hidden are the user and password of an address, what follows ``token=``, ``password=`` and the
    like and ``Authorization:``, and the values of environment variables that are named so.
    """
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and _VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def mask_variable(name: str, value: str) -> str:
    """Return an environment variable's value without secrets, none of it where it is one."""
    return HIDDEN if _VARIABLE.search(name) else mask(value)


def mask_all(value: Any) -> Any:
    """Return JSON-ready data with all texts in it masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: mask_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    return value
