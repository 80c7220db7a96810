"""The command line: one command, one function of `workflows`.

People read stderr, machines (``--json``) stdout.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape

from moenas.config import to_dict
from moenas.console import console, set_up_logging, table
from moenas.data.manifest import Manifest, describe
from moenas.data.sources.coco import Rule
from moenas.data.sources.facet import Unit
from moenas.errors import MoENASError, did_you_mean
from moenas.evaluation.scores import Scores
from moenas.nas.settings import NEXT_WIDTH, SearchConfig
from moenas.runs import json_text
from moenas.runtime import keep_freed_memory
from moenas.workflows import (
    audit,
    benchmark,
    dashboard,
    data,
    demo,
    doctor,
    evaluate,
    predict,
    prune,
    report,
    search,
    train,
    verify,
)
from moenas.workflows.audit import AuditConfig
from moenas.workflows.audit_predictions import audit_predictions
from moenas.workflows.settings import Resources

Json = Annotated[bool, tyro.conf.arg(name="json", help="Print the result as JSON to stdout.")]
Run = Annotated[Path, tyro.conf.arg(help="Run folder; an unfinished run there goes on.")]
Checkpoint = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="A model.")]
Data = Annotated[str, tyro.conf.arg(help="'emoji', a manifest, a CSV, or a folder of images.")]
ANY = Resources()


def demo_command(
    run: Run = Path("runs/demo"), resources: Resources = ANY, json: Json = False
) -> None:
    """Search for fair, robust small models on drawn scenes: the whole path in minutes."""
    _show_search(demo.demo(run, resources), json)


def search_command(
    config: SearchConfig,
    run: Run = Path("runs/search"),
    resources: Resources = ANY,
    dry_run: bool = False,
    json: Json = False,
) -> None:
    """Search a base model's expert counts; report on finalists that were trained anew.

    Args:
        config: What to search.
        run: Run folder.
        resources: Where and how long.
        dry_run: Tell trials, time and disk, measured in some seconds, and write nothing.
        json: JSON.
    """
    if not dry_run:
        _show_search(search.search(config, run, resources), json)
        return
    cost = search.price(config, resources)
    rows = [
        ("architectures tried", cost.trials),
        ("trainings in all", cost.trainings),
        ("seconds a trial", f"{cost.seconds_a_trial:.0f}"),
        ("total time", _duration(cost.seconds)),
        ("workers", resources.count_workers()),
        ("disk", f"{cost.bytes / 1e6:.0f} MB"),
    ]
    _print(cost, json, table("This search would take", ("", ""), rows))


def train_command(
    config: train.TrainConfig,
    run: Run = Path("runs/train"),
    resources: Resources = ANY,
    json: Json = False,
) -> None:
    """Train one architecture and score it."""
    result = train.train(config, run, resources)
    _print(
        result,
        json,
        *(_score_table(f"{name} half", scores) for name, scores in result.scores.items()),
        f"Model: {run / 'model' / 'checkpoint.safetensors'}",
    )


def evaluate_command(
    checkpoint: Checkpoint,
    data: Data = "emoji",
    split: str = "report",
    device: str = "auto",
    save: Path | None = None,
    json: Json = False,
) -> None:
    """Score a model on a data set: accuracy, fairness over groups, light, with intervals.

    Args:
        checkpoint: A model.
        data: Images.
        split: The split to score.
        device: auto, cpu, cuda, mps.
        save: Also write the predictions to this Parquet file.
        json: JSON.
    """
    scores, _ = evaluate.evaluate(checkpoint, data, split=split, device=device, save=save)
    notes = []
    if scores.noise_floor_mean is not None and scores.fairness_p_value is not None:
        notes.append(
            f"A perfectly fair model would have a fairness of {100 * scores.noise_floor_mean:.1f} "
            f"on these images; chance alone makes it as unfair as this with p = "
            f"{scores.fairness_p_value:.3f}."
        )
    _print(
        scores,
        json,
        _score_table(f"{checkpoint.name} on {split}", scores),
        _groups(scores),
        _lights(scores),
        *notes,
    )


def prune_command(
    checkpoint: Checkpoint,
    data: Data = "emoji",
    run: Run = Path("runs/prune"),
    keep_above: dict[str, float] | None = None,
    max_parameters: int | None = None,
    device: str = "auto",
    json: Json = False,
) -> None:
    """Remove the least used experts of a model, one by one, as long as quality holds.

    Args:
        checkpoint: A model with experts.
        data: Images with the splits val, search and report.
        run: Run folder.
        keep_above: Share of each starting quality that must remain, e.g. balanced_accuracy 0.98.
        max_parameters: Stop at this size.
        device: auto, cpu, cuda, mps.
        json: JSON.
    """
    result = prune.prune(
        checkpoint, data, run, keep_above=keep_above, max_parameters=max_parameters, device=device
    )
    rows = [
        (
            step.step if step.step <= result.accepted else f"{step.step} (refused)",
            f"{step.parameters / 1e6:.2f}M",
            *(f"{100 * value:.1f}" for value in step.scores.values()),
        )
        for step in result.steps
    ]
    columns = ("removed", "size", *(name.replace("_", " ") for name in result.steps[0].scores))
    plain = [dataclasses.asdict(step) for step in result.steps]
    _print(
        {"steps": plain, "accepted": result.accepted, "stopped_because": result.stopped_because},
        json,
        table("Pruning (search half, per cent)", columns, rows),
        f"Stopped: {result.stopped_because}.",
        f"Model: {run / 'pruned' / 'checkpoint.safetensors'}",
    )


def predict_command(
    checkpoint: Checkpoint,
    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(help="Image files or folders.")
    ],
    device: str = "auto",
    json: Json = False,
) -> None:
    """Is there a person in these images?"""
    answers = predict.predict_files(checkpoint, images, device=device)
    rows = [
        (
            Path(a.path).name,
            "unreadable" if a.person is None else "person" if a.person else "no person",
            "" if a.probability is None else f"{a.probability:.3f}",
        )
        for a in answers
    ]
    errors = [a.error for a in answers if a.error]
    _print(
        [dataclasses.asdict(a) for a in answers],
        json,
        table("Predictions", ("image", "answer", "probability"), rows),
        *errors,
    )
    if errors:
        raise MoENASError(f"{len(errors)} of {len(answers)} images could not be read.")


def report_command(run: tyro.conf.Positional[Path], json: Json = False) -> None:
    """Draw a run's report anew.

    Args:
        run: Run folder.
        json: JSON.
    """
    path = report.report(run)
    _print({"report": str(path)}, json, f"Report: {path}")


def dashboard_command(
    run: tyro.conf.Positional[Path],
    host: str = "127.0.0.1",
    port: int = 8080,
    json: Json = False,
) -> None:
    """Show a search in the browser while it goes on, with optuna-dashboard; it only reads.

    Args:
        run: Run folder of a search.
        host: Address to listen on; by default only this machine can look.
        port: Port to listen on; 0 takes a free one.
        json: JSON, once it listens.
    """
    with dashboard.open_dashboard(run, host, port) as server:
        _print({"url": server.url}, json, f"Dashboard: {server.url}", "Ctrl-C ends it.")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def verify_command(run: tyro.conf.Positional[Path], json: Json = False) -> None:
    """Recompute every number of a run from its predictions and checkpoints.

    Args:
        run: Run folder.
        json: JSON.
    """
    with console.status("Recomputing every number ..."):
        result = verify.verify(run)
    _print(
        dataclasses.asdict(result),
        json,
        f"{result.numbers:,} numbers of {result.models} models recomputed.",
    )
    if result.problems:
        shown = "\n- ".join(result.problems[:20])
        raise MoENASError(f"{len(result.problems)} do not agree:\n- {shown}")
    console.print("[green]All agree.[/green]")


def data_command(
    source: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(
            help="'emoji', your folder of images, CSV or manifest, or a folder of COCO, FACET, "
            "Wake Vision or CIFAR-100. FACET needs a second one, to train on."
        ),
    ],
    out: Path = Path("data"),
    rule: Rule = "vww",
    unit: Unit = "person",
    json: Json = False,
) -> None:
    """Make a manifest and check all of it: unreadable images, leaks between splits, missing groups.

    Args:
        source: Where images come from.
        out: Where the manifest goes.
        rule: COCO: which image has a person.
        unit: FACET: show each person's box, or the whole image.
        json: JSON.
    """
    path = data.make_manifest(source, out, rule=rule, unit=unit)
    counts = describe(Manifest.load(path))
    rows = [
        (split, part["n"], part["positives"], len(part["groups"]), len(part["lights"]))
        for split, part in counts.items()
    ]
    columns = ("split", "images", "with a person", "groups", "lights")
    _print(
        {"manifest": str(path), "counts": counts},
        json,
        table("Images", columns, rows),
        *_group_counts(counts),
        f"Manifest: {path}",
    )


def benchmark_command(
    base: str = "mobilevitv2_050",
    wider: str | None = NEXT_WIDTH,
    image_size: int = 128,
    threads: int = 1,
    device: str = "auto",
    latency_table: Path | None = None,
    json: Json = False,
) -> None:
    """Measure on this device what experts cost in each layer: a latency table for a search.

    Args:
        base: Base model.
        wider: A second, wider one; next: the base's own next width.
        image_size: Side of the images, pixels.
        threads: Threads on a CPU.
        device: auto, cpu, cuda, mps.
        latency_table: Write the table to this file.
        json: JSON.
    """
    result = benchmark.benchmark(
        base,
        wider,
        image_size=image_size,
        threads=threads,
        device=device,
        latency_table=latency_table,
    )
    found, tables = result.table, []
    for entry in found.bases:
        rows = [
            (layer, *(f"{time:.3f}" for time in added[1:]))
            for layer, added in enumerate(entry.added, start=1)
        ]
        title = f"{entry.base}: {entry.dense_ms:.2f} ms, and what experts add in each layer, ms"
        tables.append(table(title, ("layer", *map(str, range(2, len(rows[0]) + 1))), rows))
    notes = [f"Device: {found.device}, {found.threads} thread(s), {found.image_size} px, one image"]
    if found.agreement is not None:
        ranks = found.agreement.spearman
        notes.append(
            f"Check: {found.agreement.architectures} whole models differ from their sums by "
            f"{100 * found.agreement.median_error:.1f} % (median); rank correlation "
            f"{'–' if ranks is None else f'{ranks:.3f}'}"
        )
    if latency_table is not None:
        notes.append(f"Table: {latency_table}")
    _print(found, json, *tables, *notes)


def audit_command(
    config: AuditConfig,
    run: Run = Path("runs/audit"),
    resources: Resources = ANY,
    predictions: Path | None = None,
    json: Json = False,
) -> None:
    """Train edge models as they are, or judge predictions: who is accurate, fair and robust?

    Args:
        config: What to audit.
        run: Run folder.
        resources: Where and how long.
        predictions: Judge this file of predictions instead (Parquet or CSV), write nothing.
        json: JSON.
    """
    if predictions is not None:
        found = audit_predictions(predictions, config.data, image_size=config.image_size)
        for split, scores in found.scores.items():
            last = split == list(found.scores)[-1]
            tables = [_groups(scores)] * bool(scores.groups)
            tables += [_lights(scores)] * bool(scores.lights)
            notes = [*tables, *found.judgement] if last else []
            _print({}, False, _score_table(f"{predictions} on {split}", scores), *notes)
        if json:
            _print({"scores": to_dict(found.scores), "judgement": found.judgement}, True)
        return
    result = audit.audit(config, run, resources)
    rows = []
    for each in result.models:
        cells = ["–"] * len(AUDITED)
        if each.scores is not None:
            values = [getattr(each.scores, name) for name in AUDITED]
            cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        size = "–" if each.scores is None else f"{each.scores.parameters / 1e6:.2f}M"
        rows.append((each.model, size, each.scheme or "none", *cells))
    columns = ("model", "size", "scheme", *AUDITED.values())
    _print(
        {"run": str(result.run), "models": [to_dict(each) for each in result.models]},
        json,
        table(
            "Report half, per cent: balanced accuracy, fairness, worst group, poor light, "
            "overfitting",
            columns,
            rows,
        ),
        *(f"{each.model}: {each.judgement[0]}" for each in result.models),
        f"Table: {result.run / 'audit.csv'}",
    )


AUDITED = {
    "balanced_accuracy": "acc.",
    "fairness": "fair",
    "worst_group_accuracy": "worst",
    "robustness": "dim",
    "overfitting": "overfit",
}
"""Scores in the audit's table, and what is above them on a terminal of 80 columns."""


