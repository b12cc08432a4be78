"""The page in a real browser; runs where gradio, selenium and Chromium are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

gradio = pytest.importorskip("gradio")
pytest.importorskip("selenium")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402

from clipvil_mmf.demo import page  # noqa: E402
from clipvil_mmf.demo.desk import Desk  # noqa: E402
from tests.demo.browser import Visitor, phone, requested, started  # noqa: E402
from tests.explaining.asked import PHOTO, asked, solid  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no Chromium")


@pytest.fixture(scope="module")
def address():
    app = page.build(Desk(asked()), threshold=0.0)
    options = {**page.options(), "max_file_size": "100kb"}
    _, address, _ = app.launch(quiet=True, prevent_thread_lock=True, **options)
    yield address
    app.close(verbose=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = started(CHROMIUM, DRIVER, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    PHOTO.save(folder / "first.png")
    solid(40, 60).save(folder / "second.png")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "large.png").write_bytes(bytes(200_000))
    return {file.stem: file for file in folder.iterdir()}


@pytest.fixture
def visitor(browser, address) -> Iterator[Visitor]:
    yield Visitor(browser, address)
    # Each tab keeps connections open, of which a browser has six for a server.
    first, *tabs = browser.window_handles
    for tab in tabs:
        browser.switch_to.window(tab)
        browser.close()
    browser.switch_to.window(first)


def test_ask_and_ask_more(visitor, photos) -> None:
    visitor.drop(photos["first"])
    photo = visitor.photo_is_shown()
    assert "answer " in visitor.ask("What color is the dog?")
    assert len(visitor.all(".clipvil-bar")) == 5
    first = visitor.map()
    assert first != photo
    visitor.ask("Is it a <b>man</b>?")
    assert visitor.map() != first
    assert "Is it a <b>man</b>?" in visitor.text("#history")


def test_a_word_shows_its_map(visitor, photos, browser) -> None:
    visitor.drop(photos["first"])
    visitor.photo_is_shown()
    visitor.ask("What color is the dog?")
    answer = visitor.map()
    buttons = {button.text: button for button in visitor.all(".clipvil-words button")}
    words = ["What", "color", "is", "the", "dog", "?"]
    assert list(buttons) == ["the answer", "the photo", *words]
    ActionChains(browser).move_to_element(buttons["dog"]).perform()
    visitor.until(lambda: visitor.map() == buttons["dog"].get_attribute("data-map"))
    ActionChains(browser).move_to_element(visitor.all("h2")[0]).perform()
    visitor.until(lambda: visitor.map() == answer)
    buttons["color"].click()
    ActionChains(browser).move_to_element(visitor.all("h2")[0]).perform()
    assert visitor.map() == buttons["color"].get_attribute("data-map") != answer


def test_another_method_another_map(visitor, photos) -> None:
    visitor.drop(photos["first"])
    visitor.photo_is_shown()
    visitor.ask("What color is the dog?")
    before = visitor.map()
    visitor.wait("#method input[value=grad_cam]").click()
    visitor.until(lambda: visitor.map() != before)
    assert all(b.get_attribute("disabled") for b in visitor.all(".clipvil-words button")[2:])


def test_another_photo_another_map(visitor, photos) -> None:
    visitor.drop(photos["first"])
    first = visitor.photo_is_shown()
    visitor.ask("What color is the dog?")
    map_of_first = visitor.map()
    visitor.drop(photos["second"])
    visitor.until(lambda: visitor.all("img[alt='The photo']"))
    assert visitor.photo_is_shown() != first
    visitor.ask("What color is the dog?")
    assert visitor.map() != map_of_first


@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", "broken.png cannot be decoded"), ("large", "exceed the maximum allowed size")],
)
def test_files_that_are_refused(visitor, photos, name: str, message: str) -> None:
    visitor.drop(photos[name])
    assert message in visitor.error()
    # The page goes on.
    visitor = Visitor(visitor.browser, visitor._address)
    visitor.drop(photos["first"])
    assert visitor.photo_is_shown()


def test_what_lacks_is_said(visitor) -> None:
    visitor.wait("#ask").click()
    assert "Choose a photo first." in visitor.error()


def test_two_tabs_do_not_mix(visitor, browser, address, photos) -> None:
    visitor.drop(photos["first"])
    visitor.photo_is_shown()
    other = Visitor(browser, address)
    other.drop(photos["second"])
    other.photo_is_shown()
    of_other = other.ask("What color is the dog?"), other.map()
    visitor.here()
    of_first = visitor.ask("What color is the dog?"), visitor.map()
    assert of_first[1] != of_other[1] and len(visitor.all("#history li")) == 1
    other.here()
    assert other.map() == of_other[1]


def test_it_fits_a_phone(visitor, browser, photos) -> None:
    with phone(browser):
        visitor.drop(photos["first"])
        visitor.photo_is_shown()
        visitor.ask("What color is the dog?")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_nothing_comes_from_elsewhere(visitor, browser) -> None:
    """What a page loads without a network is there with one too."""
    own = ("http://127.0.0.1", "http://localhost", "data:", "blob:", "chrome")
    received = requested(browser)
    assert received and not [url for url in received if not url.startswith(own)]
