"""Who leads and who joins, when several processes search in one run folder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import optuna
import pytest

from moenas.errors import RunFolderError
from moenas.nas import leases
from moenas.nas.settings import SearchConfig
from moenas.nas.storage import keep_copy
from moenas.nas.study import open_recorded_study
from moenas.runs import RunFolder, read_json
from moenas.training.loop import OutOfTime
from moenas.workflows import search_run
from moenas.workflows.search import search
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
def test_what_is_told_after_the_trials_ended_is_in_no_file(
    run: RunFolder, tiny_config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_another_tells(folder: RunFolder, study: optuna.Study) -> None:
        keep_copy(folder, study)
        study.add_trial(study.trials[-1])

    monkeypatch.setattr(search_run, "keep_copy", then_another_tells)
    before, records = read_json(run.summary)["search"], read_json(run.trials)
    assert search_together(tiny_config, run.path, str(run.path / "study.log"), ONE) is not None
    assert read_json(run.summary)["search"]["completed"] == before["completed"]
    assert len(read_json(run.trials)) == len(records)


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
