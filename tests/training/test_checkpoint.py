from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
import torch

from moenas.console import logger
from moenas.errors import RunFolderError
from moenas.training.checkpoint import TrainingState, drop_state, load_state, save_state


def state(value: float) -> TrainingState:
    weights = {"a": torch.full((3, 2), value), "b": torch.arange(4)}
    slots = {0: {"step": torch.tensor(value), "exp_avg": torch.ones(2) * value, "beta": 0.5}}
    groups = [{"lr": value, "params": [0], "betas": [0.9, 0.99], "step": torch.tensor(value)}]
    optimizer = {"state": slots, "param_groups": groups}
    best = {name: tensor.clone() for name, tensor in weights.items()}
    return TrainingState({"model": weights, "best": best}, optimizer, {"epoch": value})


def value_of(found: TrainingState | None) -> float:
    assert found is not None
    return float(found.progress["epoch"])


def test_a_state_survives(tmp_path: Path) -> None:
    save_state(tmp_path / "s", state(2.0))
    found = load_state(tmp_path / "s")
    assert found is not None
    assert found.progress == {"epoch": 2.0}
    assert torch.equal(found.modules["model"]["a"], torch.full((3, 2), 2.0))
    assert found.modules["best"]["b"].dtype == torch.int64
    assert found.optimizer["param_groups"] == [
        {"lr": 2.0, "params": [0], "betas": [0.9, 0.99], "step": torch.tensor(2.0)},
    ]
    slot = found.optimizer["state"][0]
    assert slot["beta"] == 0.5
    assert slot["step"].shape == ()
    assert torch.equal(slot["exp_avg"], torch.full((2,), 2.0))


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "s") is None


def test_the_newest_is_used(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        save_state(tmp_path / "s", state(value))
    assert value_of(load_state(tmp_path / "s")) == 3.0
    assert len(list(tmp_path.iterdir())) == 2  # it and the one before


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_of_a_truncated_one_the_one_before_is_used(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    save_state(path, state(1.0))
    save_state(path, state(2.0))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with caplog.at_level(logging.WARNING, logger="moenas"):
        logging.getLogger("moenas").addHandler(caplog.handler)
        assert value_of(load_state(path)) == 1.0
        logging.getLogger("moenas").removeHandler(caplog.handler)
    assert "damaged" in caplog.text
    save_state(path, state(3.0))  # and the good one is still behind the new one
    path.write_bytes(b"")
    assert value_of(load_state(path)) == 1.0


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    save_state(path, state(1.0))
    data = path.read_bytes()
    for place in range(8, len(data), 17):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = load_state(path)
        assert found is None or found.modules.keys() == state(1.0).modules.keys()
        if found is not None:  # only padding may differ
            assert found.progress == {"epoch": 1.0}
            assert torch.equal(found.modules["model"]["a"], torch.full((3, 2), 1.0))


def test_both_damaged_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *values: told.append(text % values))
    path = tmp_path / "s"
    save_state(path, state(1.0))
    save_state(path, state(2.0))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert load_state(path) is None
    assert [line.rpartition(". ")[2] for line in told] == [
        "The one before it is used.",
        "It is trained anew.",
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output error"),
        (MemoryError("no memory"), "no memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_now_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    for value in (1.0, 2.0):
        save_state(tmp_path / "s", state(value))

    def fail(path: Path) -> bytes:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises((RunFolderError, MemoryError), match=told):
            load_state(tmp_path / "s")
    assert value_of(load_state(tmp_path / "s")) == 2.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path / "s", state(1.0))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="The disk is full"):
            save_state(tmp_path / "s", state(2.0))
    assert value_of(load_state(tmp_path / "s")) == 1.0


def test_dropped_nothing_is_left(tmp_path: Path) -> None:
    save_state(tmp_path / "s", state(1.0))
    save_state(tmp_path / "s", state(2.0))
    drop_state(tmp_path / "s")
    drop_state(tmp_path / "s")
    assert not list(tmp_path.iterdir())
