"""MoENASSampler in an Optuna study of your own: nothing else of MoENAS is needed.

The toy problem: a block has a width and a depth and one of three activations. Wide and deep is
accurate but slow. More than 60 units of memory is not allowed; that is free to compute.
"""

from __future__ import annotations

from typing import Any

import optuna

from moenas import MoENASSampler

ACTIVATIONS = {"relu": 0.0, "silu": 0.02, "gelu": 0.025}


def memory(params: dict[str, Any]) -> float:
    """Memory above the limit; zero or less is feasible."""
    return params["width"] * params["depth"] - 60


def objective(trial: optuna.Trial) -> tuple[float, float]:
    width = trial.suggest_int("width", 1, 32)
    depth = trial.suggest_int("depth", 1, 12)
    activation = trial.suggest_categorical("activation", list(ACTIVATIONS))
    accuracy = 1 - 1 / (1 + width * depth**0.7) + ACTIVATIONS[activation]
    seconds = 0.01 * width * depth * (1 if activation == "relu" else 1.3)
    return accuracy, seconds


optuna.logging.set_verbosity(optuna.logging.WARNING)
sampler = MoENASSampler(seed=0, constraint=memory, initial=12, batch=4)
study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
study.optimize(objective, n_trials=40)

broken = sum(memory(trial.params) > 0 for trial in study.trials)
distinct = len({tuple(trial.params.values()) for trial in study.trials})
print(f"{len(study.trials)} trials, {distinct} distinct, {broken} beyond the memory limit")
print("The front:")
for trial in sorted(study.best_trials, key=lambda trial: trial.values[1]):
    accuracy, seconds = trial.values
    print(f"  {accuracy:.3f} accurate, {seconds:.2f} s: {trial.params}")
