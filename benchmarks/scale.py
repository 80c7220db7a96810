"""How many workers can one search keep busy, and how long a study stays usable?

Simulated: the real driver, sampler and storage are measured on synthetic studies of several
lengths while several numbers of trials run: CPU seconds, so that a busy machine hardly matters, and
for each write to the storage the time of a commit to this disk. With these costs, and with trials
as long as recorded ones (``trial_seconds.json``, scaled), searches of 1 to 512 workers are
simulated.

Measured: the overhead of a call of the executors, the utilisation of eight workers that sleep in
place of training in a search by the real driver, the restart of long studies, and what a report
of 10,000 trials takes. Ray needs the extra ``ray``, opening the report playwright and Chromium.

    python benchmarks/scale.py --quick
    python benchmarks/scale.py --parts costs restart report --json results.json
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: workers of a search have one, too

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from commit import commit
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.records import search_record, trial_records
from moenas.nas.study import open_recorded_study
from moenas.report.html import render
from moenas.serialisation import write_json
from scale_costs import DriverCosts, commit_seconds, driver_costs
from scale_real import EXECUTORS, overhead, restart, utilisation
from scale_simulation import Costs, interpolated, simulate
from scale_study import make_study

PARTS = ("costs", "overhead", "utilisation", "restart", "report")
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TRIAL_SECONDS = {"10 s": 10.0, "1 min": 60.0, "1 h": 3600.0}
LENGTHS = (100, 1000, 10_000)
CROWDS = (8, 128)
ENOUGH = 0.95
Known = dict[tuple[int, int], DriverCosts]


class Results:
    """The list of results that is printed and written."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._common = {"commit": commit()}

    def add(
        self, case: str, value: float, unit: str, better: str = "lower", goal: float | None = None
    ) -> None:
        """Append and print one."""
        row = {"case": case, "value": value, "unit": unit, "peer": None, "goal": goal}
        self.rows.append(row | {"better": better} | self._common)
        print(f"{case}: {value:.4g} {unit}" + (f" (goal {goal:g})" if goal else ""), flush=True)


def measure(folder: Path, lengths: tuple[int, ...], results: Results) -> Known:
    """Measure the driver's costs by (finished, running) trials."""
    known: Known = {}
    for finished in lengths:
        for running in CROWDS:
            shutil.rmtree(folder / "costs", ignore_errors=True)
            run = make_study(folder / "costs", finished + running, running)
            known[finished, running] = found = driver_costs(run, running, 2)
            where = f"{finished:,} trials finished, {running} running"
            for name, value in dataclasses.asdict(found).items():
                unit = "a trial" if name in ("calls", "writes") else "CPU s"
                results.add(f"driver: {name}, {where}", value, unit)
    return known


def simulated(known: Known, pause: float, trials: int, results: Results) -> None:
    """Simulate searches of all numbers of workers and lengths of trials.

    Args:
        known: See `measure`.
        pause: Wall seconds of a commit, for each write. A tell has a quarter of a trial's.
        trials: In each search.
        results: Where to add.
    """
    recorded = json.loads((Path(__file__).parent / "trial_seconds.json").read_text())["seconds"]
    drawn = np.random.default_rng(0).choice(recorded, trials) / np.mean(recorded)
    print(f"\n{trials:,} trials".ljust(16) + "".join(f"{w:>14}" for w in WORKERS))
    for name, seconds in TRIAL_SECONDS.items():
        cells = []
        for workers in WORKERS:
            if workers >= trials:
                continue
            costs = Costs(
                *(
                    interpolated(
                        {
                            at: getattr(c, step) + share * c.writes * pause
                            for at, c in known.items()
                        },
                        trials,
                        workers,
                    )
                    for step, share in (("tell", 0.25), ("first", 0.75), ("following", 0.75))
                )
            )
            found = simulate(workers, (seconds * drawn).tolist(), costs)
            case = f"simulated: {workers} workers, trials of {name}, {trials:,} of them"
            row = {"case": case, "value": found.utilisation, "unit": "utilisation", "peer": None}
            row |= {"goal": None, "better": "higher", "wait_s": found.wait, "fits": found.fits}
            load = found.rate * known[min(known)].calls
            results.rows.append(
                row | {"trials_a_second": found.rate, "storage_calls_a_second": load}
            )
            cells.append(f"{100 * found.utilisation:.1f} % {found.wait:.2g} s".rjust(14))
        print(name.ljust(15) + "".join(cells), flush=True)


def opened(page: Path) -> float | None:
    """Return the wall seconds until Chromium has loaded and painted a page; None without it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times = []
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1440, "height": 1000})
            start = time.perf_counter()
            tab.goto(page.as_uri())
            tab.evaluate("() => new Promise((f) => requestAnimationFrame(() => setTimeout(f)))")
            times.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    return min(times)


def reported(folder: Path, trials: int, results: Results) -> None:
    """Read a study, write its records and its report, open it."""
    run = make_study(folder / "report", trials)
    of = f"{trials:,} trials"

    def timed(case: str, work: Any) -> Any:
        start = time.process_time()
        found = work()
        results.add(f"{case}, {of}", time.process_time() - start, "CPU s")
        return found

    study = timed("study opened and read", lambda: _read(run))
    records = timed("trials.json", lambda: trial_records(study, PAPER_OBJECTIVES))
    write_json(run.trials, records)
    write_json(run.summary, {"search": timed("summary.json", lambda: search_record(study))})
    page = timed("report.html written", lambda: render(run))
    for path in (run.study, run.trials, page):
        results.add(f"{path.name}, {of}", path.stat().st_size / 1e6, "MB")
    seconds = opened(page)
    if seconds is not None:
        results.add(f"report.html opened and painted in Chromium, {of}", seconds, "s (wall)")


def _read(run: Any) -> Any:
    study = open_recorded_study(run)
    study.get_trials(deepcopy=False)
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short studies, trials of 2 s")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--executors", nargs="+", choices=list(EXECUTORS), default=list(EXECUTORS))
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    quick, results = options.quick, Results()
    lengths = LENGTHS[:2] if quick else LENGTHS
    with tempfile.TemporaryDirectory(prefix="moenas-scale-") as name:
        folder = Path(name)
        if "costs" in options.parts:
            pause = commit_seconds(folder)
            results.add("commit to this disk", pause, "s (wall)")
            known = measure(folder, lengths, results)
            for trials in lengths[1:]:
                simulated(known, pause, trials, results)
        for executor in options.executors:
            if "overhead" in options.parts:
                times = overhead(executor, 50 if quick else 200)
                case = f"{executor}: overhead a call"
                results.add(case, 1000 * float(np.median(times)), "ms (wall)", goal=50)
            if "utilisation" in options.parts:
                seconds, trials = (2.0, 24) if quick else (10.0, 40)
                share = utilisation(executor, 8, seconds, trials, folder / "sleep")
                case = f"{executor}: utilisation, 8 workers, trials of {seconds:g} s"
                results.add(case, 100 * share, "%", "higher", goal=95)
        if "restart" in options.parts:
            for trials in lengths[1:]:
                wall, cpu = restart(folder / "restart", trials)
                goal = 10.0 if trials == 1000 else None
                case = f"restart to the first new trial, {trials:,} trials"
                results.add(case, wall, "s (wall)", goal=goal)
                results.add(case, cpu, "CPU s", goal=goal)
        if "report" in options.parts:
            reported(folder, lengths[-1], results)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
