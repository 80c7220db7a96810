"""Emoji Scenes, one scene: what is in it (a plan) and how it looks (pixels)."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from PIL import Image

from moenas.data.lighting import apply_lighting
from moenas.data.sources.emoji_art import load_sprite, tone_colours
from moenas.data.sources.emoji_backgrounds import draw_background
from moenas.runtime import generator

_VISIBLE = 0.55
"""Share of the main figure that stays visible: a person nobody can see is not one to find."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """The plan of a scene; the same plan is always the same pixels.

    Attributes:
        name: Unique, e.g. ``search-person-0003``; the pixels' seed derives from it.
        main: Code of the figure that the scene is about: a person or, in a negative, an object
            of the same size and place.
        others: Codes of the objects around it.
        tones: The skin tones (1..10) it is drawn in; ``(None,)`` without a person.
        lighting: Class of light.
        art: Whose drawings.
        concept: Of ``main``.
        concepts: Of all its drawings.
        presentation: ``woman``, ``man``, ``person``, or empty without a person.
    """

    name: str
    seed: int
    main: str
    others: tuple[str, ...]
    tones: tuple[int | None, ...]
    lighting: str
    art: str
    concept: str
    concepts: tuple[str, ...]
    presentation: str = ""

    @property
    def label(self) -> int:
        """1 where there is a person."""
        return int(self.tones[0] is not None)


def render_scene(
    scene: Scene, size: int, clutter: float, scale: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Return [tones, size, size, 3] uint8: the scene in each of its tones, all else equal.

    Args:
        scene: What to draw.
        size: Side in pixels.
        clutter: 0..1, how busy the background is.
        scale: Range of the main figure's longer side, as a share of the frame's side.
    """
    frame, skin = compose(scene, size, clutter, scale)
    if scene.label:
        colours = tone_colours()[[int(tone) - 1 for tone in scene.tones if tone is not None]]
        frames = frame + skin[..., None] * colours[:, None, None, :]
    else:
        frames = frame[None]
    images = np.clip(frames + 0.5, 0, 255).astype(np.uint8)
    return apply_lighting(images, scene.lighting, generator(scene.seed, "light", *_keys(scene)))


def compose(
    scene: Scene, size: int, clutter: float, scale: tuple[float, float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the scene in good light with black skin, [size, size, 3], and its skin mask, 0..1."""
    rng = generator(scene.seed, "scene", *_keys(scene))
    frame = draw_background(size, clutter, rng)
    skin = np.zeros((size, size), dtype=np.float32)

    main = _Figure.place(scene.art, scene.main, size, scale, rng, margin=0.6)
    others = [
        _Figure.place(scene.art, code, size, (0.15, min(0.5, scale[1])), rng, margin=0.0)
        for code in scene.others
    ]
    in_front = [bool(front) for front in rng.random(len(others)) < 0.35]
    seen = main.alpha.copy()
    for number, other in enumerate(others):
        if in_front[number]:
            left = seen * (1 - other.alpha)
            if left.sum() >= _VISIBLE * main.area:
                seen = left
            else:
                in_front[number] = False
    behind = [other for other, front in zip(others, in_front, strict=True) if not front]
    front = [other for other, front in zip(others, in_front, strict=True) if front]
    for figure in (*behind, main, *front):
        rest = 1 - figure.alpha
        frame = frame * rest[..., None] + figure.colour
        skin = skin * rest + figure.skin
    return frame, skin


def _keys(scene: Scene) -> tuple[str, int]:
    split, _, number = scene.name.partition("-")
    role, _, index = number.partition("-")
    return split + role[0], int(index)


@dataclasses.dataclass(frozen=True)
class _Figure:
    """A sprite where it stands in the frame; arrays have the frame's size.

    ``area`` is the whole figure's, parts beyond the frame included.
    """

    colour: npt.NDArray[np.float32]
    alpha: npt.NDArray[np.float32]
    skin: npt.NDArray[np.float32]
    area: float

    @classmethod
    def place(
        cls,
        art: str,
        code: str,
        size: int,
        scale: tuple[float, float],
        rng: np.random.Generator,
        margin: float,
    ) -> _Figure:
        """Scale, flip and turn a drawing and put it at a random place.

        ``margin``: share of the figure's half side that its centre keeps from the frame's edge.
        """
        sprite = load_sprite(art, code, size)
        side = rng.uniform(*scale) * size
        flip = rng.random() < 0.5
        angle = float(np.clip(rng.normal(0, 14), -40, 40))
        x, y = (rng.uniform(margin * side / 2, size - margin * side / 2) for _ in "xy")

        factor = side / max(sprite.body.size)
        width, height = (max(1, round(edge * factor)) for edge in sprite.body.size)
        layers = [sprite.body] if sprite.skin is None else [sprite.body, sprite.skin]
        arrays = []
        for layer in layers:
            moved = layer.resize((width, height), Image.Resampling.BILINEAR)
            if flip:
                moved = moved.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            moved = moved.rotate(angle, Image.Resampling.BICUBIC, expand=True)
            arrays.append(np.asarray(moved, dtype=np.float32))
        body = arrays[0]
        skin = arrays[1] if len(arrays) > 1 else np.zeros(body.shape[:2], dtype=np.float32)

        height, width = body.shape[:2]
        top, left = round(y - height / 2), round(x - width / 2)
        rows = slice(max(0, top), max(0, min(size, top + height)))
        columns = slice(max(0, left), max(0, min(size, left + width)))
        cut = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        colour = np.zeros((size, size, 3), dtype=np.float32)
        alpha = np.zeros((size, size), dtype=np.float32)
        mask = np.zeros((size, size), dtype=np.float32)
        colour[rows, columns] = body[cut][..., :3]
        alpha[rows, columns] = body[cut][..., 3] / 255
        mask[rows, columns] = skin[cut] / 255
        return cls(colour, alpha, mask, float(body[..., 3].sum() / 255))
