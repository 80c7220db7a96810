"""Measuring a latency table: the fit is exact without noise; nothing here looks at a clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moenas.errors import ConfigError
from moenas.models import latency_measuring
from moenas.models.convert import ffn_layers
from moenas.models.latency import LatencyTable
from moenas.models.latency_measuring import Effort, fit_latency, measure_latency
from moenas.models.switch_ffn import SwitchFFN
from moenas.timing import Timing
from small_bases import SMALL as SMALL_BASES

BASE = "mobilevitv2_050"
SMALL = Effort(blocks=1, checks=2, rounds=1)
CPU = torch.device("cpu")
CURVES = np.cumsum([[0, 0.1, 0, 0.2, 0, 0, 0.1, 0.3], [0, 0, 0.2, 0, 0, 0, 0.1, 0]], axis=1)


def milliseconds(X: np.ndarray, curves: np.ndarray, shapes: list[int]) -> np.ndarray:
    return 5 + sum(curves[s][X[:, layer] - 1] for layer, s in enumerate(shapes))


def test_a_design_has_every_count_once_a_layer_and_block() -> None:
    dense, *rows = np.split(latency_measuring._design(BASE, Effort(blocks=3)), [4, 12, 20])
    assert (dense == 1).all()
    for block in rows:
        assert (np.sort(block, axis=0) == np.arange(1, 9)[:, None]).all()


def test_checks_are_other_architectures_from_small_to_large() -> None:
    design = latency_measuring._design(BASE, Effort())
    checks = latency_measuring._levels(BASE, 16)
    assert checks.shape == (16, 9)
    assert checks.min() == 1
    assert checks.max() == 8
    assert checks[0].sum() < 27 < 54 < checks[-1].sum()
    assert not {tuple(x) for x in checks.tolist()} & {tuple(x) for x in design.tolist()}


def test_the_fit_finds_what_was_added() -> None:
    curves = np.vstack([CURVES, CURVES[:1] / 2])
    shapes = [0, 0, 1, 1, 1, 1, 2, 2, 2]
    X = latency_measuring._design(BASE, Effort(blocks=8))
    entry = fit_latency(BASE, X, milliseconds(X, curves, shapes), 96)
    assert entry.dense_ms == pytest.approx(5, abs=1e-4)
    np.testing.assert_allclose(entry.added, curves[shapes], atol=1e-4)


def test_noise_makes_no_architecture_faster_by_an_expert() -> None:
    rng = np.random.default_rng(0)
    X = latency_measuring._design(BASE, Effort())
    entry = fit_latency(BASE, X, 5 + rng.normal(0, 0.3, len(X)), 96)
    assert (np.diff(entry.added, axis=1) >= 0).all()
    assert (entry.added[2:6] == entry.added[2]).all()  # the same work in each of them


def test_a_table_of_two_base_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every architecture that is named is run, and the quartile of its times is what counts."""
    ran: dict[str, list[tuple[int, ...]]] = {}
    run = latency_measuring._Interchangeable.run

    def note(self: latency_measuring._Interchangeable) -> None:
        counts = [getattr(m, "num_experts", 1) for m in ffn_layers(self.model).values()]
        ran.setdefault(self.model.architecture.base, []).append(tuple(counts))
        run(self)

    monkeypatch.setattr(latency_measuring._Interchangeable, "run", note)
    monkeypatch.setattr(Timing, "quartile", lambda self, name: 0.005)
    before = torch.get_num_threads()
    bases = (BASE, "mobilevitv2_055")
    result = measure_latency(bases, 32, device=CPU, effort=SMALL)
    assert torch.get_num_threads() == before
    table = result.table
    assert [entry.base for entry in table.bases] == list(bases)
    assert (table.image_size, table.threads, table.batch_size) == (32, 1, 1)
    assert set(table.versions) == {"moenas", "torch", "timm"}
    for base in bases:
        design = latency_measuring._design(base, SMALL).tolist()
        checks = latency_measuring._levels(base, SMALL.checks).tolist()
        assert set(ran[base]) == {tuple(x) for x in design + checks}
    assert [c.measured_ms for c in result.checks] == [5.0] * 4
    assert [c.predicted_ms for c in result.checks] == pytest.approx([5.0] * 4, abs=1e-4)
    assert table.agreement is not None
    assert table.agreement.architectures == 4
    assert table.agreement.spearman is None


@pytest.mark.parametrize("base", [BASE, *SMALL_BASES])
def test_experts_are_used_about_equally(base: str) -> None:
    """Routers as they are drawn send most tokens to few of eight experts."""
    model = latency_measuring._Interchangeable(base, 96, CPU)
    model.choose(np.full(len(model.choices), 8))
    shares = []

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, SwitchFFN)
        x = inputs[0].movedim(1, -1) if module.channels_first else inputs[0]
        experts = (x.reshape(-1, module.dim) @ module.router.weight.T).argmax(dim=1)
        if len(experts) > 1:  # the last layers of some models see one token
            shares.append(torch.bincount(experts, minlength=8).max().item() / len(experts))

    for module in ffn_layers(model.model).values():
        module.register_forward_pre_hook(note)
    model.run()
    assert shares
    assert np.mean(shares) < 0.4  # as drawn: above 0.45


def test_exchanged_experts_compute_what_the_dense_model_computes() -> None:
    model = latency_measuring._Interchangeable(BASE, 64, CPU)
    with torch.inference_mode():
        dense = model.model(model.image)
        model.choose(np.array([1, 8, 3, 1, 2, 4, 1, 1, 6]))
        experts = model.model(model.image)
    torch.testing.assert_close(dense, experts, atol=1e-4, rtol=1e-4)


def test_threads_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads must be at least 1, not 0"):
        measure_latency((BASE,), 32, device=CPU, threads=0)


def test_a_measured_table_is_a_table(tmp_path: Path) -> None:
    result = measure_latency(("mobilevitv2_025",), 32, device=CPU, effort=SMALL)
    result.table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == result.table
