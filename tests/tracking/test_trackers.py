"""The real trackers: TensorBoard's files read back, an MLflow server, W&B's calls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from moenas.errors import ConfigError, MissingDependencyError
from moenas.runs import RunFolder
from moenas.tracking import recording as recording_module
from moenas.tracking.recording import recording
from moenas.tracking.tracker import TrackerName
from moenas.training.loop import OutOfTime
from tracked_run import new_run

SERVER = "MOENAS_TEST_MLFLOW"
"""Environment variable: the program ``mlflow`` whose server is tested against. It is not a part of
the tests' own environment, for it insists on an older pyarrow."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return new_run(tmp_path / "run")


def track_twice(name: TrackerName, folder: RunFolder) -> None:
    """A search that is stopped, goes on, and tells all of its trials again."""
    folder.report.write_text("<html>")
    settings = folder.read_config()["settings"]
    with pytest.raises(OutOfTime), recording(name, folder, settings) as r:  # noqa: PT012
        r.add("trial", 1, {"fairness": 0.5}, 1000.0)
        r.add("trial", 0, {"fairness": 0.25}, 1001.0)
        raise OutOfTime("later")
    with recording(name, folder, settings) as r:
        for step, value in ((1, 0.5), (0, 0.25), (2, 0.75)):
            r.add("trial", step, {"fairness": value}, 1002.0)
        r.add("report/net:1", 0, {"fairness": 0.9})
        r.attach(folder.report)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_library_is_told_at_once(
    name: TrackerName, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow.entities", "wandb": "wandb"}
    for module in [m for m in sys.modules if m.startswith("moenas.tracking.")]:
        if module.endswith(("_files", "_server", "_run")):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, gone[name], None)  # type: ignore[arg-type]
    told = pytest.raises(MissingDependencyError, match=rf"pip install 'moenas\[{name}\]'")
    with told, recording(name, folder, {}):
        pass


def test_tensorboard(folder: RunFolder) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track_twice("tensorboard", folder)
    found = accumulator.EventAccumulator(str(folder.tensorboard))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"trial/fairness", "report/net:1/fairness"}
    events = found.Scalars("trial/fairness")
    assert [(e.step, e.value) for e in events] == [(1, 0.5), (0, 0.25), (2, 0.75)]
    assert events[0].wall_time == 1000.0
    (settings,) = found.Tensors("settings/text_summary")
    assert b'"trials": 4' in settings.tensor_proto.string_val[0]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server with a database of its own."""
    program = os.environ.get(SERVER)
    if not program:
        pytest.skip(f"{SERVER} names no 'mlflow' program, whose server this test needs")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "server", "--backend-store-uri", f"sqlite:///{folder / 'db.sqlite'}",
               "--artifacts-destination", str(folder / "files"), "--workers", "1",
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    clean["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=clean, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(10)


def test_mlflow(folder: RunFolder, mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    track_twice("mlflow", folder)
    client = tracking.MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("moenas").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == folder.name
    assert run.data.tags["moenas.kind"] == "search"
    assert run.data.params == {"trials": "4", "data": '["a", "b"]', "base": "net"}
    history = client.get_metric_history(run.info.run_id, "trial/fairness")
    assert sorted((m.step, m.value, m.timestamp) for m in history) == [
        (0, 0.25, 1_001_000), (1, 0.5, 1_000_000), (2, 0.75, 1_002_000),
    ]  # fmt: skip
    assert run.data.metrics["report/net_1/fairness"] == 0.9
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["report.html"]
    client.delete_run(run.info.run_id)
    track_twice("mlflow", folder)
    (another,) = client.search_runs([experiment])
    assert another.info.run_id != run.info.run_id
    assert len(client.get_metric_history(another.info.run_id, "trial/fairness")) == 3


BEGIN = """
import os, signal, sys
from moenas.runs import RunFolder
from moenas.tracking import mlflow_server, recording
stage, folder = sys.argv[1], RunFolder.open(sys.argv[2])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if stage == "begin":  # on the server, and not noted here
    recording._Ledger.begin = die
else:
    add = mlflow_server.MlflowServer.add
    mlflow_server.MlflowServer.add = lambda *given: (add(*given), die())
with recording.recording("mlflow", folder, folder.read_config()["settings"]) as record:
    record.add("trial", 0, {"fairness": 0.25}, 1001.0)
    recording.PATIENCE = 60
