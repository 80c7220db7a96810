"""What must not be shown as it is: secrets, and characters that steer a terminal.

Logs and messages are passed on in bug reports, and what a library says of a server that it cannot
reach holds its address, password and all.
"""

from __future__ import annotations

import os
import re
import urllib.parse
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
    (re.compile(rf"({_NAME}['\"]? ?[:=] ?){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(rf"(--{_NAME} |\b[\w.-]{{0,64}}signature=){_VALUE}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bauthorization\W{1,8}(?:bearer|basic) )\S+", re.IGNORECASE), rf"\1{MASK}"),
)
_WORD = re.compile(r"\S+")
_USER = re.compile(r":/{1,2}[^\s:/'\"]*:")
_WHOLE = re.compile(r"(\w[\w+.-]*:/{1,2}[^:]*:)(.+)@", re.DOTALL)
_OPTION = re.compile(r"([?&][^=&?]{0,64}pass[^=&?]{0,64}=)([^&]+)", re.IGNORECASE)
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
    text = _WORD.sub(_without_password, text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _without_password(word: re.Match[str]) -> str:
    """Hide what is between an address's user and its last @: what it is made of, nobody can know.

    Word by word, for one expression over a long text of many half addresses takes squared time.
    """
    text, end = word[0], word[0].rfind("@")
    user = _USER.search(text, 0, max(0, end))
    if user is None or user.end() == end:
        return text
    return f"{text[: user.end()]}{MASK}{text[end:]}"


def masked_address(address: str) -> str:
    """Return one whole address `masked`: its password may also hold spaces, quotes, any character.

    A text that is no address, a path for instance, is `masked` like any other.
    """
    return masked(_OPTION.sub(rf"\1{MASK}", _WHOLE.sub(rf"\1{MASK}@", address, count=1)))


def masked_about(address: str, text: str) -> str:
    """Return `masked` what a library says of an address, without the parts of its password either.

    An @ or : in a password divides the address where nobody meant it to, and a library says of a
    part of the password that it is no host, or no port.
    """
    found = [match[2] for match in (_WHOLE.match(address), *_OPTION.finditer(address)) if match]
    read = (str, urllib.parse.unquote, urllib.parse.unquote_plus)
    whole = {way(secret) for secret in found for way in read}
    parts = {part for secret in whole for part in re.split("[@:/?&=]", secret)} - whole
    for secret in sorted(whole - {""}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for part in sorted(parts - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", MASK, text)
    return masked(text)


def masked_variable(name: str, value: str) -> str:
    """Return an environment variable's value without secrets, none of it where it is one."""
    return MASK if _VARIABLE.search(name) else masked_address(value)


def masked_all(value: Any) -> Any:
    """Return JSON-ready data with all texts in it masked, and those of secret names whole."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(item, str) and _VARIABLE.search(str(key)) else masked_all(item)
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
