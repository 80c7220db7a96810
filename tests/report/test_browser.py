"""The page is used as a reader would: a real browser, a pointer, a keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic_run import make_run

from moenas.report.html import render
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"
)
TRIALS = 60
PIXELS = """
  const canvas = document.querySelector(selector), copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const pen = copy.getContext('2d', { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const pixels = pen.getImageData(0, 0, copy.width, copy.height).data;
"""
MARKED = f"""(selector) => {{ {PIXELS}
  let painted = 0;
  for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
  return painted;
}}"""
BRIGHTNESS = f"""(selector) => {{ {PIXELS}
  let solid = 0, green = 0;
  for (let i = 0; i < pixels.length; i += 4)
    if (pixels[i + 3] > 180) {{ solid++; green += pixels[i + 1]; }}
  return green / solid;
}}"""
FRAMES = """() => new Promise((done) => setTimeout(
  () => requestAnimationFrame(() => requestAnimationFrame(done)), 60))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("browser") / "run", trials=TRIALS)
    trials = read_json(run.path / "trials.json")
    for trial in trials:
        trial["latency_ms"] = 5 + trial["number"] / 10
    write_json(run.path / "trials.json", trials)
    return render(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        # Containers run tests as root, where Chromium has no sandbox; the page is our own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser: sync_api.Browser, report: Path) -> Iterator[tuple[sync_api.Page, list[str]]]:
    """The open report, and what it complained about or asked for."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url))
    page.goto(report.as_uri())
    assert report.as_uri() in troubles  # the listener hears requests
    yield page, troubles
    page.close()


@pytest.fixture
def page(opened: tuple[sync_api.Page, list[str]], report: Path) -> Iterator[sync_api.Page]:
    """The report with nothing chosen; a test fails if the page complains or asks the network."""
    page, troubles = opened
    page.keyboard.press("Escape")
    page.locator("#explorer").scroll_into_view_if_needed()
    yield page
    allowed = (report.as_uri(), "data:")
    assert [line for line in troubles if not line.startswith(allowed)] == []


def settle(page: sync_api.Page) -> None:
    """Wait until what was chosen is drawn."""
    page.evaluate(FRAMES)


def text(page: sync_api.Page) -> str:
    return page.locator("#chosen-text").inner_text()


def chosen(page: sync_api.Page) -> int:
    found = re.match(rf"(\d+) of {TRIALS} trials chosen", text(page))
    return int(found[1]) if found else TRIALS


def drag(page: sync_api.Page, axis: int, start: float, end: float) -> None:
    """Drag along an axis; 0 is its upper end, 1 its lower."""
    grip = page.locator(".wide-only .grip").nth(axis)
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    assert box
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + start * box["height"])
    page.mouse.down()
    for part in (0.5, 1.0):
        page.mouse.move(x, box["y"] + (start + (end - start) * part) * box["height"])
    page.mouse.up()


def test_a_drag_chooses_and_escape_opens_again(page: sync_api.Page) -> None:
    assert text(page) == f"All {TRIALS} trials."
    drag(page, 1, 0.1, 0.5)
    number = chosen(page)
    assert 0 < number < TRIALS
    low, high = (float(page.get_by_label(f"Fairness, %: at {end}").input_value())
                 for end in ("least", "most"))  # fmt: skip
    data = read_json(Path(page.url[7:]).with_name("trials.json"))
    inside = [t for t in data if t["fairness"] and low <= 100 * t["fairness"] <= high]
    assert len(inside) == number
    settle(page)
    marked = page.evaluate(MARKED, "[data-plot=matrix] canvas.front")
    drag(page, 0, 0.1, 0.3)  # a second axis narrows the choice
    assert chosen(page) < number
    settle(page)
    assert 0 < page.evaluate(MARKED, "[data-plot=matrix] canvas.front") < marked
    page.keyboard.press("Escape")
    assert text(page) == f"All {TRIALS} trials."
    settle(page)
    assert page.evaluate(MARKED, "[data-plot=matrix] canvas.front") == 0
    drag(page, 1, 0.1, 0.5)
    drag(page, 1, 0.7, 0.7)  # a click on the axis
    assert chosen(page) == TRIALS


def test_keyboard_alone(page: sync_api.Page) -> None:
    page.get_by_label("Size, M: at most").focus()
    page.keyboard.type("2.4")
    data = read_json(Path(page.url[7:]).with_name("trials.json"))
    small = [t for t in data if t["parameters"] <= 2_400_000 and t["fairness"] is not None]
    assert chosen(page) == len(small)
    page.keyboard.press("Tab")
    page.keyboard.type("0")
    assert page.evaluate("document.activeElement.ariaLabel") == "Latency, ms: at least"
    assert chosen(page) == len(small)
    sync_api.expect(page.locator("#chosen-spoken")).to_contain_text(f"{len(small)} of {TRIALS}")
    page.locator("#only-front").press("Space")
    assert chosen(page) == sum(t["on_front"] for t in small)
    page.locator("#explorer [data-reset]").press("Enter")
    assert chosen(page) == TRIALS
    assert page.locator("#explorer [data-reset]").is_disabled()


def test_the_table_follows_the_choice(page: sync_api.Page) -> None:
    page.locator("#trials summary").click()
    rows = page.locator("#trials tbody tr")
    assert rows.count() == 50
    page.get_by_role("button", name="Next").click()
    assert rows.count() == TRIALS - 50
    page.get_by_role("button", name="Fairest tenth").click()
    assert 1 < chosen(page) < 10
    assert rows.count() == chosen(page)
    heads = page.locator("#trials thead th").all_inner_texts()
    page.locator("#trials thead th").nth(heads.index("Robustness, %")).press("Enter")
    cells = page.locator(f"#trials tbody tr > :nth-child({heads.index('Robustness, %') + 1})")
    values = [float(cell) for cell in cells.all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.get_by_label("Only the chosen").uncheck()
    assert rows.count() == 50
    rows.first.press("Enter")  # keeps the trial: details stay
    number = rows.first.locator("th").inner_text()
    page.locator("#trials summary").focus()
    page.mouse.move(2, 2)
    details = page.locator("#trial-details")
    assert f"Trial {number}" in details.inner_text()
    page.keyboard.press("Escape")
    assert "Point at a trial" in details.inner_text()
    page.locator("#trials summary").click()


def test_models_follow_their_trials(page: sync_api.Page) -> None:
    models = read_json(Path(page.url[7:]).with_name("comparison.json"))["models"]
    trials = read_json(Path(page.url[7:]).with_name("trials.json"))
    parents = {
        m["name"]: next(t for t in trials if t["architecture"] == m["architecture"])
        for m in models
        if m["role"] == "finalist"
    }
    best = max(parents, key=lambda name: parents[name]["balanced_accuracy"])
    floor = 100 * parents[best]["balanced_accuracy"] - 0.01
    page.get_by_label("Balanced accuracy, %: at least").fill(f"{floor:.3f}")
    for name in parents:
        faded = int(name != best)
        for place in ("#tones .series", "#models tr"):
            parts = page.locator(f'{place}.unchosen[data-model="{name}"]')
            assert (parts.count() > 0) == faded, (name, place)
    assert page.locator('tr.unchosen[data-model="mobilevitv2_050"]').count() == 0
    page.locator("#tones").scroll_into_view_if_needed()
    bar = page.get_by_role("complementary", name="Chosen trials")
    sync_api.expect(bar).to_contain_text(f"of {TRIALS} trials chosen")
    bar.get_by_role("button", name="Reset").click()
    assert page.locator(".unchosen").count() == 0


def test_a_rectangle_and_a_point_in_the_scatter_plots(page: sync_api.Page) -> None:
    frame = page.locator(".cell .frame").first
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1] + 30)
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
    page.mouse.up()
    assert 0 < chosen(page) < TRIALS
    assert page.get_by_label("Balanced accuracy, %: at least").input_value()
    assert page.get_by_label("Fairness, %: at most").input_value()
    page.keyboard.press("Escape")
    tip = page.locator("#tip")
    for step in range(0, int(box["width"]), 6):
        page.mouse.move(box["x"] + step, middle[1])
        if tip.is_visible():
            break
    assert re.match(r"Trial \d+: Balanced accuracy", tip.inner_text())


def test_dark_and_narrow(browser: sync_api.Browser, report: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto(report.as_uri())
    page.locator("#explorer").scroll_into_view_if_needed()
    settle(page)
    lines = ".narrow-only canvas.back"
    bright = page.evaluate(BRIGHTNESS, lines)
    page.emulate_media(color_scheme="light")
    settle(page)
    assert page.evaluate(BRIGHTNESS, lines) < bright - 20
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_without_a_script_and_on_paper_a_sample_is_drawn(
    browser: sync_api.Browser, report: Path
) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    assert page.locator("[data-plot=matrix] .sample").first.is_visible()
    assert not page.locator(".choose").is_visible()
    page.close()
    page = browser.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".choose").is_visible()
    assert page.locator("[data-plot=matrix] .sample").first.is_visible()
    assert not page.locator("[data-plot=matrix] canvas").first.is_visible()
    page.close()


def test_a_run_with_one_trial_has_a_table_and_no_trouble(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    report = render(make_run(tmp_path / "run", ("trials",), trials=1))
    page = browser.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(report.as_uri())
    row = page.locator("#trials tbody tr")
    assert row.count() == 1
    row.press("Enter")
    page.keyboard.press("Escape")
    page.close()
    assert troubles == []


def test_hints_rows_and_headings_by_keyboard(
    browser: sync_api.Browser, audit_run: RunFolder
) -> None:
    page = browser.new_page()
    page.goto(audit_run.report.as_uri())
    tip, lit = page.locator("#tip"), page.locator("#models tr.lit")

    heads = page.locator("#models thead th")
    fair = heads.filter(has_text="Fairness, %").first
    hint = fair.get_attribute("data-tip")
    page.locator("#models .table-wrap").first.focus()
    for _ in range(heads.count()):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.tip") == hint:
            break
    assert tip.inner_text() == hint
    assert fair.get_attribute("aria-describedby") == "tip"
    page.keyboard.press("Escape")
    assert not tip.is_visible()

    assert fair.get_attribute("aria-sort") == "none"
    place = heads.all_inner_texts().index(fair.inner_text())
    cells = page.locator(f"#models tbody tr > :nth-child({place + 1}) data")
    page.wait_for_timeout(600)  # until the page has moved to what has the focus
    top = page.evaluate("scrollY")
    for key, order in (("Enter", "descending"), (" ", "ascending")):
        page.keyboard.press(key)
        assert fair.get_attribute("aria-sort") == order
        values = [float(cell.get_attribute("value") or "nan") for cell in cells.all()]
        assert values == sorted(values, reverse=order == "descending")
    assert page.evaluate("scrollY") == top  # Space sorts; it does not scroll
    assert heads.first.get_attribute("aria-sort") == "none"

    for key in ("Enter", " "):
        row = page.locator("#models tbody tr").nth(1)
        row.focus()
        page.keyboard.press(key)  # keeps it
        page.locator("#models summary").first.focus()
        assert lit.count() > 0
        page.keyboard.press("Escape")
        assert lit.count() == 0
        assert "focusing" not in (page.locator("body").get_attribute("class") or "")

    page.locator("#models summary", has_text="What the numbers mean").press("Enter")
    page.locator(".judged > div").first.focus()
    assert page.locator(".judged > div.lit").count() == 1
    page.close()
