"""Two processes train as one does: gloo on the CPU, started once for all tests here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from two_processes import trained

from moenas.errors import ConfigError
from moenas.models.routing import Routing, balance_loss
from moenas.runs import ModelFolder
from moenas.training import processes
from moenas.training.loop import TrainResult

TESTS = Path(__file__).parent.parent


def two(folder: Path, device: str) -> Path:
    """Run ``two_processes`` and return the folder of what it leaves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    path = os.pathsep.join([*sys.path, str(TESTS)])
    started = [
        subprocess.Popen(
            [sys.executable, two_processes.__file__, str(folder), device],
            env={
                **os.environ,
                **{name: str(value) for name, value in common.items()},
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "PYTHONPATH": path,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        told = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], told
    return folder


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave that train all cases."""
    return two(tmp_path_factory.mktemp("both"), "cpu")


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Train a case in this process, as if launched."""

    def go(case: str, **options: Any) -> TrainResult:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        return trained(case, tmp_path / f"{case}-{len(options)}", **options)

    return go


def left(folder: Path, name: str) -> list[tuple[dict[str, torch.Tensor], Any]]:
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=False) for rank in (0, 1)]


def farthest(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    assert one.keys() == two.keys()
    one, two = without_keys_bias(one), without_keys_bias(two)
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def without_keys_bias(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Softmax makes attention's keys' bias change nothing: Adam enlarges its rounding errors."""
    return {
        name: torch.stack([value.chunk(3)[0], value.chunk(3)[2]]) if "qkv.bias" in name else value
        for name, value in weights.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", ["vit", "frozen", "adamw"])
def test_two_processes_end_in_the_weights_of_one(both: Path, one: Any, case: str) -> None:
    (first, history), (second, _) = left(both, case)
    alone = one(case)
    assert farthest(first, second) == 0
    assert farthest(first, alone.model.state_dict()) < 1e-5
    for mine, theirs in zip(alone.history, history, strict=True):
        assert theirs.loss == pytest.approx(mine.loss, abs=1e-5)
        assert theirs.accuracy_val == mine.accuracy_val
        assert theirs.least_used == pytest.approx(mine.least_used, abs=1e-6)
        assert theirs.router_entropy == pytest.approx(mine.router_entropy, abs=2e-6)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_end_in_the_weights_of_one(one: Any, tmp_path: Path) -> None:
    """Batch norms included: they take their statistics from both."""
    folder = two(tmp_path, "cuda")
    alone = one("norms", device="cuda").model.cpu().state_dict()
    assert farthest(left(folder, "norms")[0][0], alone) < 1e-3  # TensorFloat-32


@pytest.mark.slow
def test_some_experts_had_no_token_in_a_process(both: Path) -> None:
    """Or the tests above would not show that these get the others' gradients."""
    assert int((both / "idle-0").read_text()) > 0


@pytest.mark.slow
def test_parts_are_the_batch_but_for_the_balance(both: Path, one: Any) -> None:
    """The fractions of the balance loss are those of one part: without it nothing differs."""
    whole = one("unbalanced").model.state_dict()
    assert farthest(left(both, "parts")[0][0], whole) < 1e-5
    assert farthest(one("parts").model.state_dict(), whole) < 1e-5
    balanced = one("vit", accumulate=2).model.state_dict()
    assert 1e-5 < farthest(balanced, left(both, "vit")[0][0]) < 0.01


@pytest.mark.slow
def test_all_stop_when_the_main_process_says_so_and_go_on(both: Path) -> None:
    assert (both / "stopped-0").exists()
    assert (both / "stopped-1").exists()
    whole = left(both, "vit")
    for rank, (weights, history) in enumerate(left(both, "stopped")):
        assert farthest(weights, whole[rank][0]) == 0
        assert [r.loss for r in history] == [r.loss for r in whole[rank][1]]


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped(
    both: Path, one: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And the first epoch of two is that of one."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    state = ModelFolder(both / "vit").state
    previous = state.with_name(state.name + ".previous")
    folder = ModelFolder(tmp_path / "rest")
    folder.path.mkdir()
    folder.state.write_bytes(previous.read_bytes())
    rest = trained("vit", folder.path)
    assert len(rest.history) == 2
    assert farthest(left(both, "vit")[0][0], rest.model.state_dict()) < 1e-5


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_refused(both: Path) -> None:
    assert "9 images cannot be shared out among 2" in (both / "refused-1").read_text()
    with pytest.raises(ConfigError, match="that 3 divides"):
        processes.check_parts(8, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        processes.check_parts(8, 0)


def test_the_mean_balance_loss_of_parts_is_the_whole_ones() -> None:
    logits = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients, values = [], []
    for parts in (1, 2):
        given = logits.clone().requires_grad_()
        whole = given.detach().argmax(1).bincount(minlength=4)
        losses = []
        for part in given.chunk(parts):
            expert = part.detach().argmax(1)
            routing = Routing(part, expert.to(torch.uint8), expert.bincount(minlength=4), 4)
            losses.append(balance_loss(routing, whole))
        loss = torch.stack(losses).mean()
        loss.backward()
        values.append(loss.detach())
        gradients.append(given.grad)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_one_process_asks_nobody() -> None:
    assert processes.count() == 1
    assert processes.main_says(True)
    assert processes.by_main(lambda: 5) == 5
