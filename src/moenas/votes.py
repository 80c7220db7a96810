"""Annotators' votes on a skin tone, and three rules by which they make groups.

FACET publishes how many annotators chose each of ten tones for a person. Annotators disagree, so
any rule is a choice, and what depends on it should be told (`moenas.metrics.votes`).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.errors import DataError

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

VOTE_COLUMNS = tuple(f"skin_tone_{tone}" for tone in range(1, 11))
"""Columns of votes, lightest tone first, as FACET names them."""

Rule = Literal["argmax", "any", "soft"]
"""``argmax``: the tone with most votes; ties go to the lowest. ``any``: each tone that has a vote,
so groups overlap. ``soft``: each tone that has a vote, weighed by its share of the votes."""

RULES: tuple[Rule, ...] = get_args(Rule)


def votes_of(frame: pd.DataFrame, what: str) -> I64:
    """Return the votes of each row, [n, 10]; empty cells count as none.

    Args:
        frame: A table with `VOTE_COLUMNS`.
        what: The table's name in messages.

    Raises:
        DataError: A column is missing, or a number of votes is none.
    """
    missing = [name for name in VOTE_COLUMNS if name not in frame]
    if missing:
        raise DataError(f"{what} has no column '{missing[0]}' with votes on the skin tone.")
    columns = [pd.to_numeric(frame[name], errors="coerce") for name in VOTE_COLUMNS]
    votes = np.stack([c.to_numpy(dtype="float64", na_value=np.nan) for c in columns], axis=1)
    given = frame[list(VOTE_COLUMNS)].notna().to_numpy()
    wrong = given & ~((votes >= 0) & (votes == np.floor(votes)) & np.isfinite(votes))
    if wrong.any():
        row, column = (int(place[0]) for place in np.nonzero(wrong))
        value = frame[VOTE_COLUMNS[column]].iloc[row]
        raise DataError(
            f"{what}, row {row}: {VOTE_COLUMNS[column]} is {value!r}, not a number of votes."
        )
    return np.where(given, votes, 0).astype(np.int64)


def groups_of(votes: I64, rule: Rule) -> tuple[I64, I64, F64]:
    """Return which row is in which tone and how much it counts there.

    Args:
        votes: [n, 10].
        rule: See `Rule`.

    Returns:
        (rows, tones 1..10, weights), [m] each, ordered by row, then tone. Rows without any vote are
        in no tone.

    Raises:
        DataError: The rule is unknown.
    """
    if rule not in RULES:
        raise DataError(f"There is no rule '{rule}' for votes; it is one of {', '.join(RULES)}.")
    total = votes.sum(1)
    if rule == "argmax":
        rows = np.flatnonzero(total)
        return rows, votes[rows].argmax(1) + 1, np.ones(len(rows))
    rows, tones = np.nonzero(votes)
    if rule == "any":
        return rows, tones + 1, np.ones(len(rows))
    return rows, tones + 1, votes[rows, tones] / total[rows]
