"""The page in a browser: it fits a phone and a desk, in light and dark, and asks nothing of the network."""

import shutil

import pytest

from tests.report.test_page import hostile
from tests.support import fit

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
FLAGS = (*FLAGS, "disable-component-update", "disable-sync")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"this test needs a browser; install the Debian package chromium (looked for {', '.join(BROWSERS)})"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=[f"--{flag}" for flag in FLAGS])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of two tables: flights with all kinds of fields, and one with hostile names."""
    from tests.support import flights

    folder = tmp_path_factory.mktemp("pages")
    fit(flights(), epochs=5).report(flights(), folder / "flights.html")
    fit(hostile(), epochs=2).report(hostile(), folder / "hostile.html")
    return folder


@pytest.mark.parametrize("name", ["flights", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_it_fits_and_asks_for_nothing(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    address = (pages / f"{name}.html").as_uri()
    page.goto(address)
    assert asked[0] == address
    assert not [one for one in asked[1:] if not one.startswith("data:")]
    assert not errors
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.evaluate("[...document.querySelectorAll('svg.picture')].map(e => e.getBoundingClientRect().height)")
    assert len(drawn) > 10
    assert min(drawn) > 40
    ink, back = page.evaluate("['color', 'backgroundColor'].map(p => getComputedStyle(document.body)[p])")
    light = [sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) for colour in (ink, back)]
    assert (light[0] < light[1]) == (scheme == "light")
    assert abs(light[0] - light[1]) > 450
    small = page.evaluate(
        "Math.min(...[...document.querySelectorAll('p, td, th, li, figcaption')].map("
        "e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert small >= 13
    page.close()
