"""A tracker that only remembers, and can be away; what the tests of real ones share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from moenas.runs import RunFolder
from moenas.tracking import recording
from moenas.tracking.tracker import Point


def new_run(path: Path) -> RunFolder:
    return RunFolder.create(path, "search", {"trials": 4, "data": ["a", "b"], "base": "net"})


class Memory:
    """Keeps what it is given; ``away`` says how many calls fail before one succeeds."""

    where = "memory"

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.tried = 0
        self.points: list[tuple[str, int, dict[str, float]]] = []
        self.files: list[str] = []
        self.known: list[str | None] = []
        self.tokens: list[str] = []
        self.outcomes: list[str] = []

    def _reach(self) -> None:
        self.tried += 1
        if self.tried <= self.away:
            raise ConnectionError("no answer from http://me:secret@host")

    def start(self, known: str | None, token: str) -> str:
        self._reach()
        self.known.append(known)
        self.tokens.append(token)
        return "run-1"

    def add(self, points: Sequence[Point]) -> None:
        self._reach()
        self.points += [(p.series, p.step, dict(p.values)) for p in points]

    def attach(self, file: Path) -> None:
        self._reach()
        self.files.append(file.name)

    def end(self, outcome: str) -> None:
        self._reach()
        self.outcomes.append(outcome)


def use(tracker: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "make_tracker", lambda *_: tracker)
