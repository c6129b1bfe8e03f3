"""The Explorer in a real browser: selecting with mouse and keys, editing and undoing, filters that lead to one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.conftest import HOME, fill
from tests.app.serving import CHROMIUM, served
from trugrade_core.data.editing import history
from trugrade_core.data.store import Dataset
from trugrade_core.workspace import Workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return fill(Workspace.open(tmp_path_factory.mktemp("served") / "workspace"), "cards", 70)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, cards: Dataset) -> Iterator[str]:
    with served(HOME, tmp_path_factory.mktemp("log"), TRUGRADE_WORKSPACE=str(cards.ws.root)) as url:
        yield f"{url}/datasets?dataset=cards"


@pytest.fixture
def tab(address: str) -> Iterator[Any]:
    """A tab on the Explorer, whose script errors fail the test."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium, and there is none on PATH")
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.goto(address)
        page.wait_for_selector("a.tg-tile")
        yield page
        browser.close()
    assert not wrong


def test_samples_are_selected_by_key_over_pages_excluded_and_put_back(tab: Any, cards: Dataset) -> None:
    tab.locator("a.tg-tile").first.focus()
    for key in ("ArrowRight", "x", "ArrowRight", "x"):
        tab.keyboard.press(key)
    tab.wait_for_selector("text=2 samples selected")
    tab.locator("a.tg-tile").first.focus()
    tab.keyboard.press("n")
    tab.wait_for_function("() => document.querySelectorAll('a.tg-tile').length === 10")
    assert "pg=2" in tab.url
    tab.locator(".tg-cellbox").nth(1).hover()
    tab.locator(".tg-pick").nth(1).click()
    tab.locator(".tg-pick").nth(4).click(modifiers=["Shift"])
    tab.wait_for_selector("text=6 samples selected")
    tab.get_by_role("button", name="Exclude").click()
    assert tab.get_by_role("button", name="Apply").is_disabled()
    tab.get_by_role("textbox", name="Reason").fill("bent")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=6 of 6 samples would change")
    tab.get_by_role("button", name="Apply").click()
    tab.wait_for_selector("text=6 samples changed")
    chosen = [n for n, s in enumerate(cards.samples().values()) if s.excluded == "bent"]
    assert chosen == [1, 2, 61, 62, 63, 64]
    tab.locator(".st-key-explore-said").get_by_role("button", name="Undo").click()
    tab.wait_for_selector("text=6 samples put back")
    assert not any(s.excluded for s in cards.samples().values())
    assert [(b.what, b.samples) for b in history(cards)] == [("undo: exclude: bent", 6), ("exclude: bent", 6)]


def test_all_that_fit_get_another_class(tab: Any, cards: Dataset) -> None:
    before = {a.label for found in cards.annotations().values() for a in found}
    tab.goto(f"{tab.url}&card=card-1,card-2")
    tab.wait_for_function("() => document.querySelectorAll('a.tg-tile').length === 2")
    tab.locator("a.tg-tile").first.focus()
    tab.keyboard.press("x")
    tab.get_by_role("button", name="All 2 that fit").click()
    tab.wait_for_selector("text=All 2 samples selected")
    tab.get_by_role("button", name="Class").click()
    tab.get_by_role("combobox", name="become").click()
    tab.get_by_role("option", name="outer_border").click()
    tab.wait_for_selector("text=2 of 2 samples would change")
    tab.get_by_role("button", name="Apply").click()
    tab.wait_for_selector("text=2 samples changed")
    labels = [
        [a.label for a in cards.annotations()[s.id]] for s in cards.samples().values() if s.card in ("card-1", "card-2")
    ]
    assert labels == [["outer_border"] * 2] * 2
    tab.locator(".st-key-explore-said").get_by_role("button", name="Undo").click()
    tab.wait_for_selector("text=2 samples put back")
    assert {a.label for found in cards.annotations().values() for a in found} == before


def test_a_bar_filters_a_chip_takes_it_away_and_the_link_opens_the_same(tab: Any) -> None:
    tab.locator("a.tg-facet", has_text="unlabelled").click()
    tab.wait_for_selector("text=17 samples of 70")
    tab.locator("a.tg-cell").first.wait_for(state="detached")  # nothing is drawn on them
    tab.goto(tab.url)  # a colleague opens the link
    tab.wait_for_function("() => document.querySelectorAll('a.tg-tile').length === 17")
    tab.locator("a.tg-chip.tg-off").click()
    tab.wait_for_selector("text=70 samples of 70")
    assert "status" not in tab.url


def test_nothing_scrolls_sideways_with_a_selection_in_either_theme(tab: Any) -> None:
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        tab.locator("a.tg-tile").first.focus()
        tab.keyboard.press("a")
        tab.wait_for_selector("text=60 samples selected")
        wider = tab.evaluate(
            "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth }"
        )
        assert wider <= 0
        tab.keyboard.press("Escape")
        tab.wait_for_selector("text=samples selected", state="detached")