def doctor_command(json: Json = False) -> None:
    """Tell what is installed, what is missing, and what to do about it."""
    found = doctor.doctor()
    machine = found.machine
    rows = [
        ("system", f"{machine.system}, Python {machine.python}"),
        ("device", f"{machine.device}, {machine.cores} cores"),
        ("memory free", f"{found.memory_bytes / 1e9:.1f} GB"),
        ("disk free", f"{found.disk_bytes / 1e9:.1f} GB"),
        ("Switch FFN kernel", found.switch_ffn),
        *found.versions.items(),
        *((f"extra '{n}'", "installed" if ok else "missing") for n, ok in found.extras.items()),
    ]
    notes = [f"- {problem}" for problem in found.problems] or ["Nothing is missing."]
    _print(found, json, table("MoENAS", ("", ""), rows), *notes)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo_command,
    "data": data_command,
    "train": train_command,
    "evaluate": evaluate_command,
    "audit": audit_command,
    "search": search_command,
    "prune": prune_command,
    "predict": predict_command,
    "report": report_command,
    "dashboard": dashboard_command,
    "verify": verify_command,
    "benchmark": benchmark_command,
    "doctor": doctor_command,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns 0, 1 for an error, 2 for a wrong call, 130 when stopped by Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_up_logging()
    keep_freed_memory()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        hint = did_you_mean(arguments[0], COMMANDS)
        console.print(f"[red]There is no command '{escape(arguments[0])}'.[/red] {hint}")
        return 2
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="moenas",
            description="Small vision models that see people of all skin tones, in any light.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except MoENASError as error:
        console.print(f"[red]Error:[/red] {escape(str(error))}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is kept; the same command goes on.")
        return 130
    return 0


