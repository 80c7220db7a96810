from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import filelock
import pytest

from moenas import runs
from moenas.atomic import write_text
from moenas.errors import CheckpointError, RunFolderError, RunFolderInUseError
from moenas.runs import ModelFolder, RunFolder

SETTINGS = {"trials": 3, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "search", SETTINGS)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunFolderError, match="No permission"):
            RunFolder.create(tmp_path / "run", "search", SETTINGS)
    finally:
        tmp_path.chmod(0o700)


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path))
    assert runs.cache_home() == tmp_path
    monkeypatch.delenv("MOENAS_CACHE")
    assert runs.cache_home() == Path.home() / ".cache" / "moenas"


# Run folders


def test_what_is_created_can_be_opened(run: RunFolder) -> None:
    again = RunFolder.open(run.path)
    assert again.read_config() == {
        "moenas_format": runs.FORMAT,
        "kind": "search",
        "settings": SETTINGS,
    }
    assert again.name == "run"


def test_the_same_command_goes_on(run: RunFolder) -> None:
    (run.path / "kept").write_text("")
    RunFolder.create(run.path, "search", dict(SETTINGS))
    assert names(run.path) == [".lock", "config.json", "kept"]


def test_other_settings_are_refused_by_name(run: RunFolder) -> None:
    run.manifest.touch()
    with pytest.raises(RunFolderError, match=r"other settings \(new, trials\)"):
        RunFolder.create(run.path, "search", {"trials": 4, "seed": 0, "new": 1})
    assert run.read_config()["settings"] == SETTINGS


def test_a_run_that_made_nothing_holds_nobody_to_its_settings(run: RunFolder) -> None:
    RunFolder.create(run.path, "train", {"seed": 5})
    assert run.read_config()["kind"] == "train"
    assert run.read_config()["settings"] == {"seed": 5}
    with run.locked(), pytest.raises(RunFolderError, match="Another process works in"):
        RunFolder.create(run.path, "train", {"seed": 6})
    assert run.read_config()["settings"] == {"seed": 5}


def test_another_commands_run_is_refused(run: RunFolder) -> None:
    run.manifest.touch()
    with pytest.raises(RunFolderError, match="holds a search run, not a train run"):
        RunFolder.create(run.path, "train", SETTINGS)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos.jpg").write_text("")
    with pytest.raises(RunFolderError, match="not empty and not a MoENAS run"):
        RunFolder.create(tmp_path, "search", SETTINGS)
    with pytest.raises(RunFolderError, match=r"it has no config\.json"):
        RunFolder.open(tmp_path)
    assert names(tmp_path) == ["photos.jpg"]


def test_a_folder_with_hidden_files_is_empty_enough(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    RunFolder.create(tmp_path, "search", SETTINGS)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file, not a folder"):
        RunFolder.create(tmp_path / "file", "search", SETTINGS)
    with pytest.raises(RunFolderError, match="is not a MoENAS run folder"):
        RunFolder.open(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"moenas_format": 0, "kind": "search", "settings": SETTINGS}, "run folder format 0"),
        ({"name": "a web project"}, "run folder format None"),
        ([1, 2], "run folder format None"),
        ({"moenas_format": runs.FORMAT}, "is damaged"),
        ({"moenas_format": runs.FORMAT, "kind": "search", "settings": 3}, "is damaged"),
    ],
)
def test_old_foreign_and_damaged_configs(run: RunFolder, content: object, message: str) -> None:
    run.config.write_text(json.dumps(content))
    for act in (
        lambda: RunFolder.open(run.path),
        lambda: RunFolder.create(run.path, "search", SETTINGS),
    ):
        with pytest.raises(RunFolderError, match=message):
            act()


def test_a_truncated_config_is_told(run: RunFolder) -> None:
    run.config.write_text('{"moenas_format": 1, "ki')
    with pytest.raises(RunFolderError, match="cannot be read"):
        RunFolder.open(run.path)


