"""What the table of trainings shows: luck, layers, trade-offs, and whether experts help at all.

Everything is of the report half and paired by seed: models of one seed share initialisation (where
they have the same layers), order of images and augmentation. Intervals are 95 %, over seeds or over
trainings; "points" are hundredths.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

METRICS = (
    "balanced_accuracy", "worst_group_accuracy", "fairness", "fairness_debiased", "robustness",
    "overfitting",
)  # fmt: skip
LAYERS = [f"e{i}" for i in range(1, 10)]
FEWEST = 2  # seeds that all of some architectures must have, to tell luck from architectures


def complete(table: pd.DataFrame, kinds: list[str] | None = None) -> pd.DataFrame:
    """The trainings of architectures with several seeds, in a grid without holes."""
    core = table[table["kind"] != "spread"]
    if kinds is not None:
        core = core[core["kind"].isin(kinds)]
    kept = core["kind"].nunique()
    full = core.groupby("seed")["kind"].nunique()
    return core[core["seed"].isin(full[full == kept].index)]


def luck(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Standard deviations between seeds and between architectures, and the ranking's reliability.

    Two-way layout (architecture, seed) without replication: the seed's own effect is common to all
    architectures, the rest of its variance is luck that pairing doesn't remove.
    """
    grid = complete(table[table["base"] == table["base"].iloc[0]])
    found = []
    for metric in METRICS:
        values = grid.pivot_table(index="kind", columns="seed", values=metric).to_numpy()
        a, k = values.shape
        rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
        rest = values - rows - columns + values.mean()
        error = float((rest**2).sum() / ((a - 1) * (k - 1)))
        between = float(rows.var(ddof=1) - error / k)
        f = float(rows.var(ddof=1) * k / error)
        found.append(
            {
                "metric": metric,
                "architectures": a,
                "seeds": k,
                "sd_seed": float(np.sqrt(max(0.0, columns.var(ddof=1) - error / a))),
                "sd_luck": float(np.sqrt(error)),
                "sd_architecture": float(np.sqrt(max(0.0, between))),
                "p": float(stats.f.sf(f, a - 1, (a - 1) * (k - 1))),
                "tau": reliability(values),
            }
        )
    return found


def reliability(values: np.ndarray) -> float:
    """Mean Kendall's tau between the rankings of one seed and of the mean of the others."""
    k = values.shape[1]
    taus = [
        stats.kendalltau(values[:, j], np.delete(values, j, axis=1).mean(axis=1)).statistic
        for j in range(k)
    ]
    return float(np.mean(taus))


