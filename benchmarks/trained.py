"""A family of landscapes that real trainings taught: `table/table.parquet` through a surrogate.

As NAS-Bench-301 does (Zela et al., 2022), a model is fitted to the table, and what seeds do to a
training is added as noise. It is one that none of the compared samplers uses, extremely randomised
trees. Each instance is fitted to another resample of the architectures, so that runs see how little
is known.

``python benchmarks/trained.py`` prints the error on architectures that the trees have not seen,
beside the error that luck alone would cause.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold, cross_val_predict

from landscapes import LAYERS, OBJECTIVES, Landscape, Rows, Values

TABLE = Path(__file__).parent / "table" / "table.parquet"
COUNTS = [f"e{layer + 1}" for layer in range(LAYERS)]
NAMES = ("balanced_accuracy", "fairness", "robustness", "generalisation")
FOLDS = 5


@functools.cache
def trainings(path: Path = TABLE) -> pd.DataFrame:
    """The narrower base's trainings on the report half, each seed's common effect taken out."""
    table = pd.read_parquet(path)
    base = table.loc[table["kind"] == "base", "base"].iloc[0]
    table = table[(table["split"] == "report") & (table["base"] == base)].reset_index(drop=True)
    table["generalisation"] = -table["overfitting"].abs()
    values = table[list(NAMES)]
    core = table["kind"] != "spread"  # the same architectures under every seed
    common = values[core].groupby(table["seed"]).mean()
    shift = (common - common.mean()).reindex(table["seed"]).fillna(0.0)
    table[list(NAMES)] = values - shift.to_numpy()
    return table


def luck(table: pd.DataFrame) -> Values:
    """Standard deviation [4] of a training around its architecture's mean."""
    several = table[table.groupby("architecture")["seed"].transform("size") > 1]
    groups = several.groupby("architecture")[list(NAMES)]
    freedom = len(several) - groups.ngroups
    squares = ((several[list(NAMES)] - groups.transform("mean")) ** 2).sum()
    return np.sqrt(squares.to_numpy() / freedom)


def features(X: Rows) -> Values:
    return np.log2(np.asarray(X, dtype=np.float64))


def trees(seed: int) -> ExtraTreesRegressor:
    return ExtraTreesRegressor(300, min_samples_leaf=3, random_state=seed)


class Trained(Landscape):
    """What expert counts did to the four objectives in real trainings."""

    family, stream = "trained", 9

    def _draw(self, rng: np.random.Generator) -> None:
        table = trainings()
        names = table["architecture"].unique()
        rows = {name: np.flatnonzero(table["architecture"] == name) for name in names}
        picked = np.concatenate([rows[n] for n in rng.choice(names, len(names))])
        X, Y = table[COUNTS].to_numpy()[picked], table[list(NAMES)].to_numpy()[picked]
        self._trees = trees(self.instance).fit(features(X), Y)
        spread = self._raw(self.random_feasible(5000, rng)).std(axis=0)
        self.noise_share = tuple((luck(table) / spread).tolist())

    def _raw(self, X: Rows) -> Values:
        found: Values = self._trees.predict(features(X)).reshape(-1, OBJECTIVES)
        return found


def held_out(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Errors of the trees on architectures that they were not fitted to."""
    X, Y = features(table[COUNTS].to_numpy()), table[list(NAMES)].to_numpy()
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    said = cross_val_predict(trees(0), X, Y, groups=table["architecture"], cv=folds)
    error = np.sqrt(((said - Y) ** 2).mean(axis=0))
    share = 1 - ((said - Y) ** 2).sum(axis=0) / ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
    return [
        {"objective": name, "rmse": e, "luck": sd, "r2": r2, "n": len(table)}
        for name, e, sd, r2 in zip(
            NAMES, error.tolist(), luck(table).tolist(), share.tolist(), strict=True
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = trainings(options.table)
    found = held_out(table)
    print(f"{len(table)} trainings of {table['architecture'].nunique()} architectures; points")
    print(f"{'objective':<20}{'held-out RMSE':>14}{'luck alone':>12}{'R2':>8}")
    for each in found:
        print(
            f"{each['objective']:<20}{100 * each['rmse']:>14.1f}{100 * each['luck']:>12.1f}"
            f"{each['r2']:>8.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
