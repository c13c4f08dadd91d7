"""The demo's page in a real browser. Needs the extra `browser` and Chromium; skipped where they are missing."""

import shutil
from itertools import pairwise

import pytest
from scipy.io import wavfile

from vaebss.data.corpora import notes
from vaebss.data.corpora.digits import load_digits
from vaebss.demo import digits_tab
from vaebss.demo.models import offered
from vaebss.demo.page import STYLE
from vaebss.demo.page import page as demo_page
from vaebss.pictures import save_image

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
FEW = {0: (55, 80), 40: (60, 80), 73: (60, 84)}
ONE, SEVEN = [(0.5, 0.15), (0.5, 0.85)], [(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]
WAIT = 60_000  # ms
SOON = 5_000  # of an answer: a second on a quiet machine
SAYS = "([where, text]) => document.querySelector(where).innerText.includes(text)"
INK = "document.querySelectorAll('#layers canvas')[{}].getContext('2d').getImageData(0, 0, 280, 280).data.some(v => v)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a page that is being served, with a few notes alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "RANGES", FEW)
        patch.setattr(digits_tab, "load_digits", lambda *_: load_digits("bundled", "data"))
        blocks = demo_page(*offered(None), tmp_path_factory.mktemp("demo"))
        _, found, _ = blocks.launch(prevent_thread_lock=True, quiet=True, css=STYLE)
        yield found
        blocks.close()


@pytest.fixture(params=SCREENS)
def page(request, address):
    """As a desktop or a phone has it; nothing may go wrong in its console."""
    width, height = SCREENS[request.param]
    phone = request.param == "phone"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone)
        page.set_default_timeout(WAIT)
        errors = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#layers canvas")
        page.touches = page.context.new_cdp_session(page) if phone else None
        yield page
        browser.close()
    assert not errors


def draw(page, number, points, lift=True):
    """A line through points of a layer, in shares of its sides: with the mouse, or a finger where it is a phone."""
    box = page.locator("#layers canvas").nth(number).bounding_box()
    corners = [(box["x"] + box["width"] * u, box["y"] + box["height"] * v) for u, v in points]
    steps = [step / 8 for step in range(1, 9)]
    places = [[a + (b - a) * step for a, b in zip(*ends, strict=True)] for ends in pairwise(corners) for step in steps]
    for step, (x, y) in enumerate([corners[0], *places]):
        if page.touches:
            kind = "touchMove" if step else "touchStart"
            page.touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        else:
            page.mouse.move(x, y)
            if not step:
                page.mouse.down()
    if lift and page.touches:
        page.touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    elif lift:
        page.mouse.up()


def says(page, where, text):
    """Wait until it does."""
    page.wait_for_function(SAYS, arg=[where, text], timeout=SOON)


def fits(page, selector):
    """Whether all of these are to be seen without scrolling, and nothing is cut at the sides."""
    size = page.viewport_size
    boxes = [element.bounding_box() for element in page.locator(selector).all()]
    assert boxes
    wide = page.evaluate("document.documentElement.scrollWidth")
    return wide <= size["width"] and all(box["y"] + box["height"] <= size["height"] for box in boxes)


def test_the_first_stroke_draws_and_is_answered_before_it_ends(page):
    assert "Draw something first" in page.inner_text("#parts")
    draw(page, 0, SEVEN, lift=False)
    assert page.evaluate(INK.format(0))
    says(page, "#parts", "found")
    assert "1 found, 1 there" in page.inner_text("#parts")
    assert page.evaluate("window.scrollY") == 0


def test_two_drawn_digits_come_apart_and_are_cleared(page):
    draw(page, 0, ONE)
    draw(page, 3, SEVEN)
    says(page, "#parts", "2 found, 2 there")
    page.locator("#layers button").nth(3).click()
    says(page, "#parts", "1 there")
    assert page.evaluate(INK.format(0))
    page.click("#clear")
    says(page, "#parts", "Draw something")
    assert not page.evaluate(INK.format(0))


def test_picked_digits_and_all_that_is_found_fit_the_screen(page):
    page.click("#pick4")
    page.wait_for_function("document.querySelectorAll('#parts img').length >= 9", timeout=SOON)
    assert "4 there" in page.inner_text("#parts")
    assert all(page.evaluate(INK.format(number)) for number in range(4))
    assert fits(page, "#layers canvas, #parts figure, #pick1, #clear")


def test_a_picked_digit_is_drawn_over_and_one_more_is_drawn(page):
    page.focus("#pick1")
    page.keyboard.press("Enter")
    says(page, "#parts", "found")
    draw(page, 1, ONE)
    says(page, "#parts", "2 there")


def test_a_model_with_too_few_slots_says_so(page):
    page.click("#pick3")
    says(page, "#parts", "found")
    page.get_by_label("Model").first.click()
    page.get_by_role("option", name="remix-k2").click()
    says(page, "#parts", "2 slots")


def test_ones_own_picture_is_taken_apart(page, tmp_path):
    save_image(load_digits("bundled", "data").test[:2].sum(0) / 510, tmp_path / "two.png")
    draw(page, 0, ONE)
    says(page, "#parts", "found")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "two.png")
    says(page, "#parts", "2 found in two.png")
    assert not page.evaluate(INK.format(0))
    assert fits(page, "#parts figure")


def test_an_example_greys_the_squares_and_its_sources_are_kept(page):
    grey = "getComputedStyle(document.querySelector('#layers canvas')).opacity"
    page.click("#pick2")
    says(page, "#parts", "2 there")
    assert page.evaluate(grey) == "1"
    page.get_by_role("button", name="Letter over shape").click()
    says(page, "#parts", "2 found in letter-over-shape.png")
    assert float(page.evaluate(grey)) < 0.5
    with page.expect_download() as kept:
        page.locator("#parts a").nth(1).click()
    assert kept.value.suggested_filename == "source1.png"
    page.click("#clear")
    says(page, "#parts", "Draw something")
    assert page.evaluate(grey) == "1"


def test_two_notes_are_heard_apart(page, tmp_path):
    pytest.importorskip("pretty_midi")
    pytest.importorskip("soundfile")
    page.get_by_role("tab", name="Notes").click()
    page.wait_for_function("document.querySelectorAll('#sounds audio').length == 5", timeout=WAIT)
    assert "2 there; SI-SDR" in page.inner_text("#sounds")
    page.wait_for_function("[...document.querySelectorAll('#sounds audio')].every(a => a.duration > 1 && !a.error)")
    assert fits(page, "#sounds audio, #spectrograms img")
    before = page.get_attribute("#sounds audio", "src")
    page.get_by_label("First note").click()
    other = page.get_by_role("option").filter(has_not_text=page.input_value("[aria-label='First note']")).first
    other.click()
    page.wait_for_function("before => document.querySelector('#sounds audio').src != before", arg=before, timeout=SOON)
    wavfile.write(tmp_path / "own.wav", notes.RATE, notes.load_notes(tmp_path).test[0].float().numpy())
    page.locator("input[type=file]").last.set_input_files(tmp_path / "own.wav")
    says(page, "#sounds", "in own.wav")