def test_an_unreadable_folder_is_told(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(RunFolderError, match="No permission"):
        RunFolder.create(run.path, "search", SETTINGS)
    with pytest.raises(RunFolderError, match="No permission"):
        RunFolder.open(run.path)


def test_models_have_their_places(run: RunFolder) -> None:
    folders = [
        run.parent("base", 0),
        run.parent("base", 1),
        run.trial(0),
        run.trial(1),
        run.finalist("base", 0),
        run.pruned(),
        run.model(),
    ]
    assert len({folder.path for folder in folders}) == len(folders)
    assert all(folder.path.is_relative_to(run.path) for folder in folders)


def test_the_scores_tell_that_a_model_is_finished(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    folder.checkpoint.write_text("")
    assert not folder.finished
    folder.scores.write_text("{}")
    assert folder.finished


# Which checkpoint a path means


def put_models(run: RunFolder, *folders: str) -> None:
    for each in folders:
        write_text(ModelFolder(run.path / each).checkpoint, each)


@pytest.mark.parametrize(
    ("models", "meant"),
    [(("model",), "model"), (("pruned",), "pruned"), (("pruned", "pruned/tuned-2"), "pruned")],
)
def test_a_runs_only_model_is_meant(run: RunFolder, models: tuple[str, ...], meant: str) -> None:
    put_models(run, *models)
    expected = ModelFolder(run.path / meant).checkpoint
    assert runs.find_checkpoint(run.path) == expected
    assert runs.find_checkpoint(expected.parent) == expected
    assert runs.find_checkpoint(expected) == expected


def test_models_to_choose_from_are_named(run: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="There is no model in the folder"):
        runs.find_checkpoint(run.path)
    put_models(run, *(f"trials/000{n}" for n in range(6)), "finalists/a-s1", "pruned")
    with pytest.raises(CheckpointError, match="has several models") as caught:
        runs.find_checkpoint(run.path)
    named = str(caught.value).partition("them: ")[2]
    assert named.startswith(f"'{run.path / 'finalists' / 'a-s1'}', '{run.path / 'pruned'}', ")
    assert named.endswith(" and 2 more.")


# One process a run folder


HOLD = """
import sys, time
from moenas.runs import RunFolder
with RunFolder.open(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_ends(run: RunFolder) -> None:
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        try:
            second = subprocess.run(command, capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert "Another process works in" in second.stderr
            with pytest.raises(RunFolderError, match="Another process works in"), run.locked():
                raise AssertionError("two at once")
        finally:
            first.kill()  # however it ends, the lock goes with it
    with run.locked():
        pass


@pytest.mark.parametrize("before", [None, {"seed": 5}], ids=["new", "refused before"])
def test_who_starts_in_the_same_instant_finds_the_run_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, int] | None
) -> None:
    path, locked = tmp_path / "run", RunFolder.locked
    if before is not None:
        RunFolder.create(path, "search", before)
    with contextlib.ExitStack() as first:

        def beaten(run: RunFolder) -> Any:
            monkeypatch.setattr(RunFolder, "locked", locked)
            first.enter_context(RunFolder.create(path, "search", SETTINGS).locked())
            return locked(run)

        monkeypatch.setattr(RunFolder, "locked", beaten)
        assert RunFolder.create(path, "search", SETTINGS).read_config()["settings"] == SETTINGS
        monkeypatch.setattr(RunFolder, "locked", locked)
        with pytest.raises(RunFolderInUseError):  # who wants another run is no helper
            RunFolder.create(path, "search", {"seed": 6})


def test_a_glance_at_the_lock_stops_no_start(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "GLANCE", 60)  # on a busy machine an instant is long
    glance = filelock.FileLock(run.path / ".lock", thread_local=False)
    glance.acquire()
    release = threading.Timer(0.1, glance.release)
    release.start()
    with run.locked():
        pass
    release.join()


def test_the_lock_is_released_after_an_error(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="work"), run.locked():
        raise ValueError("work")
    with run.locked():
        pass
