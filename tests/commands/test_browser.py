"""The demo's page in a real browser. Needs the extra `browser` and Chromium; skipped where they are missing."""

import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
PORT = 7877
FOUND = "document.querySelector('#count').innerText.includes('found')"
ONE, SEVEN = [(0.5, 0.15), (0.5, 0.85)], [(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]
WAIT = 60_000  # ms


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a page that is being served."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "demo.py"), "--port", str(PORT)]
    server = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("demo"), stdout=subprocess.DEVNULL)
    found = f"http://127.0.0.1:{PORT}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(found, timeout=5)
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.5)
        yield found
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def page(address):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1050}, has_touch=True)
        page.goto(address)
        page.wait_for_selector("#pick", timeout=WAIT)
        yield page
        browser.close()


def draw(page, number, points):
    """A line through points of a canvas, in shares of its sides."""
    page.locator('button[aria-label="Brush"], button[title="Brush"]').nth(number).click()
    canvases = page.locator("canvas")
    box = canvases.nth(number * canvases.count() // 2).bounding_box()
    (first, *others) = [(box["x"] + box["width"] * u, box["y"] + box["height"] * v) for u, v in points]
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=12)
    page.mouse.up()


def test_two_drawn_digits_come_apart(page):
    draw(page, 0, ONE)
    draw(page, 1, SEVEN)
    page.wait_for_timeout(1000)  # the canvas hands its drawing over
    page.click("#separate")
    page.wait_for_function(FOUND, timeout=WAIT)
    assert "2 found, 2 there" in page.inner_text("#count")


@pytest.mark.parametrize("press", ["keyboard", "touch"])
def test_digits_are_picked_without_a_mouse(press, page):
    if press == "keyboard":
        page.focus("#pick")
        page.keyboard.press("Enter")
    else:
        page.tap("#pick")
    page.wait_for_function(FOUND, timeout=WAIT)
    assert "2 there" in page.inner_text("#count")
