"""What the statistics of an audit cost, and whether they are right: speed, coverage, false alarms.

speed     10,000 resamples of all metrics of 20,000 predictions with 10 groups, by image,
          photograph and concept, beside fairlearn's bootstrap in the same run
million   full scores of 1,000,000 predictions, in a process of its own: seconds and memory
coverage  how often intervals hold the truth of simulated models (95 % is asked for)
alarms    how often a fair model, or two equal ones, are called otherwise (5 % is asked for)
seeds     the same of models with two, three or five trainings, for single tests and for families of
          20 with Holm, and how often a model that is better is found

Run it with ``python benchmarks/audit_statistics.py``; ``--quick`` only shows that it works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from moenas.evaluation.comparison import LEVEL, TESTED, Comparison
from moenas.evaluation.records import against
from moenas.evaluation.scores import score
from moenas.evaluation.statistics import Clusters, compare_answers, intersections
from moenas.metrics import METRICS
from moenas.predictions import LIGHTS, Predictions
from moenas.runtime import keep_freed_memory, peak_memory

GROUPS = 10
SHARES = np.array([5, 12, 17, 17, 13, 11, 9, 7, 5, 4]) / 100
"""Of the tones, as skewed as FACET's."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table, and of the JSON."""

    case: str
    value: float
    unit: str
    goal: float
    peer: str = ""
    better: str = "lower"

    @property
    def reached(self) -> bool:
        """Whether the value is as good as its goal."""
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("speed", "million", "coverage", "alarms", "seeds"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    trials = 20 if options.quick else options.trials
    parts: dict[str, Callable[[], list[Row]]] = {
        "speed": lambda: speed(fairlearn_draws=10 if options.quick else 50),
        "million": lambda: million(20_000 if options.quick else 1_000_000),
        "coverage": lambda: coverage(trials),
        "alarms": lambda: alarms(trials),
        "seeds": lambda: seeds(max(2, trials // 10)),
    }
    rows: list[Row] = []
    print(f"{'case':<58}{'value':>10} {'unit':<9}{'goal':>7}  peer")
    for name, part in parts.items():
        if options.only in (None, name):
            for row in part():
                rows.append(row)
                mark = "" if row.reached else "  MISSED"
                print(
                    f"{row.case:<58}{row.value:>10.3f} {row.unit:<9}{row.goal:>7.2f}  "
                    f"{row.peer}{mark}"
                )
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(r) for r in rows], indent=2) + "\n")


# ---------------------------------------------------------------------------------------- speed