def _show_search(result: search.SearchResult, as_json: bool) -> None:
    names = ("balanced_accuracy", "fairness", "robustness", "overfitting")
    rows = []
    for model in result.comparison["models"]:
        cells = []
        for name in names:
            entry = model["report"].get(name)
            spread = "" if entry is None else f" ±{50 * (entry['high'] - entry['low']):.1f}"
            cells.append("–" if entry is None else f"{100 * entry['mean']:.1f}{spread}")
        rows.append((model["name"], f"{model['parameters'] / 1e6:.2f}M", *cells))
    columns = ("model", "size", *(name.replace("_", " ") for name in names))
    _print(
        {
            "run": str(result.run),
            "report": str(result.report),
            "verdict": result.verdict,
            "models": result.comparison["models"],
        },
        as_json,
        table("Report half, per cent ± half of the 95 % interval", columns, rows),
        *result.verdict,
        f"Report: {result.report}",
    )


def _score_table(title: str, scores: Scores) -> Any:
    rows = []
    for name in (
        "balanced_accuracy",
        "fairness",
        "fairness_debiased",
        "robustness",
        "overfitting",
        "worst_group_accuracy",
        "gap_lightest_darkest",
    ):
        value = getattr(scores, name)
        low, high = scores.intervals.get(name, (None, None))
        interval = _interval(low, high)
        rows.append(
            (name.replace("_", " "), "–" if value is None else f"{100 * value:.1f}", interval)
        )
    if scores.parameters:  # of a device's answers nothing is known
        rows.append(("parameters", f"{scores.parameters / 1e6:.2f}M", ""))
    return table(f"{title} ({scores.n} images)", ("score", "per cent", "95 % interval"), rows)


