from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from moenas.data.cache import ImageStore
from moenas.data.dataset import IMAGENET_MEAN, IMAGENET_STD, ImageDataset, collate, normalise
from moenas.errors import DataError


def _images(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(n, 4, 6, 3), dtype=np.uint8)


def test_items():
    images = _images()
    dataset = ImageDataset(images, [0, 1, 0, 1, 1])
    image, label, index = dataset[3]
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), images[3])
    assert (label, index, len(dataset)) == (1, 3, 5)


def test_rows_and_transform():
    dataset = ImageDataset(_images(), [0, 1, 0, 1, 1], transform=lambda x: x * 0, rows=[4, 1])
    assert [dataset[i][1:] for i in range(2)] == [(1, 4), (1, 1)]
    assert not dataset[0][0].any()


def test_items_are_copies():
    images = _images()
    before = images.copy()
    ImageDataset(images, [1] * 5)[0][0].zero_()
    np.testing.assert_array_equal(images, before)


def test_a_loaders_process_maps_the_cache_file_and_gets_no_copy(tmp_path):
    images = _images(50)
    images.tofile(tmp_path / "cache.bin")
    mapped = np.memmap(tmp_path / "cache.bin", np.uint8, "r", images[0].nbytes, (49, 4, 6, 3))
    dataset = ImageDataset(mapped, [0, 1] * 24 + [0], rows=[7, 3])
    sent = pickle.dumps(dataset)
    assert len(sent) < images.nbytes
    for own, other in ((dataset[i], pickle.loads(sent)[i]) for i in range(2)):
        assert torch.equal(own[0], other[0])
        assert own[1:] == other[1:]
    part = ImageDataset(mapped[5:], [0, 1] * 22)  # a view: its offset is not its own
    assert torch.equal(part[1][0], pickle.loads(pickle.dumps(part))[1][0])


def test_unreadable_rows_are_left_out():
    readable = np.array([True, False, True, True, False])
    store = ImageStore(_images(), readable, {1: "x", 4: "y"})
    dataset = ImageDataset(store, [0, 1, 0, 1, 1])
    assert [dataset[i][2] for i in range(len(dataset))] == [0, 2, 3]
    with pytest.raises(DataError, match="no readable image"):
        ImageDataset(store, [0, 1, 0, 1, 1], rows=[1, 4])


def test_counts_must_agree():
    with pytest.raises(DataError, match="5 images but 4 labels"):
        ImageDataset(_images(), [1] * 4)


def test_normalise_both_layouts():
    images = _images()
    expected = (images / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    last = normalise(torch.from_numpy(images))
    first = normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert last.shape == (5, 3, 4, 6)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, first)
    np.testing.assert_allclose(last.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)]
)
def test_normalise_refuses_others(batch):
    with pytest.raises(DataError, match="takes uint8"):
        normalise(batch)


def test_a_batch_has_its_channels_last_and_the_items_values():
    items = [ImageDataset(_images(), [0, 1, 0, 1, 1])[i] for i in (3, 0)]
    apart = [(image.contiguous(), label, row) for image, label, row in items]  # as transforms may
    for given in (items, apart):
        images, labels, rows = collate(given)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), _images()[[3, 0]])
        assert (labels.tolist(), rows.tolist()) == ([1, 0], [3, 0])
        assert labels.dtype == torch.int64
