"""The errors that MoENAS raises on purpose: each says what, where and what to do."""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from typing import Any


class MoENASError(Exception):
    """Base of all errors whose message is written for the user; the CLI prints it bare.

    Attributes:
        goes_on: Whether nothing is wrong: the same command, run again, goes on.
    """

    goes_on = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send errors back: made again from its message, whatever its __init__ takes.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigError(MoENASError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(MoENASError):
    """A manifest, an image or a data set cannot be used as it is."""


class ModelError(MoENASError):
    """A model cannot be built, converted or used with this input."""


class CheckpointError(MoENASError):
    """A weights or state file is missing, truncated, foreign or of another model."""


class RunFolderError(MoENASError):
    """A run folder is foreign, from another version, in use, full or not writable."""


class RunFolderInUseError(RunFolderError):
    """Another process works in a run folder."""


class SearchError(MoENASError):
    """A search cannot start or go on."""


class MissingDependencyError(MoENASError):
    """An optional package is needed; the message gives the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}'. "
            f"Install it with: pip install 'moenas[{extra}]'"
        )


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return `` Did you mean 'x'?`` when a known name is close, else the list of known names.

    Args:
        name: What the user wrote.
        known: The valid names.
        otherwise: Said instead of that list, where it would be too long.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    if otherwise is not None:
        return otherwise
    return "Known: " + ", ".join(names) + "."