def _groups(scores: Scores) -> Any:
    rows = [
        (
            f"{g.group} (too few)" if g.too_few else g.group,
            g.n,
            f"{100 * g.accuracy:.1f}",
            _interval(g.low, g.high),
        )
        for g in scores.groups
    ]
    return table("Accuracy by group", ("group", "images", "per cent", "95 % interval"), rows)


def _lights(scores: Scores) -> Any:
    rows = [
        (
            light.lighting.replace("_", " "),
            light.n,
            "–" if light.balanced_accuracy is None else f"{100 * light.balanced_accuracy:.1f}",
            _interval(light.low, light.high),
        )
        for light in scores.lights
    ]
    columns = ("light", "images", "per cent", "95 % interval")
    return table("Balanced accuracy by light", columns, rows)


def _group_counts(counts: dict[str, dict[str, Any]]) -> list[Any]:
    groups = sorted({int(group) for part in counts.values() for group in part["groups"]})
    rows = [
        (group, *(part["groups"].get(str(group), 0) for part in counts.values()))
        for group in groups
    ]
    return [table("Images of each group (skin tone)", ("group", *counts), rows)] if rows else []


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def _print(value: Any, as_json: bool, *human: Any) -> None:
    for item in human:
        if isinstance(item, str):
            console.print(item, markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(item)
    if as_json:
        plain = to_dict(value) if dataclasses.is_dataclass(value) else value
        sys.stdout.write(json_text(plain))


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 172800 else f"{seconds / 86400:.1f} days"


if __name__ == "__main__":
    sys.exit(main())
