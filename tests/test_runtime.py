from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
import torch

from moenas import runtime
from moenas.errors import ConfigError


def test_the_cpu_is_always_there() -> None:
    assert runtime.pick_device("cpu") == torch.device("cpu")
    assert runtime.pick_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_an_unusable_device_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"The device '{name}' cannot be used here"):
        runtime.pick_device(name)


def test_the_devices_there_are_are_named() -> None:
    with pytest.raises(ConfigError, match=r"There are: cpu.*'auto' takes the fastest") as caught:
        runtime.pick_device("gpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "no")])
def test_bf16_is_used_where_the_card_has_it(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    assert runtime.best_precision(torch.device("cuda")) == precision
    assert runtime.best_precision(torch.device("cpu")) == "no"


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_seeding_covers_every_generator(device: torch.device | None) -> None:
    def draw() -> tuple[float, float, float]:
        runtime.seed_everything(7, device)
        legacy = np.random.rand()  # noqa: NPY002 - third parties draw from it
        return random.random(), float(legacy), float(torch.rand(()))

    assert draw() == draw()


def test_derived_seeds_are_independent_and_repeatable() -> None:
    keys = [("epoch", 0), ("epoch", 1), ("order", 0), ("order", 1)]
    seeds = {runtime.derived_seed(seed, *key) for seed in (0, 1) for key in keys}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert runtime.derived_seed(5, "epoch", 3) == runtime.derived_seed(5, "epoch", 3)


def test_a_generator_is_of_its_purpose() -> None:
    first = runtime.generator(0, "a").random(4)
    assert (first == runtime.generator(0, "a").random(4)).all()
    assert (first != runtime.generator(0, "b").random(4)).all()


def test_the_fastest_number_of_threads_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    cost = {1: 3.0, 2: 1.0, 4: 2.0}

    def work() -> None:
        nonlocal now
        now += cost[torch.get_num_threads()]

    monkeypatch.setattr(runtime.time, "perf_counter", lambda: now)
    before = torch.get_num_threads()
    try:
        assert runtime.fastest_threads(work, (1, 2, 4)) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_peak_memory_counts_what_was_used() -> None:
    before = runtime.peak_memory()
    block = np.ones(64 << 20, dtype=np.uint8)
    grown = runtime.peak_memory()
    del block
    assert before > 10 << 20
    assert grown >= before
    assert runtime.peak_memory() >= grown - (1 << 20)  # a peak does not shrink


def test_keeping_freed_memory_changes_no_result() -> None:
    runtime.keep_freed_memory()
    assert float(torch.ones(1 << 20).sum()) == 1 << 20


def test_the_machine_is_described() -> None:
    machine = runtime.Machine.here(torch.device("cpu"))
    assert machine.cores == runtime.available_cores() >= 1
    assert machine.torch_version == torch.__version__
    assert machine.device == "cpu"
