"""The finished steps of a pruning, recorded one by one: a pruning that was killed goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

from moenas.config import from_dict
from moenas.errors import ConfigError, RunFolderError
from moenas.pruning.experts import PruningStep
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json


@dataclasses.dataclass
class StepRecord:
    """``pruned/steps.json``: what is pruned and how, and the steps that are done."""

    run: RunFolder
    of: dict[str, Any]
    steps: list[PruningStep]

    @classmethod
    def open(cls, run: RunFolder, of: dict[str, Any]) -> StepRecord:
        """Return the record of a pruning; what another one left in the run is removed.

        Args:
            run: The run folder.
            of: All that the steps depend on, JSON-ready.

        Raises:
            RunFolderError: The file is damaged.
        """
        path = run.pruning_steps
        if not path.exists():
            run.forget_pruning()
            return cls(run, of, [])
        try:
            stored = read_json(path)
            if stored["of"] != of:
                run.forget_pruning()
                return cls(run, of, [])
            steps = [from_dict(PruningStep, values) for values in stored["steps"]]
            if [step.step for step in steps] != list(range(len(steps))):
                raise ConfigError("a step is missing")
        except (RunFolderError, ConfigError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"'{path}' is damaged ({error}). Delete it and run the same command again: pruning "
                "begins anew."
            ) from error
        return cls(run, of, steps)

    def add(self, step: PruningStep) -> None:
        """Record a step, atomically."""
        self.steps.append(step)
        steps = [dataclasses.asdict(step) for step in self.steps]
        write_json(self.run.pruning_steps, {"of": self.of, "steps": steps})


def flat(step: PruningStep) -> dict[str, Any]:
    """Return a step as the report reads it: qualities beside the rest, ends of intervals apart."""
    values = dataclasses.asdict(step)
    intervals = values.pop("intervals")
    return {
        **values.pop("scores"),
        **values,
        "low": {name: low for name, (low, _) in intervals.items()},
        "high": {name: high for name, (_, high) in intervals.items()},
    }
