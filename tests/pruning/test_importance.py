from __future__ import annotations

import numpy as np
import pytest
import torch

from moenas.errors import ConfigError
from moenas.models.routing import record_routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.pruning.importance import IMPORTANCES, least_needed

NOBODY = np.full(3, -1)
USAGE = IMPORTANCES["usage"]


def find(tokens: dict[str, np.ndarray], rows: list[int]) -> tuple[str, int, float] | None:
    return least_needed(tokens, {}, USAGE, np.array(rows), NOBODY)


def test_the_least_used_is_found_by_share_on_the_given_images() -> None:
    tokens = {
        "a": np.array([[8, 2], [8, 2], [0, 10]]),
        "b": np.array([[50, 30, 20], [60, 40, 0], [0, 0, 100]]),
    }
    assert find(tokens, [0, 1]) == ("b", 2, 0.1)
    assert find(tokens, [2]) == ("b", 0, 0.0)
    assert find({}, [0]) is None


def test_of_equals_the_one_nearest_to_the_head_goes() -> None:
    found = find({"first": np.array([[1, 3]]), "last": np.array([[2, 6]])}, [0])
    assert found is not None
    assert found[:2] == ("last", 0)


def test_what_only_a_small_group_needs_is_not_the_first_to_go() -> None:
    tokens = np.array([[60.0, 40, 0]] * 9 + [[10, 10, 80]])
    group = np.array([1] * 9 + [10])
    assert USAGE.scores(tokens, None, group).argmin() == 2
    shares = IMPORTANCES["group"].scores(tokens, None, group)
    np.testing.assert_allclose(shares, [0.6, 0.4, 0.8])
    nobody = IMPORTANCES["group"].scores(tokens, None, np.where(group == 10, -1, group))
    np.testing.assert_allclose(nobody, shares)  # those without a group count as one


def amounts(name: str, layer: SwitchFFN, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each expert on tokens that are two images, and the tokens' counts."""
    with torch.no_grad(), record_routing(layer) as routings:
        y = layer(x)
        found = IMPORTANCES[name].amounts(layer, x, y, routings[""])
    counts = routings[""].counts.numpy()[None].astype(float)
    sums = found.double().sum(0, keepdim=True).numpy()
    return IMPORTANCES[name].scores(counts, sums, NOBODY[:1]), counts


@pytest.mark.parametrize("gate", ["exact", "probability"])
def test_output_change_is_what_removal_changes(gate: str) -> None:
    torch.manual_seed(0)
    layer = SwitchFFN(8, 16, 4, gate).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(layer.router.weight)
    x = torch.randn(50, 8)
    scores, _ = amounts("output", layer, x)
    with torch.no_grad():
        y = layer(x)
        for expert, score in enumerate(scores):
            change = layer.without_expert(expert)(x) - y
            assert score == pytest.approx(float(change.norm() / y.norm()), rel=1e-4)


def test_mean_gate_is_the_mean_probability() -> None:
    torch.manual_seed(0)
    layer = SwitchFFN(8, 16, 3).eval()
    x = torch.randn(50, 8)
    scores, counts = amounts("gate", layer, x)
    probabilities = torch.softmax(x @ layer.router.weight.T, dim=1).mean(0)
    np.testing.assert_allclose(scores, probabilities.detach(), rtol=1e-5)
    assert scores.sum() == pytest.approx(1)
    assert not np.allclose(scores, counts[0] / counts.sum())


def test_an_unknown_importance_suggests_one() -> None:
    with pytest.raises(ConfigError, match=r"no importance named 'usages'. Did you mean 'usage'\?"):
        IMPORTANCES["usages"]


def test_each_tells_what_it_is() -> None:
    assert set(IMPORTANCES) == {"usage", "gate", "output", "group"}
    assert [n for n in IMPORTANCES if IMPORTANCES[n].needs_groups] == ["group"]
    assert [n for n in IMPORTANCES if IMPORTANCES[n].of_all_images] == ["gate", "output"]
