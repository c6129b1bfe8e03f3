"""The real app in a real browser: pictures load, links do not reload, nothing scrolls sideways, nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from app.Home import SECTIONS
from tests.app.conftest import HOME, add_run, card, fill
from tests.app.serving import served
from trugrade_core.data.versions import split
from trugrade_core.workspace import Workspace, locked

pytestmark = pytest.mark.browser
PAGES = [name for rows in SECTIONS.values() for name, _, _ in rows]


@pytest.fixture(scope="module")
def ws_served(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("served") / "workspace")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, ws_served: Workspace) -> Iterator[str]:
    """The app, started by hand from another folder, on a free port."""
    ws = ws_served
    split(fill(ws, "cards", 70), (0.6, 0.2, 0.2), 0)
    add_run(ws, "cards@v1")
    add_run(ws, "cards@v1", state="failed", reason="the loss became non-finite at step 9")
    with served(HOME, tmp_path_factory.mktemp("log"), TRUGRADE_WORKSPACE=str(ws.root)) as address:
        yield address


def visit(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("h1")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")


def test_started_from_anywhere_it_listens_on_loopback_only(url: str) -> None:
    port = int(url.rpartition(":")[2])
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    assert listening == ["127.0.0.1"]


def test_no_page_scrolls_sideways_or_asks_anything_outside(url: str, page: Any) -> None:
    outside: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name in PAGES:
            visit(page, f"{url}/{name if name != 'home' else ''}")
            wider = page.evaluate(
                "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth }"
            )
            assert wider <= 0, name
            assert page.get_by_text("fault in the lab").count() == 0, name
    assert not outside
    assert not errors


def test_thumbnails_load_with_outlines_over_them(url: str, page: Any) -> None:
    visit(page, f"{url}/datasets?dataset=cards")
    page.wait_for_selector("a.tg-tile")
    assert page.locator("a.tg-tile").count() == 60
    page.wait_for_function("() => document.querySelector('.tg-pic img').naturalWidth > 0")
    over = page.evaluate(
        "() => { const a = document.querySelector('.tg-pic img').getBoundingClientRect(), b = document.querySelector('.tg-pic svg').getBoundingClientRect();"
        " return [a.x - b.x, a.y - b.y, a.width - b.width, a.height - b.height] }"
    )
    assert max(map(abs, over)) < 0.5


def test_a_link_opens_without_a_reload_and_the_address_is_the_state(url: str, page: Any) -> None:
    visit(page, f"{url}/datasets?dataset=cards")
    page.evaluate("() => { window.still = true }")
    page.locator("a.tg-tile").nth(1).click()
    page.wait_for_selector("text=What is drawn")
    assert page.evaluate("() => window.still") is True
    page.wait_for_function("() => location.search.includes('sample=')")
    visit(page, page.url)  # a colleague opens the link
    page.wait_for_selector("text=What is drawn")
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector("text=3 of 70")


def test_a_filter_is_kept_while_looking_at_its_samples(url: str, page: Any) -> None:
    visit(page, f"{url}/datasets?dataset=cards")
    search = page.get_by_role("textbox", name="Search")
    search.fill("card-0001")
    search.press("Enter")
    page.wait_for_selector("text=10 samples of 70")
    # The count is drawn before the tiles: until they are, the third tile is one that the filter leaves out.
    page.wait_for_function("() => document.querySelectorAll('a.tg-tile').length === 10")
    page.locator("a.tg-tile").nth(2).click()
    page.wait_for_selector("text=3 of 10")
    page.wait_for_function("() => location.search.includes('q=card-0001')")
    page.get_by_role("button", name="All samples").click()
    page.wait_for_selector("text=10 samples of 70")
    page.wait_for_function("() => !location.search.includes('sample=')")
    page.wait_for_function("() => document.querySelectorAll('a.tg-tile').length === 10")
    assert "q=card-0001" in page.url


def test_the_picture_zooms_to_its_own_pixels_with_a_scale_in_mm(url: str, page: Any) -> None:
    visit(page, f"{url}/datasets?dataset=cards")
    page.locator("a.tg-tile").first.click()
    stage = page.locator(".stage")
    stage.wait_for()
    assert page.locator(".bar").inner_text().endswith("mm")
    page.get_by_role("button", name="1:1").click()
    shown = page.locator(".scale").inner_text()
    assert shown == "100 %"
    pixel = page.evaluate(
        "() => { const s = [...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.stage')).shadowRoot;"
        " return s.querySelector('svg').viewBox.baseVal.width / s.querySelector('.stage').clientWidth }"
    )
    assert pixel == pytest.approx(1, abs=1e-3)
    page.locator("button.outlines").click()
    assert page.locator("button.outlines").get_attribute("aria-pressed") == "false"


def test_a_live_chart_grows_in_place_and_keeps_its_zoom(url: str, ws_served: Workspace, page: Any) -> None:
    run = add_run(ws_served, "cards@v1", state="running")
    with locked(run.path / ".lock"):
        visit(page, f"{url}/monitor?run={run.id}")
        page.wait_for_selector(".tg-chart .main-svg")
        area = page.locator(".tg-chart .nsewdrag").first.bounding_box()
        page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + 20)
        page.mouse.down()
        page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + 100, steps=5)
        page.mouse.up()
        page.wait_for_function("() => document.querySelector('.tg-chart').layout.xaxis.range[0] > 0.5")
        zoomed = page.evaluate("() => document.querySelector('.tg-chart').layout.xaxis.range")
        page.evaluate("() => { document.querySelector('.tg-chart').still = true }")
        run.append("metrics", step=9, epoch=3, batch=1, values={"train/loss": 0.1}, attempt=1)
        page.wait_for_function("() => document.querySelector('.tg-chart').data[0].x.includes(9)")
        kept = page.evaluate(
            "() => { const c = document.querySelector('.tg-chart'); return [c.still, c.layout.xaxis.range] }"
        )
        assert kept == [True, zoomed]


def test_images_are_uploaded_checked_and_imported(url: str, page: Any, tmp_path: Path) -> None:
    for number in (900, 901):
        cv2.imwrite(str(tmp_path / f"upload-{number}.png"), card(number))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    visit(page, f"{url}/datasets?view=import")
    page.set_input_files("input[type=file]", [str(path) for path in sorted(tmp_path.iterdir())])
    name = page.get_by_role("combobox", name="Dataset")
    name.fill("uploaded")
    name.press("Enter")
    page.get_by_role("button", name="Check first").click()
    page.wait_for_selector("text=would be taken")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_role("button", name="Look at the dataset").click()
    page.wait_for_selector("a.tg-tile")
    assert page.locator("a.tg-tile").count() == 2


def test_a_form_change_shows_in_the_yaml_and_the_plan(url: str, page: Any) -> None:
    visit(page, f"{url}/train?dataset=cards@v1")
    page.get_by_role("tab", name="Optimization").click()
    rate = (
        page.get_by_role("spinbutton", name="Learning rate")
        .or_(page.get_by_role("textbox", name="Learning rate"))
        .first
    )
    rate.fill("0.0042")
    rate.press("Enter")
    page.wait_for_function(
        "() => [...document.querySelectorAll('textarea')].some((t) => t.value.includes('learning_rate: 0.0042'))"
    )
    reset = page.get_by_role("button", name="reset to").first
    reset.wait_for()
    assert reset.is_enabled()