def against_base(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Paired differences from the base model of every architecture with several seeds."""
    grid = complete(table)
    found = []
    for kind in dict.fromkeys(grid["kind"]):
        if kind == "base":
            continue
        entry: dict[str, Any] = {
            "kind": kind,
            "size": float(grid.loc[grid["kind"] == kind, "parameters"].iloc[0]),
        }
        for metric in METRICS:
            values = grid.pivot_table(index="seed", columns="kind", values=metric)
            change = (values[kind] - values["base"]).to_numpy()
            half = stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5
            entry[metric] = [change.mean(), change.mean() - half, change.mean() + half]
        found.append(entry)
    return found


def regression(table: pd.DataFrame, metric: str, columns: list[str]) -> dict[str, Any]:
    """Least squares of a metric on seeds and some columns: slopes with intervals, and R² beyond.

    Args:
        table: Trainings of the base model's width.
        metric: What is explained.
        columns: By what, beside the seeds.
    """
    seeds = pd.get_dummies(table["seed"]).to_numpy(dtype=float)
    X = np.concatenate([seeds, table[columns].to_numpy(dtype=float)], axis=1)
    y = table[metric].to_numpy(dtype=float)
    weights, *_ = np.linalg.lstsq(X, y, rcond=None)
    freedom = len(y) - np.linalg.matrix_rank(X)
    residual = float(((y - X @ weights) ** 2).sum())
    alone = y - seeds @ np.linalg.lstsq(seeds, y, rcond=None)[0]
    total = float((alone**2).sum())
    error = np.sqrt(np.diag(np.linalg.pinv(X.T @ X)) * residual / freedom)[seeds.shape[1] :]
    slopes = weights[seeds.shape[1] :]
    half = stats.t.ppf(0.975, freedom) * error
    k = len(columns)
    f = (total - residual) / k / (residual / freedom)
    return {
        "metric": metric,
        "n": len(y),
        "r2": 1 - residual / total,
        "p": float(stats.f.sf(f, k, freedom)),
        "slopes": {
            name: [float(s), float(s - h), float(s + h)]
            for name, s, h in zip(columns, slopes, half, strict=True)
        },
    }


def trade_offs(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Spearman's correlation of each two objectives over trainings, seeds' means taken out."""
    names = ["balanced_accuracy", "fairness", "robustness", "generalisation", "parameters"]
    frame = table.assign(generalisation=-table["overfitting"].abs())
    paired = frame[names] - frame.groupby("seed")[names].transform("mean")
    found = []
    for one, two in itertools.combinations(names, 2):
        test = stats.spearmanr(paired[one], paired[two])
        found.append({"of": [one, two], "rho": float(test.statistic), "p": float(test.pvalue)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("table.parquet"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = pd.read_parquet(options.table)
    table = table[table["split"] == "report"]
    base = table[table["kind"] == "base"]["base"].iloc[0]
    narrow = table[table["base"] == base].sort_values("kind", key=lambda k: k != "base")
    narrow = narrow.assign(
        size=narrow["parameters"] / 1e6, **{e: np.log2(narrow[e]) for e in LAYERS}
    )
    print(f"{len(table)} trainings of {table['architecture'].nunique()} architectures\n")
    results: dict[str, Any] = {"trainings": len(table)}
    grid = complete(narrow)
    if grid["seed"].nunique() >= FEWEST:
        results["luck"] = luck(narrow)
        show_luck(results["luck"])
        results["against_base"] = against_base(table)
        show_differences(results["against_base"])
    results["trade_offs"] = trade_offs(narrow)
    results["size"] = [regression(narrow, metric, ["size"]) for metric in METRICS]
    results["layers"] = [regression(narrow, metric, LAYERS) for metric in METRICS]
    show_regressions(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def show_luck(found: list[dict[str, Any]]) -> None:
    print(f"{found[0]['architectures']} architectures, {found[0]['seeds']} seeds each; points")
    print(f"{'metric':<22}{'sd of seeds':>12}{'luck':>8}{'archs':>8}{'p':>8}{'tau':>7}")
    for each in found:
        cells = [100 * each[name] for name in ("sd_seed", "sd_luck", "sd_architecture")]
        print(
            f"{each['metric']:<22}{cells[0]:>12.1f}{cells[1]:>8.1f}{cells[2]:>8.1f}"
            f"{each['p']:>8.3f}{each['tau']:>7.2f}"
        )


def show_differences(found: list[dict[str, Any]]) -> None:
    print("\nfrom the base model, points (95 % over seeds)")
    for each in found:
        cells = [
            "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * v for v in each[metric]))
            for metric in ("balanced_accuracy", "worst_group_accuracy", "robustness")
        ]
        print(
            f"{each['kind']:<12}{each['size'] / 1e6:5.2f}M  " + "".join(f"{c:>24}" for c in cells)
        )


def show_regressions(results: dict[str, Any]) -> None:
    print("\nall trainings, seeds taken out: points for a million parameters more; share explained")
    for one, layers in zip(results["size"], results["layers"], strict=True):
        slope = [100 * v for v in one["slopes"]["size"]]
        print(
            f"{one['metric']:<22}{slope[0]:+6.1f} ({slope[1]:+.1f} to {slope[2]:+.1f}), "
            f"R² {one['r2']:.2f} (p {one['p']:.3f}); by layer R² {layers['r2']:.2f} "
            f"(p {layers['p']:.3f})"
        )
    print("\nrank correlations")
    for each in results["trade_offs"]:
        print(f"{each['of'][0]:<20}{each['of'][1]:<18}{each['rho']:+.2f} (p {each['p']:.3f})")


if __name__ == "__main__":
    main()
