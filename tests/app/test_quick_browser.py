"""The quick canvas in a real browser: what is drawn is saved where it was drawn, whatever others save meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.app.serving import by_hand, unlabelled, until
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Box

pytestmark = pytest.mark.browser


class Canvas:
    """A hand at the quick canvas of a sample of 70 x 98 px."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        page.goto(url)
        self.upper = page.locator("canvas.upper-canvas").first
        self.ready()

    def ready(self) -> None:
        self.upper.wait_for()
        self.page.wait_for_timeout(1500)  # its picture
        self.box = self.upper.bounding_box()
        self.scale = min(self.box["width"] / 70, self.box["height"] / 98)

    def move(self, x: float, y: float, *, steps: int = 1) -> None:
        self.page.mouse.move(
            self.box["x"] + (x + 0.5) * self.scale, self.box["y"] + (y + 0.5) * self.scale, steps=steps
        )

    def draw(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.move(x0, y0)
        self.page.mouse.down()
        self.move(x1, y1, steps=5)
        self.page.mouse.up()


@pytest.fixture
def canvas(cards: tuple[str, Dataset], page: Any) -> tuple[Canvas, Dataset, str]:
    """(canvas, dataset, sample) of a sample that nobody has labelled."""
    url, ds = cards
    id = unlabelled(ds)
    return Canvas(page, f"{url}&sample={id}&tool=quick"), ds, id


def said_by(who: str, ds: Dataset, id: str, box: Box, **more: Any) -> None:
    save(
        ds,
        id,
        [Op(op="put", label="outer_border", value=box, **more)],
        who=who,
        tool="annotator",
        commit=f"commit-{who}",
    )


def entries(ds: Dataset, id: str) -> int:
    return len([entry for entry in ds.log() if entry.sample == id])


def test_a_box_is_saved_where_it_was_drawn_and_stays_over_a_reload(canvas: tuple[Canvas, Dataset, str]) -> None:
    hand, ds, id = canvas
    hand.draw(10, 12, 50, 80)
    (entry,) = until(lambda: state_of(ds, id).shown)
    assert isinstance(entry.value, Box) and entry.tool == "canvas"
    assert np.abs(np.array(entry.value.xyxy) - [10, 12, 50, 80]).max() < 1 / hand.scale + 0.25
    hand.draw(4, 5, 20, 30)
    until(lambda: len(state_of(ds, id).shown) == 2)
    hand.page.get_by_role("button", name="Done", exact=True).or_(
        hand.page.get_by_role("radio", name="Done")
    ).first.click()
    until(lambda: ds.samples()[id].status == "done")
    hand.page.reload()
    hand.upper.wait_for()
    hand.page.wait_for_timeout(5000)  # with the stored drawing, and some reruns: nothing is saved again
    assert len(by_hand(ds)) == 3 and len(state_of(ds, id).shown) == 2


def test_a_stroke_is_kept_when_somebody_else_saved_since_and_overwrites_nothing(
    cards: tuple[str, Dataset], page: Any
) -> None:
    url, ds = cards
    id = unlabelled(ds)
    # The page does not look for itself what others saved: it is the stroke's own rerun that finds it.
    page.add_init_script(
        "const every = setInterval; setInterval = (f, ms, ...a) => (ms > 2000 ? 0 : every(f, ms, ...a))"
    )
    hand = Canvas(page, f"{url}&sample={id}&tool=quick")
    hand.draw(10, 12, 50, 80)
    until(lambda: len(state_of(ds, id).shown) == 1)
    said_by("ben", ds, id, Box(xyxy=(30, 30, 60, 90)))
    hand.ready()
    hand.draw(4, 5, 20, 30)
    until(lambda: len(state_of(ds, id).shown) == 3)
    (mine,) = [e for e in state_of(ds, id).shown if isinstance(e.value, Box) and abs(e.value.xyxy[0] - 10) < 1]
    said_by("zoe", ds, id, Box(xyxy=(10, 12, 51, 80)), annotation=mine.annotation, replaces=mine.entry)
    page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    hand.ready()
    hand.draw(5, 60, 25, 90)
    until(lambda: len(state_of(ds, id).shown) == 4)
    assert not ds.conflicts() and entries(ds, id) == 5
    # Left for the other annotator and taken up again, the canvas shows what holds and takes nothing away.
    for tool, there in (("Precision annotator", ".stage canvas.shapes"), ("Quick canvas", "")):
        page.get_by_role("button", name="Tools").click()
        page.get_by_role("radio", name=tool).or_(page.get_by_role("button", name=tool)).first.click()
        page.keyboard.press("Escape")
        page.mouse.click(640, 20)  # the first press beside it closes the popover
        (page.locator(there).first if there else hand.upper).wait_for()
    page.wait_for_timeout(2500)  # with the stored drawing, and some reruns
    assert len(state_of(ds, id).shown) == 4 and entries(ds, id) == 5


def test_somebody_elses_save_in_the_middle_of_a_stroke_does_not_take_it_away(
    canvas: tuple[Canvas, Dataset, str],
) -> None:
    hand, ds, id = canvas
    hand.move(10, 12)
    hand.page.mouse.down()
    hand.move(30, 50, steps=5)
    said_by("ben", ds, id, Box(xyxy=(30, 30, 60, 90)))
    hand.page.get_by_text("saved by ben").first.wait_for()  # the page has looked for what others saved
    hand.move(50, 80, steps=5)
    hand.page.mouse.up()
    until(lambda: len(state_of(ds, id).shown) == 2, 15)
    hand.page.get_by_role("button", name="Show it").click()
    hand.page.get_by_text("saved by ben").first.wait_for(state="detached")
    hand.page.wait_for_timeout(5000)  # with both on it, and some reruns: nothing is said again
    assert len(state_of(ds, id).shown) == 2 and entries(ds, id) == 2