"""


def test_mlflow_goes_on_in_the_same_run_after_kills(
    folder: RunFolder, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "killed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for stage in ("begin", "add"):
        command = [sys.executable, "-c", BEGIN, stage, str(folder.path)]
        assert subprocess.run(command, env=environment, timeout=120).returncode == -9
    track_twice("mlflow", folder)
    client = tracking.MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trials": "4", "data": '["a", "b"]', "base": "net"}
    history = client.get_metric_history(run.info.run_id, "trial/fairness")
    assert sorted((m.step, m.value) for m in history) == [(0, 0.25), (1, 0.5), (2, 0.75)]


def test_mlflow_needs_an_address(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"), recording("mlflow", folder, {}):
        pass


@pytest.mark.parametrize(
    "address", ["localhost:5000", "127.0.0.1:5000/a", "foo://me:s3cret@x", "http:", "http://[x"]
)
def test_what_can_be_no_mlflow_is_told_at_once(
    address: str, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    told = pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_URI=.*http://host:5000")
    with told as error, recording("mlflow", folder, {}):
        pass
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "address",
    ["https://me:x@host", "mlruns", "/data/mlruns", "C:\\mlruns", "file:///data", "databricks",
     "databricks://mine", "sqlite:////data/mlflow.db", "postgresql+psycopg://me@host/db"],
)  # fmt: skip
def test_what_can_be_an_mlflow_is_not_reached_before_the_work(
    address: str, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip("moenas.tracking.mlflow_server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(module, "MlflowClient", lambda _: 1 / 0)
    module.MlflowServer(folder, {})


def test_an_mlflow_database_that_does_not_answer_delays_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client connects when it is made; here it hangs, then fails, then takes all."""
    module = pytest.importorskip("moenas.tracking.mlflow_server")
    warned: list[str] = []
    monkeypatch.setattr(
        recording_module.logger, "warning", lambda text, *of: warned.append(text % of)
    )
    monkeypatch.setattr(recording_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:pa@ss@host/db")
    go, tried = threading.Event(), threading.Event()

    def connect(_: str) -> Any:
        if tried.is_set():
            client = MagicMock()
            client.search_runs.return_value = []
            return client
        go.wait(20)
        tried.set()
        module.DATABASE_LOG.warning("%s, tried again", "failed to resolve host 'ss@host'")
        raise ConnectionError("failed to resolve host 'ss@host'")

    monkeypatch.setattr(module, "MlflowClient", connect)
    monkeypatch.setattr(module.DATABASE_LOG, "handlers", [caplog.handler])
    start = time.monotonic()
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"fairness": 0.5})
        assert time.monotonic() - start < 5
        go.set()
    assert warned == [
        "mlflow takes nothing: failed to resolve host '***@host'. The work goes on, and it is "
        "tried again."
    ]
    assert caplog.messages[-1:] == ["failed to resolve host '***@host', tried again"]
    assert '"trial"' in folder.tracking.read_text()


class FakeRun:
    """Of W&B: what is called is remembered."""

    def __init__(self, calls: list[Any], options: dict[str, Any]) -> None:
        self.calls, self.id, self.summary = calls, options["id"], {}
        calls.append(("init", options))

    def define_metric(self, name: str, **options: Any) -> None:
        self.calls.append(("define", name, options.get("step_metric")))

    def log(self, values: dict[str, float]) -> None:
        self.calls.append(("log", values))

    def save(self, path: str, **_: Any) -> None:
        self.calls.append(("save", Path(path).name))

    def finish(self, exit_code: int) -> None:
        self.calls.append(("finish", exit_code, self.summary["outcome"]))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = types.SimpleNamespace(calls=[], api=types.SimpleNamespace(api_key="k"))
    fake.init = lambda **options: FakeRun(fake.calls, options)
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "moenas.tracking.wandb_run", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return fake


def test_wandb(folder: RunFolder, wandb: Any) -> None:
    track_twice("wandb", folder)
    begun, went_on = [call[1] for call in wandb.calls if call[0] == "init"]
    assert (begun["project"], begun["name"], begun["job_type"]) == ("moenas", "run", "search")
    assert begun["config"]["trials"] == 4
    assert (begun["id"], begun["resume"]) == (went_on["id"], "allow")
    assert [call[1] for call in wandb.calls if call[0] == "log"] == [
        {"trial/fairness": 0.5, "trial/step": 1},
        {"trial/fairness": 0.25, "trial/step": 0},
        {"trial/fairness": 0.75, "trial/step": 2},
        {"report/net:1/fairness": 0.9, "report/net:1/step": 0},
    ]
    assert ("define", "trial/*", "trial/step") in wandb.calls
    assert [call[1:] for call in wandb.calls if call[0] == "finish"] == [
        (1, "stopped"), (0, "finished"),
    ]  # fmt: skip
    assert ("save", "report.html") in wandb.calls


def test_wandb_asks_nobody_to_log_in(folder: RunFolder, wandb: Any) -> None:
    wandb.api.api_key = None
    with pytest.raises(ConfigError, match="wandb login"), recording("wandb", folder, {}):
        pass
