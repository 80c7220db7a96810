"""A head as a value, in an architecture's name, and counted exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import small_bases  # noqa: F401 - makes the small models known
from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import remove_expert, upcycle
from moenas.models.cost import macs_of, parameters_of
from moenas.models.heads import BLOCK, Head, block_sizes
from moenas.models.subnet import subnet

EXPERTS = "mobilevitv2_050-e121113112"


@pytest.mark.parametrize("text", ["quantum8x2", "classical1x1", "quantum16x16"])
def test_a_heads_name_is_read_back(text: str) -> None:
    assert Head.parse(text).id == text
    assert Head.parse("quantum5") == Head("quantum", 5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photonic4x2", "no head 'photonic'"),
        ("quantun4x2", "Did you mean 'quantum'"),
        ("quantum0x2", "0 qubits.*1 to 16"),
        ("quantum17x2", r"17 qubits.*1 to 16 \(a state of n qubits has 2\^n values\)"),
        ("quantum8x0", "0 layers"),
        ("quantum8x99", "99 layers"),
        ("8x2", "is not a head"),
        ("", "is not a head"),
    ],
)
def test_what_is_no_head(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Head.parse(text)


@pytest.mark.parametrize("qubits", [True, 2.5, "8", None])
def test_a_number_of_qubits_is_a_whole_number(qubits: object) -> None:
    with pytest.raises(ModelError, match="whole number"):
        Head("quantum", qubits)  # type: ignore[arg-type]


def test_an_architectures_name_has_its_head() -> None:
    plain = Architecture.parse(EXPERTS)
    with_head = plain.with_head(Head("quantum", 8, 2))
    assert plain.id == EXPERTS
    assert with_head.id == f"{EXPERTS}-quantum8x2"
    assert Architecture.parse(with_head.id) == with_head != plain
    assert with_head.with_experts((1,) * 9).id == "mobilevitv2_050-e111111111-quantum8x2"
    assert Architecture.parse("resnet18-classical4x1").id == "resnet18-classical4x1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{EXPERTS}-photonic8x2", "no head 'photonic'"),
        (f"{EXPERTS}-quantum0x2", "0 qubits"),
        (f"{EXPERTS}-quantum", "is not an architecture"),
        ("mobilevitv2_050-quantum8x2", "is not an architecture"),
        ("deit_tiny_distilled_patch16_224-e" + "1" * 12 + "-quantum8x2", "pooled features"),
    ],
)
def test_what_is_no_architecture(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Architecture.parse(text)


def test_blocks_cover_the_qubits() -> None:
    for qubits in range(1, 17):
        sizes = block_sizes(qubits)
        assert sum(sizes) == qubits
        assert max(sizes) <= BLOCK
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["quantum1x1", "quantum5x3", "quantum8x2", "classical8x2"])
@pytest.mark.parametrize("classes", [2, 5])
def test_size_and_work_are_counted_exactly(text: str, classes: int) -> None:
    model = build_model("mobilevitv2_050", num_classes=classes, seed=0, head=text).eval()
    architecture = model.architecture
    assert isinstance(architecture, Architecture)
    assert parameters_of(architecture, classes) == sum(p.numel() for p in model.parameters())
    head = model.get_classifier()  # type: ignore[operator]
    with FlopCounterMode(display=False) as counter:
        head(torch.zeros(1, 256))
    assert Head.parse(text).macs(256, classes) == counter.get_total_flops() // 2
    plain = macs_of(architecture.with_head(None), 64, classes)
    assert macs_of(architecture, 64, classes) == plain - 256 * classes + head.head.macs(
        256, classes
    )


def test_both_kinds_have_as_many_parameters() -> None:
    for qubits in (1, 2, 8, 16):
        two = [
            sum(p.numel() for p in build_head(kind, qubits).parameters())
            for kind in ("quantum", "classical")
        ]
        assert two[0] == two[1] == Head("quantum", qubits, 3).parameters(32, 2)


def build_head(kind: str, qubits: int) -> nn.Module:
    model = build_model("small_convnext_of_linear_layers", seed=0, head=f"{kind}{qubits}x3")
    head: nn.Module = model.get_classifier()  # type: ignore[operator]
    return head


@pytest.mark.parametrize("base", ["small_vit", "small_xcit", "small_edgenext", "resnet18"])
def test_models_of_other_families_can_have_one(base: str) -> None:
    model = build_model(base, seed=0, head="quantum3x1").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert model(images).shape == (2, 2)
    assert parameters_of(model.architecture) == sum(p.numel() for p in model.parameters())  # type: ignore[arg-type]


def test_a_model_whose_pooled_width_is_unknown_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'small_deit' can have no other head.*get_classifier"):
        build_model("small_deit", head="quantum4x2")


def test_experts_and_the_head_are_independent() -> None:
    """A head goes along when experts are added, shared and removed."""
    dense = build_model("mobilevitv2_050", seed=0, head="quantum4x1").eval()
    more = upcycle(dense, (1, 2, 1, 1, 1, 3, 1, 1, 2))
    assert more.architecture.id == "mobilevitv2_050-e121113112-quantum4x1"  # type: ignore[union-attr]
    head = {n: v for n, v in dense.state_dict().items() if n.startswith("head.")}
    assert all(torch.equal(more.state_dict()[name], value) for name, value in head.items())
    fewer = remove_expert(more, "stages.3.1.transformer.3.mlp", 0)
    assert fewer.architecture.id == "mobilevitv2_050-e121112112-quantum4x1"  # type: ignore[union-attr]
    part = subnet(more, (1, 1, 1, 1, 1, 2, 1, 1, 1))
    assert part.architecture.id == "mobilevitv2_050-e111112111-quantum4x1"  # type: ignore[union-attr]
    for model in (fewer, part):
        assert parameters_of(model.architecture) == sum(p.numel() for p in model.parameters())  # type: ignore[arg-type]
