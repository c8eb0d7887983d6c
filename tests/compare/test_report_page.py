"""The report's page, driven in headless Chromium from file://: one browser and one page for all tests.

Without a Chromium these are skipped, which the summary says loudly. Debian: apt-get install chromium.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import convgrid.compare.report
from conftest import NO_BROWSER
from convgrid.compare import answer
from convgrid.compare.report import write
from synthetic_trials import make_trials

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HARMFUL = "<script>window.harmed = 1</script>"
GRID = {
    "arch.n": (1, 2, 3),
    "arch.m": (1, 2),
    "optimizer": ("adam", "sgd"),
    "arch.pattern": ("INPUT -> FC", HARMFUL, '"><img src=http://127.0.0.1:9/x onerror=window.harmed=1>'),
}


@dataclass
class Browser:
    """The page, and what it complained of or asked the network for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def js(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def until(self, expression: str) -> None:
        """Playwright's own waiting evaluates text in the page, which the page forbids."""
        end = time.monotonic() + 5
        while not self.js(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(20)

    def places(self) -> list[int]:
        return self.js("[...document.querySelectorAll('#table tbody tr')].map((row) => Number(row.dataset.s))")

    def column(self, key: str) -> list[str]:
        head = f"[...document.querySelectorAll('#table th')].findIndex((head) => head.dataset.key === '{key}')"
        return self.js(
            f"[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[{head}].textContent.trim())"
        )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    skipped = {"arch.m=6 pools a 8x8 input 6 times.": ["arch.n=1 arch.m=6", "arch.n=2 arch.m=6"]}
    trials = make_trials(GRID, failed=(3,), pruned=(10, 11, 25), skipped=skipped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convgrid.compare.report, "save", lambda *_: None)  # pictures, at which no test here looks
        return write(trials, answer(trials), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator[Browser]:
    found = os.environ.get("CONVGRID_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(NO_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api", reason=f"{NO_BROWSER}, for lack of playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(5000)
        seen = Browser(page)
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(report.as_uri())
        yield seen
        chromium.close()


@pytest.fixture(autouse=True)
def as_opened(browser: Browser, report: Path) -> None:
    """Each test starts from the page as the user opens it."""
    browser.page.emulate_media(media="screen", color_scheme="light")
    browser.page.set_viewport_size({"width": 1280, "height": 900})
    browser.page.goto(report.as_uri())
    browser.until("document.documentElement.dataset.ready")


def test_the_page_loads_nothing_and_complains_of_nothing(browser: Browser, report: Path) -> None:
    assert set(browser.requests) == {report.as_uri()}
    assert browser.complaints == []
    assert browser.js("window.harmed") is None


def test_every_chart_is_drawn(browser: Browser) -> None:
    drawn = browser.js(
        "Object.fromEntries([...document.querySelectorAll('main > section')].map((section) =>"
        " [section.id, [...section.querySelectorAll('figure svg')].filter((svg) => svg.getBBox().width > 100).length]))"
    )
    assert drawn == {
        "ranking": 0, "effects": 4, "interactions": 6, "importance": 1, "curves": 3, "pareto": 3, "parallel": 1,
        "unfinished": 0, "method": 0,
    }  # fmt: skip


def test_a_head_sorts_the_ranking_and_says_so(browser: Browser) -> None:
    head = browser.page.locator("#table th[data-key=parameters]")
    head.locator("button").click()
    sizes = [int(text.replace(",", "")) for text in browser.column("parameters")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert [int(text.replace(",", "")) for text in browser.column("parameters")] == sizes[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    assert browser.page.locator("#table th[data-key=place]").get_attribute("aria-sort") == "none"


def test_the_objective_sorts_with_the_best_first(browser: Browser) -> None:
    head = browser.page.locator("#table th[data-key='val/accuracy'] button")
    head.click()
    assert browser.places() == list(range(1, 37))


def test_a_filter_keeps_what_has_the_value(browser: Browser) -> None:
    browser.page.fill("#filter", "n=3 sgd")
    browser.until("document.querySelectorAll('#table tbody tr').length < 36")
    assert set(browser.column("arch.n")) == {"3"}
    assert set(browser.column("optimizer")) == {"sgd"}
    assert browser.page.locator("#filter-count").inner_text() == "6 of 36 settings"
    assert browser.js("document.querySelectorAll('#pareto .off').length") > 0
    browser.page.fill("#filter", "")
    browser.until("document.querySelectorAll('#table tbody tr').length === 36")
    assert browser.js("document.querySelectorAll('.off').length") == 0


def test_a_place_shows_its_setting_in_all_charts_by_keyboard_alone(browser: Browser) -> None:
    browser.page.locator("#table tbody tr:nth-child(2) .place").focus()
    browser.page.keyboard.press("Enter")
    lit = browser.js("[...new Set([...document.querySelectorAll('figure .on')].map((mark) => mark.dataset.s))]")
    assert lit == ["2"]
    charts = browser.js("[...document.querySelectorAll('figure .on')].map((mark) => mark.closest('section').id)")
    assert {"curves", "parallel"} <= set(charts)
    assert browser.page.locator("#lit").inner_text().startswith("Shown: place 2.")
    browser.page.keyboard.press("Escape")
    assert browser.js("document.querySelectorAll('figure .on').length") == 0
    assert browser.page.locator("#lit").is_hidden()


def test_a_pointer_on_a_mark_reads_its_setting(browser: Browser) -> None:
    dot = browser.page.locator("#pareto circle[data-s='1']").first
    dot.scroll_into_view_if_needed()
    dot.hover()
    browser.until("!document.getElementById('tip').hidden")
    words = browser.page.locator("#tip").inner_text()
    assert words == browser.js("document.querySelector('#table tr[data-s=\"1\"]').dataset.tip")
    assert words.startswith("1. arch.n=3 ")


def test_one_pair_of_keys_can_be_chosen(browser: Browser) -> None:
    browser.page.select_option("#pair", label="arch.m and optimizer")
    shown = browser.page.locator("#interactions figure:visible text").all_text_contents()
    assert shown[0] == "arch.m (down), optimizer (across)"
    assert browser.page.locator("#interactions figure:visible").count() == 1


def test_tab_goes_from_the_link_past_the_head_to_the_filter(browser: Browser) -> None:
    browser.page.keyboard.press("Tab")
    assert browser.js("document.activeElement.textContent") == "Skip to the ranking"
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.page.keyboard.press("Enter")
    browser.page.keyboard.press("Tab")
    assert browser.js("document.activeElement.id") == "filter"
    assert browser.js("document.activeElement.labels[0].textContent") == "Filter"


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_overflows(browser: Browser, width: int) -> None:
    browser.page.set_viewport_size({"width": width, "height": 900})
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.page.locator("#parallel figure:visible").count() == 1
    words = "[...document.querySelectorAll('figure text')].filter((text) => text.getClientRects().length)"
    assert browser.js(f"Math.min(...{words}.map((text) => text.getBoundingClientRect().height))") >= 8


def test_dark_paper_has_light_ink(browser: Browser) -> None:
    ink = "getComputedStyle(document.querySelector('#effects text.ink')).fill"
    colours = f"[getComputedStyle(document.body).backgroundColor, {ink}]"
    assert browser.js(colours) == ["rgb(255, 255, 255)", "rgb(22, 32, 42)"]
    browser.page.emulate_media(color_scheme="dark")
    assert browser.js(colours) == ["rgb(17, 22, 28)", "rgb(232, 237, 242)"]


def test_print_is_light_and_has_all_but_the_controls(browser: Browser) -> None:
    browser.page.select_option("#pair", label="arch.m and optimizer")
    browser.page.emulate_media(media="print", color_scheme="dark")
    assert browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.page.locator("#interactions figure:visible").count() == 6
    assert browser.page.locator("input:visible, select:visible, nav:visible").count() == 0
    assert browser.page.locator("#table tbody tr:visible").count() == 36
    assert browser.page.locator("#table th:visible").all_inner_texts()[1:4] == ["val/accuracy", "arch.n", "arch.m"]
