"""The command line: few flags, one clear message for each error, JSON alone on stdout."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from latency_tables import BASES, make_table
from moenas.atomic import write_text
from moenas.cli import COMMANDS, load, main
from moenas.cli.output import score_table
from moenas.errors import MoENASError
from moenas.evaluation.scores import Scores, score
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.latency import Agreement, LatencyTable
from moenas.models.latency_measuring import Measurement
from moenas.models.storage import save_model
from moenas.nas.settings import SearchConfig
from moenas.predictions import Predictions
from moenas.run_log import read_log, working
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.training.loop import OutOfTime
from moenas.workflows import dashboard, doctor

MOST_FLAGS = {
    "demo": 6,
    "data": 4,
    "train": 22,
    "evaluate": 5,
    "audit": 20,
    "search": 43,
    "prune": 11,
    "export": 6,
    "routes": 6,
    "predict": 3,
    "report": 3,
    "dashboard": 3,
    "verify": 1,
    "benchmark": 10,
    "doctor": 1,
}
"""A flag is a promise: raise a number only with a reason. The last ones were --max-latency-ms
and --latency-table: the size limit's sibling, and the device that the model is for; and data's
--rule and --unit: what a person is in COCO, and in FACET; train's --head, --qubits and
--head-only: the paper's quantum head, and --accumulate: batches that no memory holds; prune's
--curve, --importance, --fine-tune and --rescue: the pruning study; report's --out: where a
comparison of runs, which belongs to none, is written; and benchmark's --formats and --batch: what
models are timed as, and --gate: what another benchmark asks of them; search's and audit's
--executor, --address, --gpus and --memory-gb: a cluster; and search's --storage: where the study is
that several processes work on; prune's --time-limit, as all that may take hours have it;
and --track, of all that train: where the numbers of many runs are drawn beside each other."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as end:  # tyro's own: help and wrong calls
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return call


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> Path:
    models = read_json(tiny_run / "comparison.json")["models"]
    finalist = next(m for m in models if m["role"] == "finalist")
    return RunFolder(tiny_run).finalist(finalist["architecture"], 1).checkpoint


# The face


def test_the_commands() -> None:
    assert set(COMMANDS) == set(MOST_FLAGS)
    assert all(load(name).__doc__ for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(MOST_FLAGS))
def test_each_command_has_help_and_few_flags(
    command: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(command, "--help")
    flags = set(re.findall(r"^[│| ] (--[a-z][a-z-]+)", out, re.MULTILINE))
    assert code == 0
    assert err == ""
    assert "--json" in flags
    assert len(flags) <= MOST_FLAGS[command], sorted(flags)


def test_help_lists_every_command(run: Any) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)


def test_every_setting_of_a_search_says_what_it_is(run: Any) -> None:
    """A field without an entry in the docstring's Attributes has no help."""
    text = SearchConfig.__doc__ or ""
    for name in SearchConfig.__dataclass_fields__:
        assert re.search(rf"^ +{name}: \S", text, re.MULTILINE), name


