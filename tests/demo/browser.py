"""A headless Chromium and what a visitor does in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 15


def started(chromium: str, driver: str, folder: Path) -> webdriver.Chrome:
    """A browser with a profile of its own in `folder`, that asks nothing of the network."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1200,1000", f"user-data-dir={folder}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def requested(browser: webdriver.Chrome) -> set[str]:
    """The addresses that it has received something from since this was last asked."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return {
        message["params"]["response"]["url"]
        for message in messages
        if message["method"] == "Network.responseReceived"
    }


@contextmanager
def phone(browser: webdriver.Chrome) -> Iterator[None]:
    """The browser with the width of a phone, 390 pixels."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class Tab:
    """What is looked at in a browser."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def all(self, selector: str) -> list:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition):
        return WebDriverWait(self.browser, PATIENCE).until(lambda _: condition())

    def wait(self, selector: str):
        return self.until(lambda: self.all(selector))[0]

    def text(self, selector: str) -> str:
        return self.wait(selector).get_attribute("textContent")


class Visitor(Tab):
    """A tab with the page to ask on."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        super().__init__(browser)
        self._address = address
        if browser.current_url.startswith("http"):
            browser.switch_to.new_window("tab")
        browser.get(address)
        self.tab = browser.current_window_handle
        self.wait("#question textarea")

    def here(self) -> Visitor:
        """Look at this tab."""
        self.browser.switch_to.window(self.tab)
        return self

    def drop(self, photo: Path) -> None:
        """Put a photo on the page, in the place of another."""
        for button in self.all("#photo button[aria-label='Remove Image']"):
            button.click()
            self.until(lambda: not self.all("#photo button[aria-label='Remove Image']"))
        self.wait("#photo input[type=file]").send_keys(str(photo))

    def photo_is_shown(self) -> str:
        return self.wait("#look .clipvil-look img[alt='The photo']").get_attribute("src")

    def ask(self, question: str) -> str:
        """The answer, in words."""
        field = self.wait("#question textarea")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(question)
        before = len(self.all("#history li"))
        self.wait("#ask").click()
        self.until(lambda: len(self.all("#history li")) == before + 1)
        return self.text(".clipvil-verdict")

    def map(self) -> str:
        return self.wait("#look .clipvil-look img").get_attribute("src")

    def error(self) -> str:
        """What the page complains of."""
        return self.until(lambda: " ".join(one.text for one in self.all(".toast-body")).strip())
