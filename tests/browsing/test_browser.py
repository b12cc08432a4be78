"""The page in a real browser; runs where selenium and Chromium are."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium")

from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from clipvil_mmf.browsing.html import PER_PAGE, commands
from clipvil_mmf.browsing.server import Server
from clipvil_mmf.data.questions import Question
from tests.browsing.small import EVIL, browser
from tests.demo.browser import Tab, phone, requested, started

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no Chromium")

COUNT = 60
WRONG = {3, 4, 30}  # by the first run; the second is wrong about 4 alone


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    questions = [
        Question(n, f"{'What' if n % 2 else 'Which'} shape is number {n}?", "a.png", {"box": 1.0})
        for n in range(COUNT)
    ]
    questions.append(Question(1000, EVIL, "a-long-name-without-any-blank" * 5, {"box": 1.0}))
    first = [
        {
            "question_id": n,
            "answer": "ring" if n in WRONG else "box",
            "confidence": 0.95 if n in WRONG else 0.9 - n / 100,
            "top_answers": [["box", 0.9 - n / 100], ["ring", 0.1]],
        }
        for n in range(COUNT)
    ]
    second = [
        {"question_id": n, "answer": "ring" if n == 4 else "box", "confidence": n / 100}
        for n in range(COUNT)
    ]
    found = browser(folder, first, second, questions=questions)
    Image.new("RGB", (900, 300), "green").save(found.questions.folder / "a.png")
    listed = commands(found, "--questions easy_vqa", str(found.questions.folder))
    with Server(found, listed, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    browser = started(CHROMIUM, DRIVER, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


class Visit(Tab):
    """What a visitor does on the page."""

    def choose(self, name: str, text: str) -> None:
        Select(self.wait(f"select[name='{name}']")).select_by_visible_text(text)

    def type(self, name: str, text: str) -> None:
        self.wait(f"input[name='{name}']").send_keys(text)

    def show(self) -> None:
        self.follow(self.wait("form button"))

    def click(self, text: str) -> None:
        self.follow(self.browser.find_element(By.PARTIAL_LINK_TEXT, text))

    def follow(self, element) -> None:
        """Click, and wait for the other page."""
        before = self.browser.find_element(By.TAG_NAME, "html").id
        element.click()
        self.until(lambda: self.browser.find_element(By.TAG_NAME, "html").id != before)
        self.wait("h1")

    @property
    def count(self) -> int:
        return int(self.text("#count b").replace(",", ""))

    @property
    def query(self) -> str:
        return urlsplit(self.browser.current_url).query


@pytest.fixture
def visit(chrome, server) -> Visit:
    chrome.get(server.address)
    return Visit(chrome)


def test_filter_and_go_back(visit) -> None:
    assert visit.count == COUNT + 1
    visit.type("text", "WHAT shape")
    visit.choose("verdict", "wrong")
    visit.show()
    # The address holds what was asked, and nothing else.
    assert visit.query == "text=WHAT+shape&verdict=wrong" and visit.count == 1
    assert visit.wait("input[name=text]").get_attribute("value") == "WHAT shape"
    address = visit.browser.current_url
    visit.browser.back()
    visit.until(lambda: visit.count == COUNT + 1)
    visit.browser.get(address)
    assert visit.count == 1 and "ring" in visit.text(".wrong b")


def test_two_runs_that_disagree(visit) -> None:
    visit.choose("compare", "they answer differently")
    visit.show()
    assert visit.query == "compare=differ" and visit.count == len(WRONG) - 1
    rows = [row.text.split() for row in visit.all("#runs tbody tr")]
    assert [row[:2] for row in rows] == [["first", "0.00"], ["second", "100.00"]]
    visit.click("All questions")
    visit.choose("run", "second")
    visit.choose("compare", "both are wrong")
    visit.show()
    assert visit.query == "run=second&compare=neither" and visit.count == 2  # and what none answers


def test_pages_and_orders(visit) -> None:
    visit.choose("sort", "loss, highest first")
    visit.show()
    assert visit.text("section .about a") == str(COUNT - 1)
    assert len(visit.all("section")) == PER_PAGE
    visit.click("next")
    assert visit.query == "sort=-loss&page=2"
    assert visit.text("section .about a") == str(COUNT - 1 - PER_PAGE)
    visit.click("last")
    assert len(visit.all("section")) == (COUNT + 1) % PER_PAGE
    visit.browser.back()
    visit.until(lambda: visit.query == "sort=-loss&page=2")


def test_exports(visit) -> None:
    visit.choose("verdict", "wrong")
    visit.show()
    visit.wait("#export summary").click()
    link = visit.wait("#export a").get_attribute("href")
    assert set(json.load(urllib.request.urlopen(link))) == WRONG
    assert "--ids ids.json" in visit.text("#export pre")


def test_images_answers_and_questions_on_an_image(visit) -> None:
    image = visit.wait("article img")
    visit.until(lambda: visit.browser.execute_script("return arguments[0].complete", image))
    assert visit.browser.execute_script("return arguments[0].naturalWidth", image) == 900
    assert not visit.wait(".runs .bar").is_displayed()
    visit.wait(".runs summary").click()
    assert visit.wait(".runs .bar").is_displayed()
    visit.click("all questions about it")
    assert visit.query == "image=a.png" and visit.count == COUNT


def test_what_is_written_is_shown_as_text(visit, server) -> None:
    visit.browser.get(f"{server.address}?id=1000")
    assert visit.text("section h2") == EVIL
    assert visit.browser.execute_script("return document.scripts.length") == 0
    assert "is missing" in visit.text(".missing")


def test_it_fits_a_phone(visit, server) -> None:
    with phone(visit.browser):
        for query in ("", "?id=1000", "?sort=-loss&verdict=wrong", "?least=x"):
            visit.browser.get(server.address + query)
            width = visit.browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= 390, query
        visit.browser.get(server.address)
        assert not visit.wait("form").is_displayed()
        visit.wait("label[for=toggle]").click()
        visit.choose("verdict", "wrong")
        visit.wait("#export summary").click()
        assert visit.browser.execute_script("return document.documentElement.scrollWidth") <= 390
        visit.show()
        assert visit.count == len(WRONG) and "(1)" in visit.text("label[for=toggle]")


def test_nothing_comes_from_elsewhere(visit, server) -> None:
    received = requested(visit.browser)
    own = (server.address, "data:", "chrome")
    assert received and not [url for url in received if not url.startswith(own)]
