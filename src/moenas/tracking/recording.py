"""Recording a run in a tracker without ever waiting for it.

All that is tracked is also in the run folder, where it comes from. So what could not be sent is not
lost: each time a command goes on, it offers all points again, and a ledger in the run folder knows
which of them the tracker has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moenas.config import from_dict, to_dict
from moenas.console import logger
from moenas.errors import ConfigError, RunFolderError
from moenas.masking import masked
from moenas.run_log import outcome
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.tracking.tracker import Point, Tracker, TrackerName, make_tracker

PATIENCE = 15.0
"""Seconds that a command waits at its end for what is still to be sent."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds after which a tracker that failed is tried again; they double."""

MOST = 200
"""Points that are sent together."""


@contextlib.contextmanager
def recording(
    name: TrackerName | None, folder: RunFolder, settings: Mapping[str, Any]
) -> Iterator[Recording]:
    """Record a run in a tracker as long as the context lasts.

    Args:
        name: Which tracker; None: none, and everything that is offered is dropped.
        folder: The run; it must be locked.
        settings: Of the run, JSON-ready.

    Raises:
        MissingDependencyError: The tracker's library is not installed.
        ConfigError: The environment does not say where it is.
    """
    if name is None:
        yield Recording(None, "", folder)
        return
    record = Recording(make_tracker(name, folder, settings), name, folder)
    try:
        yield record
    except BaseException as error:
        record.close(outcome(error))
        raise
    record.close("finished")


class Recording:
    """A queue that a thread empties.

    Args:
        tracker: Where to; None: nowhere.
        name: What it is called.
        folder: The run.
    """

    def __init__(self, tracker: Tracker | None, name: str, folder: RunFolder) -> None:
        self._tracker = tracker
        self._name = name
        self._waiting: deque[Point | Path | _End] = deque()
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._warned = False
        if tracker is not None:
            self._sent = _Ledger(folder.tracking, f"{name} {tracker.where}")
            self._thread = threading.Thread(target=self._work, name="moenas-tracking", daemon=True)
            self._thread.start()

    def add(
        self,
        series: str,
        step: int,
        values: Mapping[str, float | None],
        moment: float | None = None,
    ) -> None:
        """Offer the numbers of a step, and return at once; a step that is there is passed over.

        Args:
            series: See `Point`.
            step: See `Point`.
            values: Numbers by name; those that are None or not finite are left out.
            moment: Seconds since 1970; None: now.
        """
        finite = {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        self._put(Point(series, step, finite, time.time() if moment is None else moment))

    def attach(self, file: Path) -> None:
        """Offer a file, once."""
        self._put(file)

    def close(self, outcome: str) -> None:
        """Send what is left, but not for long, and end."""
        if self._tracker is None:
            return
        self._closing.set()
        self._put(_End(outcome))
        self._thread.join(PATIENCE)
        left = sum(not isinstance(each, _End) for each in list(self._waiting))
        if left:
            logger.warning(
                "%d of the points for %s were not sent. The same command with --track %s sends "
                "them later.", left, self._name, self._name,
            )  # fmt: skip

    def _put(self, item: Point | Path | _End) -> None:
        if self._tracker is not None:
            with self._news:
                self._waiting.append(item)
                self._news.notify()

    def _work(self) -> None:
        started, pause = False, FIRST_PAUSE
        assert self._tracker is not None
        while True:
            last_try = self._closing.is_set()
            try:
                if not started:
                    self._sent.begin(self._tracker.start(self._sent.run, self._sent.token()))
                    started = True
                if self._step(self._tracker):
                    return
                pause = FIRST_PAUSE
            except Exception as error:  # a tracker's own, of any kind
                self._warn(error)
                if last_try:
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _step(self, tracker: Tracker) -> bool:
        """Wait for work and send some; True when that was the end."""
        with self._news:
            while not self._waiting:
                self._news.wait()
            first = self._waiting[0]
            points: list[Point] = []
            for item in self._waiting:
                if not isinstance(item, Point) or len(points) == MOST:
                    break
                points.append(item)
        if isinstance(first, _End):
            tracker.end(first.outcome)
            self._waiting.popleft()
            return True
        if isinstance(first, Path):
            with self._sent.once([(first.name, 0)]) as new:
                if new:
                    tracker.attach(first)
            self._waiting.popleft()
            return False
        with self._sent.once([(point.series, point.step) for point in points]) as new:
            fresh = {(p.series, p.step): p for p in points if (p.series, p.step) in new}
            if fresh:
                tracker.add(list(fresh.values()))
        for _ in points:
            self._waiting.popleft()
        return False

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s takes nothing: %s. The work goes on, and it is tried again.",
                self._name, masked(str(error)).strip().partition("\n")[0][:300].rstrip("."),
            )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _End:
    outcome: str


@dataclasses.dataclass(frozen=True)
class _Entry:
    run: str | None = None
    token: str | None = None
    sent: dict[str, list[int]] = dataclasses.field(default_factory=dict)


class _Ledger:
    """What a tracker has, in the run folder.

    A step is noted before it is sent and struck out where that fails: after a kill in between it is
    missing from the tracker, never there twice.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._all: dict[str, Any] = {}
        with contextlib.suppress(RunFolderError):  # missing or damaged: the run is tracked anew
            found = read_json(path)
            self._all = found if isinstance(found, dict) else {}
        entry, known = _Entry(), self._all.get(key)
        with contextlib.suppress(ConfigError):
            entry = from_dict(_Entry, known) if isinstance(known, dict) else entry
        self.run = entry.run
        self._token = entry.token
        self._sent = {(series, step) for series, steps in entry.sent.items() for step in steps}

    def token(self) -> str:
        """What the run is found by where its id was not noted; it is kept before it is used."""
        if self._token is None:
            self._token = uuid.uuid4().hex
            self._save()
        return self._token

    def begin(self, run: str) -> None:
        """Note the run's id; of another one than before nothing is sent yet."""
        if run != self.run:
            self.run = run
            self._sent = set()
        self._save()

    @contextlib.contextmanager
    def once(self, steps: list[tuple[str, int]]) -> Iterator[set[tuple[str, int]]]:
        """Give those of the steps that are not sent yet, and note that they are now."""
        new = set(steps) - self._sent
        if not new:
            yield new
            return
        try:
            self._sent |= new
            self._save()
            yield new
        except BaseException:
            self._sent -= new
            with contextlib.suppress(RunFolderError):  # the first error is the one to tell
                self._save()
            raise

    def _save(self) -> None:
        sent: dict[str, list[int]] = {}
        for series, step in sorted(self._sent):
            sent.setdefault(series, []).append(step)
        self._all[self._key] = to_dict(_Entry(self.run, self._token, sent))
        write_json(self._path, self._all)
