"""The dashboard shows a running search, changes nothing, and says why it cannot start."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, create_trial

from moenas.errors import ConfigError, MissingDependencyError, RunFolderError
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.reading import ReadOnlyStorage
from moenas.nas.study import STUDY_NAME, open_study
from moenas.nas.study_file import sqlite_url
from moenas.runs import RunFolder
from moenas.workflows import dashboard
from moenas.workflows.dashboard import REFUSAL, STRANGER, dashboard_app, open_dashboard

STUDY = "/api/studies/1"


@pytest.fixture
def run(memory: Path) -> RunFolder:
    """A run, in a folder whose name is hard to quote, of two trials: one is infeasible."""
    folder = RunFolder.create(memory / "50 % of #1", "search", {})
    study = open_study(folder, PAPER_OBJECTIVES, optuna.samplers.RandomSampler())
    study.add_trials([measured(0.7, -0.1), measured(0.9, 0.1)])
    return folder


@pytest.fixture
def app(run: RunFolder) -> Any:
    pytest.importorskip("optuna_dashboard")
    return dashboard_app(run)


def measured(value: float, over: float) -> FrozenTrial:
    return create_trial(
        values=[value] * 4,
        user_attrs={"architecture": "net-e1", "parameters": 7},
        constraints={"accuracy": over},
    )


def call(
    app: Any, method: str, path: str, body: Any = None, host: str = "127.0.0.1"
) -> tuple[int, Any]:
    """Ask a WSGI application; return the status and what it says, JSON decoded."""
    text = b"" if body is None else json.dumps(body).encode()
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"HTTP_HOST": host}
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_ACCEPT_ENCODING": ""}
    environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(text))}
    environ["wsgi.input"].write(text)
    environ["wsgi.input"].seek(0)
    status: list[str] = []
    parts = app(environ, lambda line, headers, error=None: status.append(line))
    answer = b"".join(parts)
    if hasattr(parts, "close"):  # a file
        parts.close()
    decoded = json.loads(answer) if answer[:1] in (b"{", b"[") else answer
    return int(status[0].split()[0]), decoded


def archive(run: RunFolder) -> Any:
    """All that a study's file says."""
    study = optuna.load_study(study_name=STUDY_NAME, storage=sqlite_url(run.study))
    trials = [(t.number, t.state, t.values, t.params, t.user_attrs) for t in study.trials]
    return trials, study.user_attrs, study._storage.get_study_system_attrs(study._study_id)


# What it shows


def test_it_shows_the_study(app: Any) -> None:
    status, page = call(app, "GET", "/dashboard")
    assert status == 200
    assert b"<html" in page
    status, study = call(app, "GET", STUDY)
    assert status == 200
    assert study["objective_names"] == list(PAPER_OBJECTIVES)
    assert study["directions"] == ["maximize"] * 4
    assert [t["values"][0] for t in study["trials"]] == [0.7, 0.9]
    attributes = {a["key"]: a["value"] for a in study["trials"][0]["user_attrs"]}
    assert attributes == {"architecture": "net-e1", "parameters": "7"}


def test_it_knows_which_trials_are_infeasible(app: Any) -> None:
    trials = call(app, "GET", STUDY)[1]["trials"]
    assert [t["constraints"] for t in trials] == [[-0.1], [0.1]]


def test_it_sees_what_a_search_adds(run: RunFolder) -> None:
    study = optuna.load_study(study_name=STUDY_NAME, storage=sqlite_url(run.study))
    storage = ReadOnlyStorage(run)
    assert len(storage.get_all_trials(1)) == 2
    trial = study.ask()
    assert [t.state.name for t in storage.get_all_trials(1)][2:] == ["RUNNING"]
    trial.set_constraint("accuracy", 0.5)
    study.tell(trial, [0.5] * 4)
    seen = storage.get_all_trials(1)[2]
    assert (seen.values, seen.system_attrs["constraints"]) == ([0.5] * 4, [0.5])


# What it cannot do


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", STUDY, {}),
        ("POST", "/api/studies", {"study_name": "mine", "directions": ["maximize"]}),
        ("POST", f"{STUDY}/rename", {"study_name": "mine"}),
        ("PUT", f"{STUDY}/note", {"version": 1, "body": "note"}),
        ("PUT", f"{STUDY}/1/note", {"version": 1, "body": "note"}),
        ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"architecture": "mine"}}),
        ("POST", "/api/trials/3/tell", {"state": "Fail"}),
        ("PATCH", STUDY, {}),
        ("OPTIONS", STUDY, {}),
    ],
)
@pytest.mark.parametrize("guarded", [True, False], ids=["whole", "storage alone"])
def test_nothing_in_it_changes_the_study(
    run: RunFolder,
    guarded: bool,
    method: str,
    path: str,
    body: Any,
) -> None:
    """Requests are refused; without that, the file that is open to read refuses, too."""
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    optuna.load_study(study_name=STUDY_NAME, storage=sqlite_url(run.study)).ask()  # one is running
    app = dashboard_app(run) if guarded else optuna_dashboard.wsgi(ReadOnlyStorage(run))
    before, content = archive(run), run.study.read_bytes()
    status, answer = call(app, method, path, body)
    if guarded:
        assert (status, answer) == (403, {"reason": REFUSAL})
    else:
        assert status >= 400
    assert archive(run) == before
    assert run.study.read_bytes() == content
    assert call(app, "GET", STUDY)[0] == 200


