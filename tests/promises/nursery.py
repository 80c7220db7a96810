"""A process that has imported everything and forks a child for each piece of work.

A child that is to be killed costs milliseconds here, not the seconds that its imports take. Run as
a script it reads one JSON request a line and answers with one exit status a line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PRELOADED = (
    "fake_search",
    "torch",
    "moenas.nas.study",
    "moenas.workflows.data",
    "moenas.workflows.export",
    "moenas.workflows.prune",
    "moenas.workflows.shared_search",
    "moenas.data.sources.emoji",
)


class Nursery:
    """Runs functions in children; `close` it."""

    def __init__(self, *folders: Path) -> None:
        path = os.pathsep.join([*map(str, folders), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(self, function: str, *arguments: Any, kill_after: float | None = None) -> int:
        """Run ``module:name`` in a child; return its exit status, as `subprocess` gives it.

        Args:
            function: What to call.
            arguments: JSON-ready.
            kill_after: Seconds after which it gets SIGKILL, if it is still there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"function": function, "arguments": arguments, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:  # its pipes are closed in any case
            with contextlib.suppress(subprocess.TimeoutExpired):  # slow on a busy machine
                self._process.communicate(timeout=20)
            self._process.kill()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what children print is no answer
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_work(request))
        if request["kill_after"] is not None:
            time.sleep(request["kill_after"])
            os.kill(child, signal.SIGKILL)  # one that has ended waits here for its parent
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _work(request: dict[str, Any]) -> int:
    try:
        module, name = request["function"].split(":")
        getattr(importlib.import_module(module), name)(*request["arguments"])
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
