from __future__ import annotations

import errno
import json
import math
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pandas as pd
import pytest

from moenas import runs
from moenas.errors import CheckpointError, RunFolderError
from moenas.runs import ModelFolder, RunFolder

SETTINGS = {"trials": 3, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "search", SETTINGS)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# Writing


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    runs.write_text(path, "grüße")
    assert path.read_text(encoding="utf-8") == "grüße"
    assert names(path.parent) == ["c.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "file.json"
    runs.write_json(path, {"old": 1})

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(RunFolderError, match="The disk is full") as caught:
        runs.write_json(path, {"new": 2})
    assert str(path) in str(caught.value)
    assert "same command again" in str(caught.value)
    assert runs.read_json(path) == {"old": 1}
    assert names(tmp_path) == ["file.json"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synchronised on POSIX alone")
def test_a_name_is_on_the_disk_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []  # what a folder holds when it is synchronised

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            seen.append(os.listdir(descriptor))
            raise OSError(errno.EINVAL, "not of folders")

    monkeypatch.setattr(os, "fsync", refuse)
    runs.write_text(tmp_path / "a.txt", "a")
    with runs.replaced_whole(tmp_path / "b.txt") as path:
        path.write_text("b")
    assert [sorted(each) for each in seen] == [["a.txt"], ["a.txt", "b.txt"]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ENOSPC of a real write, in the middle of a large file."""
    real = os.fdopen

    def onto_full_device(descriptor: int, mode: str) -> object:
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        return real(descriptor, mode)

    monkeypatch.setattr(os, "fdopen", onto_full_device)
    with pytest.raises(RunFolderError, match="The disk is full"):
        runs.write_bytes(tmp_path / "big", b"x" * (1 << 20))
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_no_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunFolderError, match=r"No permission to write .* Choose another folder"):
        runs.write_text(tmp_path / "file", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunFolderError, match="No permission"):
            RunFolder.create(tmp_path / "run", "search", SETTINGS)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_are_for_whom_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        runs.write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


NOBODY = 2**22 + 1
"""No process has this number: Linux ends at 2^22."""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_a_living_writer_holds_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number says nothing: in another container of this machine it is another process's."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: NOBODY)
        whole = runs.replaced_whole(tmp_path / "study.db")
        with whole as path, runs.atomic_file(tmp_path / "a.json") as file:
            file.write(b"half")
            path.write_text("half")
            runs.remove_leftovers(tmp_path)
            assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["a.json", "study.db"]


def test_folders_of_killed_writers_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f".study.db.{NOBODY}-{runs.HOST}-0badc0de.part"
    left.mkdir()
    (left / "study.db").write_text("half")
    runs.remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_other_errors_keep_their_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Cannot write .*: (Not a directory|File exists)"):
        runs.write_text(tmp_path / "file" / "below", "text")


def test_an_error_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with runs.atomic_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert names(tmp_path) == []


def test_killed_while_writing_the_old_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    runs.write_text(path, "old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from moenas.runs import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'new' * 100000); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    runs.write_json(path, {"a": math.nan, "b": [math.inf, 1.5], "c": (1, 2), 3: None})
    text = path.read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, 2], "3": None}


def test_missing_and_damaged_json(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(RunFolderError, match=r"file\.json' does not exist"):
        runs.read_json(path)
    for damage in (b"", b'{"a": ', b"\xff\xfe\x00"):
        path.write_bytes(damage)
        with pytest.raises(RunFolderError, match=r"file\.json' cannot be read"):
            runs.read_json(path)


def test_a_table_survives(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    runs.write_parquet(tmp_path / "t.parquet", frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)


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
    assert again.study_url.startswith("sqlite:////")


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
        runs.write_text(ModelFolder(run.path / each).checkpoint, each)


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