def test_the_storage_refuses_to_write(run: RunFolder) -> None:
    storage = ReadOnlyStorage(run)
    with pytest.raises(StorageInternalError):
        storage.set_study_user_attr(1, "key", "value")
    with pytest.raises(StorageInternalError):
        storage.delete_study(1)
    with pytest.raises(StorageInternalError):
        storage.create_new_trial(1)
    assert len(archive(run)[0]) == 2


OWN = ("127.0.0.1", "127.0.0.1:8080", "localhost:8080", "LocalHost", "[::1]", "[::1]:8080")
OTHERS = ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.com",
          "evil.example,localhost", "localhost:80@evil.example", "192.168.1.2:80", "")  # fmt: skip


def test_pages_whose_name_leads_here_read_nothing(run: RunFolder, app: Any) -> None:
    """DNS rebinding: the browser takes the page and the dashboard for one site."""
    for host in OWN:
        assert call(app, "GET", STUDY, host=host)[0] == 200
    for host in OTHERS:
        assert call(app, "GET", STUDY, host=host) == (403, {"reason": STRANGER})
    assert call(dashboard_app(run, own=False), "GET", STUDY, host=OTHERS[0])[0] == 200


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", b"403"), ("0.0.0.0", b"200")])
def test_a_server_that_listens_here_alone_answers_to_its_own_names(
    run: RunFolder, host: str, status: bytes
) -> None:
    pytest.importorskip("optuna_dashboard")
    with open_dashboard(run.path, host, 0) as server:
        threading.Thread(target=server.handle_request).start()
        with socket.create_connection(("127.0.0.1", server.server_port), 20) as browser:
            browser.sendall(b"GET /dashboard HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n")
            assert browser.recv(12)[9:] == status


# Where it listens


def test_other_addresses_than_this_machines_own_get_a_warning(
    run: RunFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna_dashboard")
    monkeypatch.setattr(logging.getLogger("moenas"), "propagate", True)
    with open_dashboard(run.path, port=0) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.server_port}/dashboard/studies/1"
    with open_dashboard(run.path, "localhost", 0):
        pass
    assert not caplog.records
    with open_dashboard(run.path, "0.0.0.0", 0):
        pass
    assert "the dashboard has no password" in caplog.text


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "192.168.1.2", "example.org")],
)
def test_which_addresses_are_this_machines_own(host: str, own: bool) -> None:
    assert dashboard._is_loopback(host) is own


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(run: RunFolder) -> None:
    pytest.importorskip("optuna_dashboard")
    try:
        with open_dashboard(run.path, "::1", 0) as server:
            assert server.url.startswith("http://[::1]:")
    except ConfigError:
        pytest.skip("no IPv6 on this machine")


def test_a_port_in_use(run: RunFolder) -> None:
    pytest.importorskip("optuna_dashboard")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Port {port} is in use.*--port"):
            open_dashboard(run.path, port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("256.1.1.1", 0)])
def test_where_nobody_can_listen(run: RunFolder, host: str, port: int) -> None:
    pytest.importorskip("optuna_dashboard")
    with pytest.raises(ConfigError, match=f"{port}"):
        open_dashboard(run.path, host, port)


# What it refuses


def test_a_folder_without_a_study(memory: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    with pytest.raises(RunFolderError, match="not a MoENAS run folder"):
        open_dashboard(memory / "nothing")
    RunFolder.create(memory / "new", "search", {})
    with pytest.raises(RunFolderError, match=r"has no study\.db: only a search has one"):
        open_dashboard(memory / "new")
    assert not (memory / "new" / "study.db").exists()


def test_a_damaged_study(run: RunFolder) -> None:
    pytest.importorskip("optuna_dashboard")
    run.study.write_bytes(b"no database" * 1000)
    with pytest.raises(RunFolderError, match="cannot be read"):
        open_dashboard(run.path)


def test_without_the_extra_it_says_what_to_install(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'moenas\[dashboard\]'"):
        open_dashboard(run.path)
