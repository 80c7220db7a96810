"""Who leads and who joins, when several processes search in one run folder."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from inline_executor import Inline
from moenas.config import to_dict
from moenas.errors import RunFolderError, SearchError
from moenas.nas import leases
from moenas.nas.budget import Clock
from moenas.nas.driver import StudyDriver
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.progress import SearchProgress
from moenas.nas.settings import SearchConfig
from moenas.nas.storage import SharedStorage, keep_copy
from moenas.nas.study import open_recorded_study, open_study
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.tracking.recording import Recording
from moenas.training.loop import OutOfTime
from moenas.workflows import search as search_module
from moenas.workflows import search_run, search_summary, shared_search
from moenas.workflows.search import search
from moenas.workflows.search_run import SearchRun, search_space
from moenas.workflows.settings import Resources
from moenas.workflows.shared_search import search_together

ONE = Resources(workers=1)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the tiny run that may be changed."""
    return RunFolder.open(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.mark.usefixtures("here")
def test_one_joins_while_the_folder_is_held_and_leads_when_it_is_free(
    run: RunFolder, tiny_config: SearchConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="moenas")
    journal = str(run.path / "study.log")
    before = read_json(run.comparison)
    run.comparison.unlink()
    result = search_together(tiny_config, run.path, journal, ONE)  # the study moves there
    assert result is not None
    assert result.comparison == before == read_json(run.comparison)
    assert len(open_recorded_study(run).trials) == tiny_config.trials

    run.comparison.unlink()
    with run.locked():  # by another process that leads
        assert search_together(tiny_config, run.path, journal, ONE) is None
    assert "helping it to train" in caplog.text
    assert "another one finishes" in caplog.text
    assert not run.comparison.exists()

    with pytest.raises(RunFolderError, match=r"study\.log', which several .* --storage"):
        search(tiny_config, run.path, ONE)


@pytest.mark.usefixtures("here")
def test_what_another_tells_between_two_looks_is_in_all_that_is_shown_or_in_none(
    run: RunFolder, tiny_config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the driver looks: in the progress and the files. After the trials ended: in none."""
    shown: list[SearchProgress] = []
    look = SearchProgress.of

    def then_another_tells(study: optuna.Study, *rest: Any) -> SearchProgress:
        shown.append(look(study, *rest))
        study.add_trial(study.trials[-1])
        return shown[-1]

    def too_late_another_tells(folder: RunFolder, study: optuna.Study) -> None:
        keep_copy(folder, study)
        study.add_trial(study.trials[-1])

    monkeypatch.setattr(SearchProgress, "of", then_another_tells)
    monkeypatch.setattr(search_run, "keep_copy", too_late_another_tells)
    before, records = read_json(run.summary)["search"], read_json(run.trials)
    assert search_together(tiny_config, run.path, str(run.path / "study.log"), ONE) is not None
    assert shown[0].done == len(records) + 1
    assert read_json(run.summary)["search"]["completed"] == before["completed"] + 1
    assert len(read_json(run.trials)) == len(records) + 1


@pytest.mark.usefixtures("here")
def test_who_joins_waits_for_the_data_within_its_time(
    run: RunFolder, tiny_config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 0.02)
    journal, limit = str(run.path / "study.log"), Resources(workers=1, time_limit=0.01)
    run.manifest.unlink()
    with run.locked(), pytest.raises(OutOfTime, match="before the first training"):
        search_together(tiny_config, run.path, journal, limit)
    assert not (run.path / "study.log").exists()


@pytest.mark.usefixtures("here")
def test_who_joins_stops_at_its_time_and_leaves_the_finalists_to_the_leader(
    run: RunFolder, tiny_config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def some(driver: StudyDriver, trials: int, may_start: Callable[[], bool]) -> bool:
        asked.append(may_start())
        return False

    def no_finalists(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(StudyDriver, "run", some)
    monkeypatch.setattr(search_run, "seconds_of_finalists", lambda *_: 1e9)
    monkeypatch.setattr(search_run, "choose_finalists", no_finalists)
    with run.locked(), pytest.raises(OutOfTime, match="The one that leads the search goes on"):
        search_together(
            tiny_config,
            run.path,
            str(run.path / "study.log"),
            Resources(workers=1, time_limit=10),
        )
    assert asked == [True]  # it keeps no time back


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.usefixtures("here")
def test_a_folder_that_another_opened_with_other_settings_meanwhile(
    tiny_config: SearchConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    together: bool,
) -> None:
    """Nothing is in it yet, so that the last one to open it has it."""
    other = dataclasses.replace(tiny_config, trials=9)

    def open_both(config: SearchConfig, run: Path) -> RunFolder:
        opened = RunFolder.create(run, "search", to_dict(config))
        RunFolder.create(run, "search", to_dict(other))
        return opened

    monkeypatch.setattr(shared_search, "open_run", open_both)
    monkeypatch.setattr(search_module, "open_run", open_both)
    journal = str(tmp_path / "study.log")
    begin = partial(search_together, storage=journal) if together else search
    with pytest.raises(RunFolderError, match="with other settings at the same time"):
        begin(tiny_config, tmp_path / "run", resources=ONE)
    assert read_json(tmp_path / "run" / "config.json")["settings"]["trials"] == 9
    assert not (tmp_path / "run" / "manifest.parquet").exists()


@pytest.mark.parametrize("shared", [True, False])
def test_what_fails_is_told_of_the_place_where_the_study_is(
    memory: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    def away(*_: object) -> bool:
        cause = OperationalError("INSERT", {}, Exception("the server closed the connection"))
        raise StorageInternalError("in the commit") from cause

    monkeypatch.setattr(StudyDriver, "run", away)
    folder = RunFolder.create(memory / "run", "search", {})
    storage = SharedStorage(str(memory / "study.log")) if shared else None
    config = SearchConfig(data=("emoji",), image_size=32)
    idle = Recording(None, "", folder)
    part = SearchRun(config, folder, ONE, Clock(None), Inline(), idle, storage)
    sampler = optuna.samplers.RandomSampler()
    study = open_study(folder, PAPER_OBJECTIVES, sampler, storage)
    maker: Any = None  # nothing is trained
    where = r"storage '.*study\.log' does not work: .*closed" if shared else r"study\.db' cannot be"
    with pytest.raises(SearchError if shared else RunFolderError, match=where) as error:
        part._trials(study, search_space(config), PAPER_OBJECTIVES, 0.5, maker, 0.0)
    assert ("study.db" in str(error.value)) is not shared


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"seconds": 3}', '{"seconds": {"data": "x"}}'])
def test_a_summary_of_another_shape_is_named(memory: Path, text: str) -> None:
    folder = RunFolder.create(memory / "run", "search", {})
    folder.summary.write_text('{"seconds": {"data": 1, "search": 2.5}}')
    assert search_summary._seconds(folder) == {"data": 1.0, "search": 2.5}
    folder.summary.write_text(text)
    with pytest.raises(RunFolderError, match=r"'.*summary\.json' is damaged.*Delete it and run"):
        search_summary._seconds(folder)