def table(n: int, per_cluster: int = 1, seed: int = 0) -> Predictions:
    """Persons of ten tones and none, in all lights."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    frame = pd.DataFrame({"image_id": np.arange(n).astype(str), "label": label})
    frame["group"] = rng.integers(1, GROUPS + 1, n)
    frame["lighting"] = rng.choice(LIGHTS, n)
    frame["probability"] = np.clip(0.5 * label + 0.6 * rng.random(n) - 0.05, 0, 1)
    if per_cluster > 1:
        frame["cluster"] = rng.integers(0, n // per_cluster, n).astype(str)
    return Predictions(frame)


def resample_all(predictions: Predictions, draws: int = 10_000) -> None:
    tally = Clusters([predictions]).resample(draws, 0)[0]
    for metric in METRICS.values():
        if metric.tally is not None:
            metric.tally(tally, None)


def speed(fairlearn_draws: int) -> list[Row]:
    from fairlearn.metrics import MetricFrame, false_positive_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    plain = table(20_000)
    frame = plain.frame
    start = time.perf_counter()
    MetricFrame(
        metrics={"accuracy": accuracy_score, "tpr": true_positive_rate, "fpr": false_positive_rate},
        y_true=frame["label"],
        y_pred=frame["prediction"],
        sensitive_features=frame["group"],
        n_boot=fairlearn_draws,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    peer = f"fairlearn: {time.perf_counter() - start:.1f} s for {fairlearn_draws} resamples"
    rows = []
    for name, per_cluster, goal in (("image", 1, 0.5), ("photograph", 3, 3.0), ("concept", 200, 3)):
        predictions = table(20_000, per_cluster)
        seconds = min(_seconds(lambda p=predictions: resample_all(p)) for _ in range(3))
        case = f"10,000 resamples by {name}, {sum(1 for m in METRICS.values() if m.tally)} metrics"
        rows.append(Row(case, seconds, "s", goal, peer))
    return rows


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def million(n: int) -> list[Row]:
    rows = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name, per_cluster in (("single images", 1), ("photographs of three", 3)):
            path = Path(folder) / "predictions.parquet"
            table(n, per_cluster).save(path)
            with context.Pool(1) as pool:
                seconds, cpu, gigabytes = pool.apply(_score_file, (str(path),))
            case = f"full scores of {n:,} predictions, {name}"
            rows.append(Row(case, seconds, "s", 5.0, f"{cpu:.1f} s of CPU time"))
            rows.append(Row("  memory of the whole process", gigabytes, "GB", 1.0))
    return rows


def _score_file(path: str) -> tuple[float, float, float]:
    keep_freed_memory()  # as every command does
    predictions = Predictions.load(path)
    cpu = time.process_time()
    seconds = _seconds(lambda: score(predictions, split="report", parameters=1, macs=1))
    return seconds, time.process_time() - cpu, peak_memory() / 1e9


# ------------------------------------------------------------------------- simulated models


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def people(
    seed: int, gap: float = 0.0, loss: float = 0.0, model: int = 0, n: int = 1500
) -> Predictions:
    """One to three persons a photograph, who share its difficulty; as many images without.

    ``gap``: logits that the darkest tone loses; ``loss``: that all lose; ``model``: other answers
    on the same images, right as often.
    """
    rng, answers = np.random.default_rng(seed), np.random.default_rng([seed, model])
    photo = np.repeat(np.arange(n), rng.integers(1, 4, n))[:n]
    tone = rng.choice(GROUPS, n, p=SHARES)
    easy = rng.normal(0, 1, n)[photo]
    seen = answers.random(n) < logistic(2.2 + easy - gap * tone / (GROUPS - 1) - loss)
    label = np.repeat([1, 0], n)
    frame = pd.DataFrame({"label": label, "image_id": np.arange(2 * n).astype(str)})
    frame["prediction"] = np.append(seen, answers.random(n) < 0.1).astype(int)
    frame["group"] = pd.array([*(tone + 1), *[pd.NA] * n], dtype="Int16")
    frame["cluster"] = [f"p{i}" for i in photo] + [f"n{i}" for i in range(n)]
    frame["lighting"] = rng.choice(LIGHTS, 2 * n)
    frame["gender"] = rng.choice(["f", "m"], 2 * n)
    return Predictions(frame)


def true_recalls(gap: float, loss: float = 0.0) -> np.ndarray:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logit = 2.2 + nodes[:, None] - gap * np.arange(GROUPS) / (GROUPS - 1) - loss
    return weights @ logistic(logit) / weights.sum()


def coverage(trials: int) -> list[Row]:
    from moenas.evaluation.degradation import degradation  # needs torch, which the rest does not

    hits: dict[str, list[bool]] = {}

    def note(name: str, low: float, high: float, truth: float) -> None:
        hits.setdefault(name, []).append(low <= truth <= high)

    for gap in (0.0, 1.0):
        recall, worse = true_recalls(gap), true_recalls(gap, 0.7)
        balanced = (recall @ SHARES + 0.9) / 2
        fairness = 1 - np.abs(recall - recall[-1]).mean() / 0.2
        for seed in range(trials):
            table = people(seed, gap)
            scores = score(table, split="report", parameters=1, macs=1, draws=400)
            note("balanced accuracy", *scores.intervals["balanced_accuracy"], balanced)
            for group in scores.groups:
                note("accuracy of a tone", group.low, group.high, recall[group.group - 1])
            note(
                "gap lightest-darkest",
                *scores.intervals["gap_lightest_darkest"],
                recall[0] - recall[-1],
            )
            note(f"fairness, {_kind(gap)}", *scores.intervals["fairness"], fairness)
            drops = degradation({0: table, 3: people(seed, gap, 0.7)})
            for row in drops[
                (drops["severity"] == 3) & (drops["score"] == "accuracy")
            ].itertuples():
                place = row.group - 1
                note(
                    "drop of a tone, paired",
                    row.drop_low,
                    row.drop_high,
                    recall[place] - worse[place],
                )
    rows = []
    for name, found in hits.items():
        covered = float(np.mean(found))
        # Fairness is bounded from above: the interval's promise is one-sided there.
        off = max(0.0, 0.95 - covered) if name.startswith("fairness") else abs(covered - 0.95)
        peer = f"covers {100 * covered:.1f} % of {len(found)}"
        rows.append(Row(f"distance of coverage from 95 %: {name}", 100 * off, "points", 2.0, peer))
    return rows


def _kind(gap: float) -> str:
    return "fair model" if gap == 0 else "unfair model"


def alarms(trials: int) -> list[Row]:
    found: dict[str, list[bool]] = {}

    def note(name: str, alarm: bool) -> None:
        found.setdefault(name, []).append(bool(alarm))

    for seed in range(trials):
        fair = people(seed)
        scores = score(fair, split="report", parameters=1, macs=1, draws=400)
        note("fairness of a fair model", scores.fairness_p_value <= 0.05)
        note("equal opportunity of a fair model", scores.equal_opportunity_p_value <= 0.05)
        crossed = intersections(fair, ("group", "gender"))
        note("any of 20 intersections, Holm", (crossed["p_holm"] <= 0.05).any())
        versus = compare_answers({"one": fair, "two": people(seed, model=1)})
        note("any of 11 McNemar tests, Holm", (versus["p_holm"] <= 0.05).any())
    # What a rate stays below with 99.9 % when it is truly 5 %.
    most = 100 * (0.05 + 3.1 * np.sqrt(0.05 * 0.95 / trials))
    return [
        Row(
            f"false alarms: {name}",
            100 * float(np.mean(alarm)),
            "%",
            most,
            f"5 % asked for, {trials} trials",
        )
        for name, alarm in found.items()
    ]


def seeds(families: int) -> list[Row]:
    """Five equal models and a better one on the same images, all compared with the first."""
    rows = []
    for k in (2, 3, 5):
        for spread, what in ((0.0, "alike"), (0.5, "that differ")):
            single: list[float] = []
            alarm, found = [], []
            for family in range(families):
                models = {
                    str(number): [
                        trained(family, 10 * number + n, spread, 4.0 * (number == 5))
                        for n in range(k)
                    ]
                    for number in range(6)
                }
                entries = against(Comparison(models, draws=300), "0")
                better = entries.pop("5")["balanced_accuracy"]
                found.append(better["p_holm"] < LEVEL and better["better"])
                tests = [model[metric] for model in entries.values() for metric in TESTED]
                single += [test["p"] for test in tests]
                alarm.append(any(test["p_holm"] < LEVEL for test in tests))
            case, peer = f"{k} seeds {what}", f"{families} families"
            for level in (0.05, 0.003):
                rate = 100 * float(np.mean(np.array(single) < level))
                # Tests of one family go together: what the families alone would allow.
                most = 100 * (level + 3.1 * np.sqrt(level * (1 - level) / families))
                rows.append(Row(f"false alarms: {case}, p < {level}", rate, "%", most, peer))
            most = 100 * (0.05 + 3.1 * np.sqrt(0.05 * 0.95 / families))
            share = 100 * float(np.mean(alarm))
            rows.append(Row(f"false alarms: {case}, any test, Holm", share, "%", most, peer))
            share = 100 * float(np.mean(found))
            rows.append(Row(f"found: {case}, better by 6.5 points", share, "%", 0, peer, "higher"))
    return rows


def trained(images: int, training: int, spread: float, better: float) -> Predictions:
    """One training: its luck moves all logits by a normal number of ``spread``."""
    loss = float(np.random.default_rng([images, training]).normal(0, spread)) - better
    frame = people(images, loss=loss, model=training, n=400).frame
    held = frame["cluster"].str[1:].astype(int) % 4 == 0  # whole photographs
    return Predictions(frame.assign(split=np.where(held, "val", "report")))


if __name__ == "__main__":
    main()
