from __future__ import annotations

import os
import signal

import pytest
import torch

from moenas.data.parallel import parallel_map
from moenas.errors import ConfigError, DataError


def _square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def _refuse(number: int) -> int:
    if number == 3:
        raise ConfigError("Three is refused.")
    return number


def _die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _bug(number: int) -> int:
    return [0][number]


def test_order_is_kept_and_other_processes_work():
    results = list(parallel_map(_square, range(20), workers=2))
    assert [value for value, _ in results] == [n * n for n in range(20)]
    assert os.getpid() not in {pid for _, pid in results}


def test_one_worker_is_this_process_and_nothing_is_no_work():
    assert {pid for _, pid in parallel_map(_square, range(3), workers=1)} == {os.getpid()}
    assert list(parallel_map(_square, [], workers=2)) == []


def test_workers_map_in_their_own_process():
    assert list(parallel_map(_nested, range(2), workers=2)) == [True, True]


def _nested(_: int) -> bool:
    return {pid for _, pid in parallel_map(_square, range(3), workers=2)} == {os.getpid()}


def test_errors_for_the_user_arrive_bare():
    with pytest.raises(DataError, match=r"^Three is refused\.$"):
        list(parallel_map(_refuse, range(6), workers=2))
    with pytest.raises(ConfigError, match=r"^Three is refused\.$"):
        list(parallel_map(_refuse, range(6), workers=1))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    list(parallel_map(_square, range(3), workers=2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_bug_keeps_its_traceback():
    with pytest.raises(IndexError, match="Original Traceback"):
        list(parallel_map(_bug, range(4), workers=2))


def test_a_killed_worker_is_told(monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    with pytest.raises(DataError, match="died, perhaps for want of memory"):
        list(parallel_map(_die, range(4), workers=2))
