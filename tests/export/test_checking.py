"""What is held of a model and its files: little memory, every answer, one question an image."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx")

from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.errors import DataError, ModelError
from moenas.export.answers import Answers, Followed, answers_of, follow
from moenas.export.checking import Check
from moenas.export.exported import Experts
from moenas.export.metadata import Details
from moenas.export.parity import FLOAT, INT8, Agreement, compare
from moenas.models.builder import build_model
from moenas.runs import cache_home
from moenas.workflows.data import open_manifest

SIZE = 32
DETAILS = Details("mobilevitv2_050-e111111111", "exact", ("no person", "person"), SIZE, 0.4, 1)


class Talker:
    """Answers with 5,000 tokens an image, as torch and ONNX Runtime type them; counts images."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
        self.asked: Counter[int] = Counter()

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        first = images.reshape(len(images), -1).astype(np.int64).sum(axis=1)
        self.asked.update(first.tolist())
        logits = np.stack([first * 0, np.sin(first) + self.shift], axis=1).astype(np.float32)
        return logits, {"layer": np.arange(5_000) % 8 + 0 * first[:, None]}


def test_tokens_cost_a_byte_once_and_a_files_none() -> None:
    images = np.zeros((4_000, 1, 1, 3), np.uint8)
    rows = np.arange(len(images))
    tokens = len(rows) * 5_000
    tracemalloc.start()
    try:
        ours = answers_of(Talker(), images, rows)
        peak = tracemalloc.get_traced_memory()[1]
        assert tokens < peak < 1.4 * tokens
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        theirs = follow(Talker(), images, rows, ours)
        assert tracemalloc.get_traced_memory()[1] - before < 0.4 * tokens
    finally:
        tracemalloc.stop()
    assert (theirs.same, theirs.tokens) == (tokens, tokens)
    assert theirs.alike.all()
    with pytest.raises(ModelError, match="no image"):
        answers_of(Talker(), images, rows[:0])


def test_an_expert_out_of_range_is_another_one() -> None:
    """256 is 0 in a byte."""
    images, rows = np.zeros((3, 1, 1, 3), np.uint8), np.arange(3)
    ours = Answers(np.zeros((3, 2), np.float32), {"layer": np.zeros((3, 4), np.uint8)})

    class Other:
        def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
            chosen = np.zeros((3, 4), np.int64)
            chosen[1, 0] = 256
            return np.zeros((3, 2), np.float32), {"layer": chosen}

    found = follow(Other(), images, rows, ours)
    assert (found.same, found.tokens, found.alike.tolist()) == (11, 12, [True, False, True])


@pytest.fixture(scope="module")
def manifest(scenes: Path) -> Manifest:
    return open_manifest(str(scenes), SIZE)


@pytest.fixture(scope="module")
def images(manifest: Manifest) -> ImageStore:
    return cached_images(manifest, SIZE, cache_home() / "images")


def test_a_model_answers_once_for_all_its_files(manifest: Manifest, images: ImageStore) -> None:
    check = Check(build_model("small_vit", seed=0), DETAILS, manifest, images)
    check.model = model = Talker()  # type: ignore[assignment]
    files = Talker(), Talker(0.1)
    cards = []
    for file in files:
        checked = check.of(file)
        cards.append(check.report(file, checked))
        assert [each.split for each in checked.agreement] == ["val", "search"]
    wanted = manifest.frame["split"].isin(["val", "search", "report"]).sum()
    for each in (model, *files):
        assert each.asked.total() == wanted
    first, second = cards
    assert first is not None
    assert second is not None
    assert first.eager == second.eager == first.exported
    assert first.eager.n == (manifest.frame["split"] == "report").sum()
    assert first.eager.overfitting is not None  # from what was said of val before


def test_data_without_a_split_to_check_on(manifest: Manifest, images: ImageStore) -> None:
    other = manifest.take(np.arange(len(manifest)))
    other.frame["split"] = "train"
    with pytest.raises(DataError, match="neither"):
        Check(build_model("small_vit", seed=0), DETAILS, other, images).of(Talker())


def compared(manifest: Manifest, file: npt.NDArray[np.floating], *, alike: bool) -> Agreement:
    """Of a model that says .99 everywhere; of 100 tokens 97 went its ways."""
    rows = np.flatnonzero(manifest.frame["split"] == "search")
    logits = np.tile(np.array([0, 4.6], np.float32), (len(rows), 1))
    routed = np.full(len(rows), alike)
    followed = Followed(file.astype(np.float32), routed, 100 if alike else 97, 100)
    return compare(manifest, rows, Answers(logits, {}), followed, 0.4)


def answers(manifest: Manifest, logit: float) -> npt.NDArray[np.float64]:
    count = int((manifest.frame["split"] == "search").sum())
    return np.tile([0, logit], (count, 1)).astype(np.float64)


def test_where_no_image_is_routed_alike_all_probabilities_are_held(manifest: Manifest) -> None:
    """Every decision stays, 97 % of tokens do, and no logit can be compared: .99 became .65."""
    found = compared(manifest, answers(manifest, 0.6), alike=False)
    assert (found.logits, found.alike, found.decisions) == (None, 0, 1.0)
    assert found.probability == pytest.approx(0.345, abs=0.01)
    (problem,) = found.problems(INT8)
    assert problem == (
        "the probability of 95% of images changes by up to 0.34 (allowed 0.05), on split 'search'"
    )
    file = answers(manifest, 4.5)
    file[:3, 1] = 0.6  # 3 of 72 images, whose tokens went to wild experts
    assert compared(manifest, file, alike=False).problems(INT8) == []
    file[:4, 1] = 0.6
    assert len(compared(manifest, file, alike=False).problems(INT8)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("alike", [True, False])
def test_a_single_answer_that_is_no_number_is_a_problem(
    manifest: Manifest, value: float, alike: bool
) -> None:
    file = answers(manifest, 4.6)
    file[5, 1] = value
    found = compared(manifest, file, alike=alike)
    for limits in (FLOAT, INT8):
        told = "logits are infinite or no numbers for 1 of 72 images, on split 'search'"
        assert told in found.problems(limits)
    assert found.decisions == 71 / 72  # no person is seen there
    assert found.logits is None or found.logits == 0
