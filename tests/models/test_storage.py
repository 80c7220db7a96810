import json
import os
import pickle
import struct

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moenas.errors import CheckpointError, ModelError, RunFolderError
from moenas.models import storage
from moenas.models.convert import upcycle
from moenas.models.storage import load_model, save_model

EXPERTS = (1, 2, 1, 1, 1, 3, 1, 1, 2)


@pytest.fixture(scope="module")
def model(dense):
    return upcycle(dense, EXPERTS, noise=0.1)


@pytest.fixture(scope="module")
def stored(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("storage") / "model.safetensors"
    save_model(path, model, image_size=64, threshold=0.4, extra={"seed": 3, "tags": ["a"]})
    return path


@pytest.fixture(scope="module")
def raw(stored):
    return stored.read_bytes()


def header_of(raw):
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def content_of(header):
    return json.loads(header["__metadata__"]["moenas"])


def with_content(header, content):
    return {**header, "__metadata__": {"moenas": json.dumps(content)}}


def with_header(header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def test_round_trip_is_exact(model, stored, images):
    loaded, card = load_model(stored)
    assert card.architecture == "mobilevitv2_050-e121113112"
    assert (card.gate, card.num_classes, card.image_size) == ("exact", 2, 64)
    assert (card.threshold, card.extra) == (0.4, {"seed": 3, "tags": ["a"]})
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert loaded.gate == "exact"


def test_probability_gate_is_kept(dense, tmp_path, images):
    model = upcycle(dense, EXPERTS, gate="probability")
    save_model(tmp_path / "m.safetensors", model, image_size=64)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m.safetensors")[0](images), model(images))


def test_loading_leaves_the_global_generator_alone(stored):
    state = torch.random.get_rng_state()
    load_model(stored)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_same_model_same_bytes(model, stored, tmp_path):
    again = tmp_path / "again.safetensors"
    save_model(again, model, image_size=64, threshold=0.4, extra={"seed": 3, "tags": ["a"]})
    assert again.read_bytes() == stored.read_bytes()


def test_truncated_anywhere_is_detected(raw, tmp_path):
    path = tmp_path / "cut.safetensors"
    header = 8 + struct.unpack("<Q", raw[:8])[0]
    cuts = [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(raw) // 2, len(raw) - 1]
    for cut in cuts:
        path.write_bytes(raw[:cut])
        with pytest.raises(CheckpointError):
            load_model(path)


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_changed_byte_is_detected_or_harmless(data, raw, model, tmp_path):
    header = 8 + struct.unpack("<Q", raw[:8])[0]
    limit = data.draw(st.sampled_from([8, header, len(raw)]))
    position = data.draw(st.integers(0, limit - 1))
    changed = bytearray(raw)
    changed[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "changed.safetensors"
    path.write_bytes(bytes(changed))
    try:
        loaded, card = load_model(path)
    except CheckpointError:
        return
    assert (card.image_size, card.threshold) == (64, 0.4)  # e.g. white space in the header
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_changed_weight_is_detected(raw, tmp_path):
    header, body = header_of(raw)
    weights = np.frombuffer(body, dtype=np.uint8).copy()
    weights[len(weights) // 2] ^= 1
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, weights.tobytes()))
    with pytest.raises(CheckpointError, match="stored hash"):
        load_model(path)


def test_a_changed_card_is_detected(raw, tmp_path):
    header, body = header_of(raw)
    content = content_of(header)
    content["card"]["threshold"] = 0.1
    header = with_content(header, content)
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, body))
    with pytest.raises(CheckpointError, match="stored hash"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "mobilevitv2_050-e888888888"}, "cannot hold"),
        ({"architecture": "mobilevitv2_400-e888888888"}, "cannot hold"),
        ({"architecture": "mobilevitv2_050-e12"}, "needs 9 expert counts"),
        ({"architecture": "resnet18-e1"}, "no expert counts"),
        ({"architecture": 3}, "architecture"),
        ({"num_classes": 10**12}, "cannot hold"),
        ({"num_classes": -1}, "at least one class"),
        ({"gate": "noisy"}, "Unknown gate"),
        ({"image_size": 0}, "image size"),
        ({"image_size": 10**9}, "image size"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"surprise": 1}, "no setting 'surprise'"),
    ],
)
def test_a_lying_card_is_refused_before_anything_is_built(
    raw, tmp_path, monkeypatch, change, message
):
    def built(*_args, **_kwargs):
        raise AssertionError("a model was built from a bad card")

    monkeypatch.setattr(storage, "build_model", built)
    header, body = header_of(raw)
    content = content_of(header)
    content["card"].update(change)
    header = with_content(header, content)
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, body))
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_a_card_of_another_architecture_with_a_matching_hash_is_refused(model, tmp_path):
    tensors = {n: v.contiguous() for n, v in model.state_dict().items()}
    card = {
        "architecture": "mobilevitv2_050-e121113111",
        "gate": "exact",
        "num_classes": 2,
        "image_size": 64,
    }
    path = tmp_path / "m.safetensors"

    def write(card, tensors):
        content = {"format": 1, "card": card, "sha256": storage._hash(card, tensors)}
        path.write_bytes(safetensors.torch.save(tensors, {"moenas": json.dumps(content)}))

    write(card, tensors)
    with pytest.raises(CheckpointError, match="tensor"):
        load_model(path)
    card["architecture"] = "mobilevitv2_050-e121113112"
    write(card, tensors)
    load_model(path)  # negative control: the true card is accepted
    write({**card, "num_classes": 3}, tensors)
    with pytest.raises(CheckpointError, match=r"'head\.fc\..*' is"):
        load_model(path)
    write(card, {n: v for n, v in tensors.items() if n != "head.fc.bias"})
    with pytest.raises(CheckpointError, match=r"lacks tensor 'head\.fc\.bias'"):
        load_model(path)
    write(card, tensors | {"head.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"unknown tensor 'head\.extra'"):
        load_model(path)


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 5, "torch"])
def test_a_pickle_named_safetensors_is_refused_and_never_executed(tmp_path, protocol):
    mark = tmp_path / "executed"
    path = tmp_path / "model.safetensors"
    if protocol == "torch":
        torch.save({"weight": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark), protocol))
    with pytest.raises(CheckpointError):
        load_model(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 64,
        b"\xff" * 64,
        b"not a model at all, only text",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 30) + b'{"__metadata__": [1, 2, 3, 4]}',
    ],
)
def test_foreign_bytes_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_model(path)