def test_other_commands_are_not_for_several_processes(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run("search")
    assert code == 2
    assert "Only 'moenas train' works in several processes" in err


# Wrong calls


def test_an_unknown_command_suggests_the_right_one(run: Any) -> None:
    code, out, err = run("serch")
    assert (code, out) == (2, "")
    assert "There is no command 'serch'. Did you mean 'search'?" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "--jsno"),
        ("search", "--trails", "3"),
        ("search", "--trials", "many"),
        ("search", "--sampler", "tpe"),
        ("evaluate",),
        ("predict",),
        (),
    ],
)
def test_a_wrong_call_ends_with_2(run: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err
    assert "Traceback" not in err


def test_a_flag_given_twice_is_no_flag_forgotten(run: Any) -> None:
    code, out, err = run("audit", "--data", "facet", "--data", "coco")
    assert (code, out) == (2, "")
    assert "--data is given twice. Give it once, with all values after it." in err
    assert run("search", "--seed=1", "--seed", "2")[0] == 2


def test_predictions_refuse_what_only_trainings_need(run: Any, tmp_path: Path) -> None:
    rows = "".join(f"i{i},{i % 2},{(i + (i % 9 == 0)) % 2}\n" for i in range(100))
    (tmp_path / "[red]x.csv").write_text("image_id,label,prediction\n" + rows)
    call = ["audit", "--predictions", tmp_path / "[red]x.csv", "--run", tmp_path / "run"]
    code, _, err = run(*call, "--models", "resnet18", "--epochs", "3", "--workers", "2")
    assert code == 1
    assert "--models, --epochs, --workers say how models are trained" in " ".join(err.split())
    code, _, err = run(*call, "--seeds", "3")
    assert "--seeds says how models are trained" in " ".join(err.split())
    assert not (tmp_path / "run").exists()
    code, out, err = run(*call, "--json")
    assert code == 0
    (model,) = json.loads(out)["models"]
    assert model["model"] == "[red]x"
    assert model["scores"]["parameters"] is model["scores"]["macs"] is None
    assert "│ [red]x │ – │ – │" in err
    assert "nan" not in err


def test_a_misspelt_flag_suggests_the_right_one(run: Any) -> None:
    assert "--trials" in run("search", "--trails", "3")[2]


# Errors


def error_cases(tmp: Path) -> list[tuple[list[object], str]]:
    (tmp / "pickle.safetensors").write_bytes(b"\x80\x04\x95" + b"cos\nsystem\n(S'true'\ntR." * 9)
    (tmp / "foreign").mkdir()
    (tmp / "foreign" / "thesis.tex").write_text("")
    (tmp / "old").mkdir()
    (tmp / "old" / "config.json").write_text('{"moenas_format": 0, "kind": "search"}')
    run = ["--run", tmp / "run"]
    return [
        (["evaluate", tmp / "no.safetensors"], "does not exist"),
        (["evaluate", tmp / "pickle.safetensors"], "is a Python pickle"),
        (["predict", tmp / "no.safetensors", tmp], "does not exist"),
        (["prune", tmp / "no.safetensors"], "does not exist"),
        (["prune", tmp / "no.safetensors", "--time-limit", 0], "must be above 0 minutes"),
        (["report", tmp / "foreign"], "is not a MoENAS run folder"),
        (["report"], "Name a run folder"),
        (["report", tmp / "foreign", tmp / "foreign"], "is named twice"),
        (["report", tmp / "foreign", tmp / "none"], "is not a MoENAS run folder"),
        (["report", tmp / "foreign", "--out", tmp / "page.html"], "two runs or more"),
        (["report", tmp / "foreign", tmp, "--figures", "svg"], "name it alone"),
        (["verify", tmp / "foreign"], "is not a MoENAS run folder"),
        (["dashboard", tmp / "foreign"], "is not a MoENAS run folder"),
        (["verify", tmp / "old"], "run folder format 0, this version of moenas reads 1"),
        (["search", "--run", tmp / "foreign"], "not empty and not a MoENAS run"),
        (["search", "--run", tmp / "old"], "run folder format 0"),
        (["search", "--run", tmp / "pickle.safetensors"], "is a file, not a folder"),
        (["search", *run, "--max-parameters", 1000], "No vector meets the size limit"),
        (["search", *run, "--seeds", 1], "seeds must be at least 2"),
        (["search", *run, "--scheme", "mobilevitv3"], "Did you mean 'mobilevitv2'?"),
        (["search", *run, "--objectives", "fairnes"], "Did you mean 'fairness'?"),
        (["search", *run, "--base", "mobilevitv2_50"], "no base model named"),
        (["search", *run, "--wider", "mobilevitv2_75"], "no base model named"),
        (["search", *run, "--max-latency-ms", 0], "max_latency_ms must be above 0"),
        (["search", *run, "--latency-table", tmp / "no.json"], "does not exist"),
        (["benchmark", "--threads", 0], "threads must be at least 1"),
        (["benchmark", "--base", "mobilevitv2_50"], "no base model named"),
        (["benchmark", "--formats", "onnx"], "name a run or a checkpoint"),
        (["benchmark", tmp / "no.onnx"], "does not exist"),
        (["benchmark", tmp / "pickle.safetensors"], "is a Python pickle"),
        (["benchmark", tmp / "foreign"], "There is no model in the folder"),
        (["evaluate", tmp / "foreign"], "There is no model in the folder"),
        (["benchmark", tmp / "old"], "run folder format 0"),
        (["benchmark", tmp, "--latency-table", tmp / "t.json"], "A latency table is of no model"),
        (["benchmark", tmp / "old", "--formats", "onxx"], "Did you mean 'onnx'?"),
        (["benchmark", tmp / "old", "--batch", 0], "batch must be at least 1"),
        (["benchmark", tmp / "old", "--gate", "mlperf"], "Did you mean 'mlperf-tiny'?"),
        (["benchmark", "--gate", "mlperf-tiny"], "name a run or a checkpoint"),
        (["search", *run, "--data", "no.csv"], "There is no file or folder 'no.csv'"),
        (["search", *run, "--workers", 0], "workers must be at least 1"),
        (["search", *run, "--device", "gpu"], "The device 'gpu' cannot be used here"),
        (["search", *run, "--data", "no.csv", "--dry-run"], "There is no file or folder 'no.csv'"),
        (["train", *run, "--architecture", "mobilevitv2_050-e911111111"], "1 to 8"),
        (["train", *run, "--architecture", "mobilevitv2_050-e21"], "9"),
        (["train", *run, "--epochs", 0], "epochs must be above 0"),
        (["train", *run, "--batch-size", 0], "batch_size must be at least 1"),
        (["train", *run, "--accumulate", 0], "accumulate must be at least 1"),
        (["train", *run, "--head", "quantum", "--qubits", 0], "1 to 16"),
        (["train", *run, "--head", "quantum", "--qubits", 17], "2^n values"),
        (["train", *run, "--qubits", 4], "add --head quantum"),
        (["train", *run, "--head-only"], "name it as parent"),
        (["train", *run, "--parent", tmp / "no.safetensors"], "does not exist"),
        (["train", *run, "--architecture", "mobilevitv2_050-e111111111-photonic8x2"], "no head"),
        (["train", *run, "--augmentation", "lite"], "Did you mean 'light'?"),
        (["search", *run, "--augmentation", "lite"], "Did you mean 'light'?"),
        (["data", tmp / "nothing"], "There is no file or folder"),
    ]


def test_each_error_is_one_message_and_exit_code_1(run: Any, tmp_path: Path) -> None:
    for arguments, expected in error_cases(tmp_path):
        code, out, err = run(*arguments, "--json")
        assert code == 1, (arguments, err)
        assert out == "", arguments
        assert expected in err, (arguments, err)
        assert err.startswith("Error: "), (arguments, err)
        assert "Traceback" not in err
    made = [p for p in (tmp_path / "run").glob("*") if p.name != "config.json"]
    assert not [p for p in made if not p.name.startswith(".") and p.name != "log.jsonl"]


def test_messages_are_printed_as_they_are(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets of a file's name are no markup."""

    def fail() -> None:
        raise MoENASError("'[red]odd[/red].png' is odd")

    monkeypatch.setattr(doctor, "doctor", fail)
    assert run("doctor") == (1, "", "Error: '[red]odd[/red].png' is odd")


def test_out_of_time_ends_with_3(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def late() -> None:
        raise OutOfTime("The time limit came. Run the same command to go on.")

    monkeypatch.setattr(doctor, "doctor", late)
    code, out, err = run("doctor")
    assert (code, out) == (3, "")
    assert err == "Not finished: The time limit came. Run the same command to go on."


def test_a_fault_of_ours_ends_with_4(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("[red] http://me:secret@host")

    monkeypatch.setattr(doctor, "doctor", fail)
    code, out, err = run("doctor", "--json")
    assert (code, out) == (4, "")
    assert "Traceback" in err
    assert "ZeroDivisionError: [red] http://me:***@host" in err
    assert "a fault of MoENAS, not yours" in err
    assert "moenas doctor RUN" in err


def test_ctrl_c_ends_with_130(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor", stop)
    code, out, err = run("doctor")
    assert (code, out) == (130, "")
    assert "the same command goes on" in err


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "moenas", "doktor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Did you mean 'doctor'?" in done.stderr


# What commands print


def strict(text: str) -> Any:
    """JSON without NaN."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_doctor(run: Any) -> None:
    code, out, err = run("doctor", "--json")
    assert code == 0
    found = strict(out)
    assert found["versions"]["moenas"]
    assert found["machine"]["python"] in err
    assert found["run"] is None
    assert run("doctor")[1] == ""


def test_the_doctor_knows_all_extras() -> None:
    """Extras with packages of their own, and those packages."""
    import tomllib

    path = Path(__file__).parent.parent / "pyproject.toml"
    stated = tomllib.loads(path.read_text())["project"]["optional-dependencies"]
    for name in set(stated) - {"dev", "docs"}:
        needs = {re.split(r"[>=<\[]", need)[0] for need in stated[name]} - {"moenas", "torch"}
        assert set(doctor.EXTRAS[name]) == needs, name


def test_the_doctor_looks_at_a_run(run: Any, tiny_run: Path, tmp_path: Path) -> None:
    code, out, err = run("doctor", tiny_run, "--json")
    assert code == 0
    state = strict(out)["run"]
    assert (state["kind"], state["finished"], state["holder"]) == ("search", True, None)
    assert (state["trials"], state["damaged"]) == ({"complete": 4}, {})
    assert (state["models"] > 8, state["begun"]) == (True, 0)
    assert state["log"][-1]["event"] == "ended"
    assert "search: finished" in err
    bad = tmp_path / "bad"
    shutil.copytree(tiny_run, bad)
    weights, table = next(bad.rglob("*.safetensors")), next(bad.rglob("predictions.parquet"))
    for file in (weights, table, bad / "study.db"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    write_text(bad / "summary.json", "{")
    (bad / ".summary.json.x1").touch()
    with working(RunFolder(bad)):
        code, out, err = run("doctor", bad, "--json")
    assert code == 0
    state = strict(out)["run"]
    files = {"study.db", "summary.json", *(str(f.relative_to(bad)) for f in (weights, table))}
    assert set(state["damaged"]) == files
    assert state["leftovers"] == [".summary.json.x1"]
    assert re.fullmatch(r"process \d+ on \S+", state["holder"])
    assert f"'{weights.relative_to(bad)}' is damaged: ValueError: it has" in err
    code, out, err = run("doctor", tmp_path)
    assert (code, out) == (1, "")
    assert "is not a MoENAS run folder" in err


def test_search_dry_run_tells_the_price_and_writes_nothing(
    run: Any, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", scenes, "--image-size", 32, "--batch-size", 8, "--trials", 9]
    code, out, err = run("search", *options, "--dry-run", "--json")
    assert code == 0
    cost = strict(out)
    assert cost["trials"] == 9
    assert cost["seconds"] > cost["seconds_a_trial"] > 0
    for word in ("architectures tried", "seconds a trial", "total time", "disk"):
        assert word in err
    assert not list(tmp_path.iterdir())


def test_the_price_of_drawn_scenes_needs_no_drawing(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("search", "--image-size", 32, "--batch-size", 8, "--dry-run", "--json")
    assert code == 0
    assert strict(out)["trials"] == SearchConfig().trials
    assert not list(tmp_path.iterdir())


def test_verify_and_report(run: Any, tiny_run: Path) -> None:
    code, out, err = run("verify", tiny_run, "--json")
    assert code == 0
    assert strict(out)["problems"] == []
    assert "All agree." in err
    left = sorted(tiny_run.rglob("README.md"))  # by the search itself
    code, out, _ = run("report", tiny_run, "--json")
    assert code == 0
    told = strict(out)
    assert Path(told["report"]).stat().st_size > 10_000
    assert all(Path(card).with_name("checkpoint.safetensors").exists() for card in told["cards"])
    models = read_json(tiny_run / "comparison.json")["models"]
    finalists = [m for m in models if m["role"] == "finalist"]
    assert len(told["cards"]) == 2 * len(finalists) + 1
    assert sorted(told["cards"]) == list(map(str, left))
    assert told["notes"] == []


def test_verify_of_what_does_not_agree(run: Any, tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", "search", {})
    code, out, err = run("verify", tmp_path / "run", "--json")
    assert code == 1
    assert strict(out)["problems"]
    assert "do not agree" in err


def test_evaluate(run: Any, checkpoint: Path, scenes: Path) -> None:
    code, out, err = run("evaluate", checkpoint, "--data", scenes, "--json")
    assert code == 0
    scores = strict(out)
    assert scores["split"] == "report"
    assert f"{100 * scores['balanced_accuracy']:.1f}" in err
    assert "Accuracy by group" in err


@pytest.fixture(scope="module")
def scores() -> Scores:
    n = np.arange(400)
    frame = pd.DataFrame({"image_id": n, "label": n % 2, "prediction": (n % 2) ^ (n % 10 == 0)})
    table = Predictions(frame.assign(group=n // 2 % 4 + 1))
    return score(table, split="report", parameters=0, macs=0)


def test_no_p_value_is_told_as_zero(
    run: Any, monkeypatch: pytest.MonkeyPatch, scores: Scores
) -> None:
    unfair = dataclasses.replace(scores, fairness_p_value=0.0003)
    monkeypatch.setattr("moenas.workflows.evaluate.evaluate", lambda *_, **__: (unfair, None))
    assert "as unfair as this with p < 0.001." in run("evaluate", "x")[2]


def test_an_interval_stands_beside_what_it_is_of(scores: Scores) -> None:
    """That of fairness is of the true one: the measured one is often outside of it."""
    low, high = scores.intervals["fairness"]
    assert scores.fairness_debiased is not None
    columns = score_table("x", scores).columns
    names, *_, intervals = ([str(cell) for cell in column.cells] for column in columns)
    told = dict(zip(names, intervals, strict=True))
    assert told["fairness debiased"] == f"{100 * low:.1f} to {100 * high:.1f}"
    assert told["fairness"] == ""
    assert told["balanced accuracy"] != ""


@pytest.mark.parametrize("named", ["checkpoint", "model", "run"])
def test_an_export_tells_where_its_file_is(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    write_text(folder.model().checkpoint, "")
    names = {"checkpoint": folder.model().checkpoint, "model": folder.model().path}
    card = SimpleNamespace(format="onnx", bytes=1, share_of_parameters=1.0, forced=False,
                           agreement=[SimpleNamespace(probability=0, decisions=1)],
                           file="m.onnx")  # fmt: skip
    monkeypatch.setattr("moenas.workflows.export.export", lambda *_, **__: [card])
    monkeypatch.setattr("moenas.cli.commands.export.to_dict", vars)
    code, _, err = run("export", names.get(named, folder.path))
    assert code == 0
    assert str(folder.model().exports / "m.onnx") in err


def test_predict_with_an_unreadable_image(run: Any, checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (200, 30, 30)).save(tmp_path / "good.png")
    code, out, _ = run("predict", checkpoint, tmp_path / "good.png", "--json")
    assert code == 0
    assert strict(out)[0]["person"] in (True, False)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    code, out, err = run("predict", checkpoint, tmp_path, "--json")
    assert code == 1
    answers = strict(out)
    assert [a["person"] is None for a in answers] == [True, False]
    assert "1 of 2 images could not be read" in err


def test_prune(run: Any, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    options = ["--data", scenes, "--run", tmp_path / "run"]
    code, out, err = run("prune", checkpoint, *options, "--keep-above", "fairnes", 0.9)
    assert (code, out) == (1, "")
    assert "Did you mean 'fairness'?" in err
    code, out, err = run("prune", checkpoint, *options, "--max-parameters", 10**7, "--json")
    assert code == 0
    assert strict(out)["accepted"] == 0
    assert "Accepted: 0 removals; no more because the model has at most" in err


def scalars(folder: Path) -> set[str]:
    """Names of the numbers that TensorBoard would draw."""
    files = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = files.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return set(found.Tags()["scalars"])


def test_train_and_evaluate_the_result(run: Any, scenes: Path, tmp_path: Path) -> None:
    options = ["--data", scenes, "--image-size", 32, "--epochs", 1, "--batch-size", 16]
    folder = tmp_path / "run"
    code, out, err = run("train", *options, "--run", folder, "--json")
    assert code == 0, err
    assert set(strict(out)["scores"]) == {"search", "report"}
    assert (folder / "model" / "checkpoint.safetensors").exists()
    assert (folder / "model" / "README.md").read_text().startswith("---\nlibrary_name: moenas\n")
    again, same, _ = run("train", *options, "--run", folder, "--json", "--track", "tensorboard")
    assert again == 0
    assert strict(same) == strict(out)
    assert scalars(folder) >= {"epoch/loss", "epoch/accuracy_val", "report/fairness"}
    log = read_log(folder / "log.jsonl", 99)
    assert [e["event"] for e in log] == ["began", "epoch", "ended", "began", "ended"]
    assert (log[1]["epoch"], log[1]["loss"] > 0) == (1, True)
    upcycled = ["--architecture", "mobilevitv2_050-e211111111", "--parent", folder]
    code, out, err = run("train", *options, *upcycled, "--run", tmp_path / "two", "--json")
    assert code == 0, err
    assert strict(out)["scores"]["report"]["parameters"] > 1_114_107
    assert run("verify", tmp_path / "two")[0] == 0
    code, out, err = run("report", folder, tmp_path / "two", "--json")
    assert code == 0
    assert strict(out)["report"] == str(tmp_path.resolve() / "comparison.html")
    assert strict(out)["verdict"][0] in err
    code, out, err = run("report", folder, "--json")
    assert (code, strict(out)["report"]) == (0, None)
    assert "Model card: " in err


def test_a_quantum_head_on_a_trained_model(
    run: Any, checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    """From a search's finalist to predictions, all on the command line."""
    options = ["--data", scenes, "--image-size", 32, "--epochs", 1, "--batch-size", 16]
    head = ["--parent", checkpoint, "--head-only", "--head", "quantum", "--qubits", 3]
    folder = tmp_path / "quantum"
    code, _, err = run("train", *options, *head, "--run", folder, "--json")
    assert code == 0, err
    assert read_json(folder / "config.json")["settings"]["architecture"].endswith("-quantum3x2")
    trained = folder / "model" / "checkpoint.safetensors"
    code, out, _ = run("evaluate", trained, "--data", scenes, "--json")
    assert code == 0
    width, parts = 256, 3 * 257 + 3 * 2 * 3 + 2 * 4
    code, plain, _ = run("evaluate", checkpoint, "--data", scenes, "--json")
    more = strict(out)["parameters"] - strict(plain)["parameters"]
    assert more == parts - 2 * (width + 1)
    assert run("verify", folder)[0] == 0
    pruning = ["prune", trained, "--data", scenes, "--run", tmp_path / "pruned"]
    code, out, err = run(*pruning, "--max-parameters", 1_100_000, "--json")
    assert code == 0, err
    wrong = ["--parent", checkpoint, "--head-only", "--image-size", 64, "--data", scenes]
    assert "images of 32 pixels" in run("train", *wrong, "--run", tmp_path / "wrong")[2]


def test_benchmark(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bases: Any, image_size: int, **options: Any) -> Measurement:
        assert (list(bases), image_size) == (list(BASES), 64)
        assert options["threads"] == 2
        found = Agreement(32, 0.0213, 0.987)
        return Measurement(dataclasses.replace(make_table(image_size=64), agreement=found), ())

    monkeypatch.setattr("moenas.workflows.latency.measure_latency", measure)
    path = tmp_path / "table.json"
    options = ["--latency-table", path, "--image-size", 64, "--threads", 2, "--device", "cpu"]
    code, out, err = run("benchmark", *options, "--json")
    assert code == 0
    assert strict(out)["bases"][0]["dense_ms"] == 5.0
    assert LatencyTable.load(path).image_size == 64
    for words in ("mobilevitv2_075: 8.00 ms", "0.630", "2.1 % (median)", "0.987", "a phone"):
        assert words in err
    assert f"Table: {path}" in err


def test_the_dashboard_says_where_it_is_and_ends_quietly(
    run: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna_dashboard")

    def stop(server: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dashboard.DashboardServer, "serve_forever", stop)
    code, out, err = run("dashboard", tiny_run, "--port", 0, "--json")
    assert code == 0
    url = strict(out)["url"]
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+/dashboard/studies/1", url)
    assert err == f"Dashboard: {url} Ctrl-C ends it."


@pytest.mark.usefixtures("here")
def test_search(run: Any, tiny_run: Path, tiny_config: SearchConfig, tmp_path: Path) -> None:
    """A finished search prints what it found, and can still be tracked."""
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_run, copy)
    options: list[object] = []
    for name, default in SearchConfig.__dataclass_fields__.items():
        value = getattr(tiny_config, name)
        if value != default.default:
            values = value if isinstance(value, tuple) else [value]
            options += [f"--{name.replace('_', '-')}", *values]
    where = ["--run", copy, "--workers", 1, "--track", "tensorboard"]
    code, out, err = run("search", *options, *where, "--json")
    assert code == 0, err
    names = scalars(copy)
    assert {f"trial/{o}" for o in (*tiny_config.objectives, "hypervolume", "parameters")} <= names
    assert any(re.fullmatch(r"parents/mobilevitv2_050-s0/fairness", name) for name in names)
    assert "report/mobilevitv2_075/balanced_accuracy" in names
    sent = read_json(copy / "tracking.json")["tensorboard tensorboard"]["sent"]
    assert sent["trial"] == list(range(tiny_config.trials))
    assert sent["report.html"] == [0]
    log = read_log(tiny_run / "log.jsonl", 999)
    trials = [e for e in log if e["event"] == "trial"]
    assert sorted(e["trial"] for e in trials) == list(range(tiny_config.trials))
    assert all(e["state"] == "complete" and e["seconds"] > 0 for e in trials)
    found = strict(out)
    assert found["verdict"] == read_json(tiny_run / "comparison.json")["verdict"]
    assert len(found["models"]) == len(read_json(tiny_run / "comparison.json")["models"])
    assert "mobilevitv2_075" in err


def test_routes(run: Any, scenes: Path, tmp_path: Path) -> None:
    model = upcycle(build_model("mobilevitv2_050", seed=0), (2, 1, 1, 1, 1, 1, 1, 1, 3))
    save_model(tmp_path / "m.safetensors", model, image_size=32)
    folder = tmp_path / "run"
    options = ["--data", scenes, "--run", folder, "--by", "art"]
    code, out, err = run("routes", tmp_path / "m.safetensors", *options, "--json")
    assert code == 0, err
    assert strict(out) == read_json(folder / "routes.json")
    assert "by skin tone" in err
    assert "Paths are not compared by art: all images have the same" in err
    assert f"Page: {folder / 'routes.html'}" in err
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    options = ["--explain", tmp_path / "paths", "--json"]
    code, out, err = run("predict", tmp_path / "m.safetensors", tmp_path / "black.png", *options)
    assert code == 0, err
    assert Path(strict(out)[0]["explanation"]).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo",),
        ("search", "--data", "nowhere"),
        ("train", "--data", "nowhere"),
        ("audit", "--data", "nowhere"),
        ("evaluate", "nowhere"),
        ("predict", "nowhere", "nowhere"),
        ("prune", "nowhere"),
        ("routes", "nowhere"),
        ("benchmark",),
    ],
)
def test_a_wrong_device_is_told_before_any_work(
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moenas.workflows.demo.make_manifest", None)
    code, _, err = run(*arguments, "--device", "gpu")
    assert code == 1
    assert err.startswith("Error: The device 'gpu' cannot be used here. There are: cpu")
    assert not list(tmp_path.iterdir())
