"""What must not be shown as it is: passwords in URLs, and characters that steer a terminal."""

from __future__ import annotations

import re

MASK = "***"

MOST = 20_000
"""Characters of the longest text that is shown whole."""

_PASSWORD = re.compile(r"(:/{1,2}[^\s:/@'\"]{0,512}):[^\s'\"]{1,512}@")
_PARAMETER = re.compile(
    r"([?&](?:\w{0,20}password|passwd|pwd|\w{0,20}token|\w{0,20}secret|api_?key)=)[^\s&'\"]+",
    re.IGNORECASE,
)
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff]"
)


def masked(text: str) -> str:
    """Return a text in which no URL has a password: ``postgresql://me:***@host/db``.

    Names of users, hosts and databases stay: without them nobody could tell which one is meant.
    """
    return _PARAMETER.sub(rf"\1{MASK}", _PASSWORD.sub(rf"\1:{MASK}@", text))


def shown(text: str) -> str:
    """Return a text as a terminal may show it: `masked`, of bounded length, nothing but text.

    File names and messages of other programs can hold escape sequences, which change what the
    terminal shows or does, and marks that turn the direction of reading; these are spelled out.
    """
    if len(text) > MOST:
        text = f"{text[:MOST]} ... ({len(text) - MOST} characters more)"
    return _STEERING.sub(lambda match: ascii(match[0])[1:-1], masked(text))