def test_a_huge_file_with_a_small_models_card_is_not_read(raw, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    os.truncate(path, 100 * len(raw))  # sparse: costs nothing on disk
    with pytest.raises(CheckpointError, match="too large"):
        load_model(path)


def test_timms_own_file_points_to_the_right_function(tmp_path):
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(timm.create_model("mobilevitv2_050").state_dict(), path)
    with pytest.raises(CheckpointError, match="pretrained=PATH"):
        load_model(path)


def test_other_format_version(raw, tmp_path):
    header, body = header_of(raw)
    header = with_content(header, {**content_of(header), "format": 9})
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, body))
    with pytest.raises(CheckpointError, match="format 9, this version"):
        load_model(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(tmp_path)


def test_a_failed_write_leaves_the_old_file(model, stored, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(stored.read_bytes())

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="disk is full"):
        save_model(path, model, image_size=64)
    monkeypatch.undo()
    assert path.read_bytes() == stored.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image size"),
        ({"image_size": 64, "threshold": 2.0}, "threshold"),
        ({"image_size": 64, "extra": {"loss": float("nan")}}, "extra values"),
        ({"image_size": 64, "extra": {"object": object()}}, "extra values"),
        ({"image_size": 64, "extra": {"log": "x" * 5_000_000}}, "extra values are too large"),
    ],
)
def test_bad_values_are_not_saved(model, tmp_path, arguments, message):
    with pytest.raises(ModelError, match=message):
        save_model(tmp_path / "m.safetensors", model, **arguments)
    assert not any(tmp_path.iterdir())


def test_foreign_models_are_not_saved(tmp_path):
    with pytest.raises(ModelError, match="has no architecture"):
        save_model(tmp_path / "m.safetensors", torch.nn.Linear(2, 2), image_size=64)
