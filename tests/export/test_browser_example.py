"""The page of `examples/browser` in a real browser: the same answer as ``moenas predict``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moenas.data.images import crop_and_resize, read_image
from moenas.workflows.predict import predict_files

PAGE = Path(__file__).parents[2] / "examples" / "browser"
ORIGIN = "http://localhost:8000/"  # a browser lets this one use a camera; nothing listens there
SIZE = 32

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"
    ),
    pytest.mark.skipif(
        not (PAGE / "node_modules" / "onnxruntime-web").exists(),
        reason="needs ONNX Runtime Web: npm install in examples/browser",
    ),
]


@pytest.fixture(scope="module")
def page() -> Iterator[sync_api.Page]:
    """The open page, its files given by this process; it asks for nothing else."""
    asked: list[str] = []

    def give(route: sync_api.Route) -> None:
        url = route.request.url.partition("?")[0]
        asked.append(url)
        name = url.removeprefix(ORIGIN) or "index.html"
        types = {".mjs": "text/javascript", ".wasm": "application/wasm"}
        kind = types.get(Path(name).suffix)
        route.fulfill(path=PAGE / name, **({"content_type": kind} if kind else {}))

    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = browser.new_context(permissions=["camera"])
        opened = context.new_page()
        troubles: list[str] = []
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        opened.route("**/*", give)
        opened.goto(ORIGIN)
        yield opened
        assert troubles == []
        assert [url for url in asked if not url.startswith(ORIGIN)] == []
        browser.close()


@pytest.fixture(scope="module")
def model(page: sync_api.Page, cards: Any) -> Path:
    """The model that the page has opened."""
    path: Path = cards[0] / cards[1].file
    page.locator("#model").set_input_files(path)
    page.get_by_text(f"{path.name} is open.").wait_for()
    return path


def pictures(folder: Path) -> list[Path]:
    """Far larger than the model's image and hardly; larger one way; smaller; with holes; turned."""
    draw = np.random.default_rng(5)
    shapes = {"large": (701, 500), "near": (45, 70), "tall": (20, 400), "small": (14, 9)}
    images = {
        f"{name}.png": Image.fromarray(draw.integers(0, 256, (7, 9, 3), np.uint8)).resize(
            shape, Image.Resampling.BICUBIC
        )
        for name, shape in shapes.items()
    }
    images["holes.png"] = images["near.png"].copy()
    images["holes.png"].putalpha(Image.linear_gradient("L").resize(shapes["near"]))
    images["turned.jpg"] = images["large.png"].copy()
    images["turned.jpg"].getexif()[0x0112] = 6
    for name, image in images.items():
        image.save(folder / name, exif=image.getexif())
    return [folder / name for name in images]


def answered(page: sync_api.Page, picture: Path) -> float:
    page.evaluate("delete document.getElementById('answer').dataset.probability")
    page.locator("#image").set_input_files(picture)
    page.locator("#answer[data-probability]").wait_for()
    return float(page.locator("#answer").get_attribute("data-probability") or "nan")


def test_the_browser_answers_as_predict(page: sync_api.Page, model: Path, tmp_path: Path) -> None:
    for picture in pictures(tmp_path):
        (expected,) = predict_files(model, [picture])
        found = answered(page, picture)
        seen = page.evaluate(
            "() => { const c = document.getElementById('seen');"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
        )
        ours = crop_and_resize(read_image(picture), None, SIZE).astype(int)
        theirs = np.array(seen).reshape(SIZE, SIZE, 4)[..., :3]
        difference = abs(found - expected.probability)
        # Browsers decode JPEG, and mix colours with holes, by other roundings than Pillow.
        exact = picture.name not in ("turned.jpg", "holes.png")
        assert np.abs(ours - theirs).max() <= (1 if exact else 3), picture.name
        assert difference <= (5e-3 if exact else 0.02), picture.name
        assert page.locator("#answer").inner_text() == expected.words


def test_what_is_not_a_model_or_an_image_is_told(
    page: sync_api.Page, model: Path, tmp_path: Path
) -> None:
    for content in (b"nothing", b"", bytes(range(256)) * 9):
        (tmp_path / "other.onnx").write_bytes(content)
        page.locator("#model").set_input_files(tmp_path / "other.onnx")
        page.get_by_text("This file was not exported by moenas.").wait_for()
        page.get_by_text("The model before is still open.").wait_for()
    (tmp_path / "bad.png").write_bytes(b"nothing")
    page.locator("#image").set_input_files(tmp_path / "bad.png")
    page.get_by_text("bad.png cannot be read as an image.").wait_for()
    assert model.exists()


@pytest.mark.usefixtures("model")
def test_the_camera_is_answered_until_it_is_stopped(page: sync_api.Page) -> None:
    page.evaluate("delete document.getElementById('answer').dataset.probability")
    page.get_by_role("button", name="Use the camera").press("Enter")
    page.locator("#answer[data-probability]").wait_for()
    assert page.locator("#video").is_visible()
    page.get_by_role("button", name="Stop the camera").press("Enter")
    assert (
        page.get_by_role("button", name="Use the camera").get_attribute("aria-pressed") == "false"
    )
    assert page.locator("#error").inner_text() == ""
