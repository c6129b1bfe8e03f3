"""The quick canvas while others work on the same sample: no order of events loses a stroke."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.test_annotate_browser import cards, lab, unlabelled, until
from tests.app.test_browser import chromium
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Box

pytestmark = pytest.mark.browser
__all__ = ["cards", "chromium", "lab"]


def test_somebody_elses_save_in_the_middle_of_a_stroke_does_not_take_it_away(
    cards: tuple[str, Dataset], chromium: Any
) -> None:
    url, ds = cards
    id = unlabelled(ds)
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(60_000)
    page.goto(f"{url}&sample={id}&tool=quick")
    upper = page.locator("canvas.upper-canvas").first
    upper.wait_for()
    page.wait_for_timeout(1500)  # its picture
    box = upper.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 120, steps=5)
    op = Op(op="put", label="outer_border", value=Box(xyxy=(30, 30, 60, 90)))
    save(ds, id, [op], who="ben", tool="annotator", commit="commit-ben")
    page.get_by_text("saved by ben").first.wait_for()  # the page has looked for what others saved
    page.mouse.move(box["x"] + 140, box["y"] + 200, steps=5)
    page.mouse.up()
    until(lambda: len(state_of(ds, id).shown) == 2, 15)
    page.get_by_role("button", name="Show it").click()
    page.get_by_text("saved by ben").first.wait_for(state="detached")
    page.wait_for_timeout(5000)  # with both on it, and some reruns: nothing is said again
    assert len(state_of(ds, id).shown) == 2 and len([e for e in ds.log() if e.sample == id]) == 2
    page.close()
