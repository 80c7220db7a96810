import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.bases import BASES, get_base

NINE = st.lists(st.integers(1, 8), min_size=9, max_size=9).map(tuple)


@given(st.sampled_from(sorted(BASES)), NINE)
def test_id_reads_back_to_the_same_architecture(base, experts):
    architecture = Architecture(base, experts)
    assert Architecture.parse(architecture.id) == architecture
    assert "." not in architecture.id  # timm splits names at dots
    assert hash(Architecture.parse(architecture.id)) == hash(architecture)


def test_id_of_the_documented_example():
    assert Architecture("mobilevitv2_050", (1, 8, 3, 1, 2, 4, 1, 1, 6)).id == (
        "mobilevitv2_050-e183124116"
    )


def test_all_ones_is_the_dense_base_model():
    assert Architecture.dense_base("mobilevitv2_050").dense
    assert not Architecture("mobilevitv2_050", (1,) * 8 + (2,)).dense


def test_numpy_counts_become_plain_integers():
    architecture = Architecture("mobilevitv2_050", tuple(np.full(9, 3, dtype=np.int64)))
    assert all(type(count) is int for count in architecture.experts)
    assert pickle.loads(pickle.dumps(architecture)) == architecture


@pytest.mark.parametrize("length", [0, 8, 10])
def test_wrong_length_is_explained(length):
    with pytest.raises(ModelError, match=f"needs 9 expert counts, not {length}"):
        Architecture("mobilevitv2_050", (1,) * length)


@pytest.mark.parametrize("count", [0, 9, -1, 2.5, "3", None])
def test_count_out_of_range_names_the_layer(count):
    with pytest.raises(ModelError, match=r"Layer 3 .* whole number from 1 to 8"):
        Architecture("mobilevitv2_050", (1, 1, count, 1, 1, 1, 1, 1, 1))


def test_unknown_base_suggests_the_right_one():
    with pytest.raises(ModelError, match="Did you mean 'mobilevitv2_0"):
        Architecture("mobilevitv2_05", (1,) * 9)


@pytest.mark.parametrize("text", ["", "mobilevitv2_050", "mobilevitv2_050-e", "mobilevitv2_050-x1"])
def test_foreign_text_is_no_architecture(text):
    with pytest.raises(ModelError, match="is not an architecture"):
        Architecture.parse(text)


def test_bases_of_any_width_are_made_on_demand():
    assert get_base("mobilevitv2_083").layers[0].name == "stages.2.1.transformer.0.mlp"
    assert get_base("mobilevitv2_083") is get_base("mobilevitv2_083")
    for name in ("mobilevitv2_010", "mobilevitv2_999", "mobilevitv2_0500", "resnet18"):
        with pytest.raises(ModelError, match="no base model"):
            get_base(name)


@pytest.mark.parametrize("experts", [3, None])
def test_one_number_is_no_vector(experts):
    with pytest.raises(ModelError, match="Give the experts of each FFN"):
        Architecture("mobilevitv2_050", experts)
    with pytest.raises(ModelError, match="Give the experts of each FFN"):
        Architecture.dense_base("mobilevitv2_050").with_experts(experts)


def test_arrays_are_vectors():
    counts = np.full(9, 2)
    assert Architecture("mobilevitv2_050", counts) == Architecture("mobilevitv2_050", (2,) * 9)
    with pytest.raises(ModelError, match="Layer 1 of 'mobilevitv2_050' cannot have"):
        Architecture("mobilevitv2_050", np.full(9, np.nan))
