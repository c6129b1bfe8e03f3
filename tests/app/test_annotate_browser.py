"""The Annotate page in a real browser: what is drawn is in the log, through reloads, kills, two tabs and the quick canvas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.app.conftest import HOME, add_sample
from tests.app.serving import CHROMIUM, by_hand, unlabelled, until
from trugrade_core.annotate.saving import state_of
from trugrade_core.data import rle
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Box, Mask, Polygon
from trugrade_core.workflows import creating
from trugrade_core.workspace import Workspace, read_json

pytestmark = pytest.mark.browser
ANNOTATOR = (
    "[...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.stage canvas.shapes'))"
    ".shadowRoot.querySelector('.stage').annotator"
)


class Hand:
    """A person at the page: keys, and a mouse that is moved in whole px of the screen, as mice are."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        page.set_default_timeout(60_000)
        page.goto(url)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector(".stage canvas.shapes", state="attached")
        self.page.wait_for_function(
            f"() => {{ try {{ return {ANNOTATOR}.picture?.width > 0 && {ANNOTATOR}.queue.loaded }} catch {{ return false }} }}"
        )

    def look(self, path: str) -> Any:
        return self.page.evaluate(f"() => {ANNOTATOR}.{path}")

    def key(self, key: str) -> None:
        """Keys are the annotator's while the mouse is over it."""
        if not self.look("over"):
            box = self.page.locator(".stage").bounding_box()
            self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=2)
        self.page.keyboard.press(key)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the image's (x, y) is on the screen."""
        view, border = self.look("view"), self.look("stage.clientLeft")
        box = self.page.locator(".stage").bounding_box()
        left, top, scale = box["x"] + border + view["tx"], box["y"] + border + view["ty"], view["scale"]
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def zoom_to(self, x: float, y: float, scale: float) -> None:
        """Fit, then turn the wheel over (x, y) until a pixel of the image is `scale` px large, at least."""
        self.key("f")
        self.page.wait_for_timeout(60)
        for _ in range(60):
            if self.look("view.scale") >= scale:
                return
            self.page.mouse.move(*map(round, self.place(x, y)))  # as a hand follows the point that it zooms to
            self.page.mouse.wheel(0, -120)
            self.page.wait_for_timeout(15)
        raise AssertionError(f"no zoom of {scale}: {self.look('view.scale')}")

    def click(self, x: float, y: float) -> None:
        sx, sy = self.place(x, y)
        self.page.mouse.move(round(sx), round(sy))
        self.page.mouse.click(round(sx), round(sy))

    def drag(self, x0: float, y0: float, x1: float, y1: float, *, let_go: bool = True) -> None:
        self.page.mouse.move(*map(round, self.place(x0, y0)))
        self.page.mouse.down()
        self.page.mouse.move(*map(round, self.place(x1, y1)), steps=5)
        if let_go:
            self.page.mouse.up()

    def quad(self, corners: Any, scale: float, *, snap: bool) -> None:
        """Draw the four corners, each at that zoom."""
        self.key("q")
        if self.look("snap") != snap:
            self.key("s")
        for x, y in corners:
            self.zoom_to(x, y, scale)
            self.click(x, y)
        if snap:
            self.page.wait_for_function(f"() => {ANNOTATOR}.draft?.kind === 'proposal' || !{ANNOTATOR}.draft")
            self.key("Enter")


@pytest.fixture
def tab(chromium: Any) -> Iterator[Callable[[str], Hand]]:
    """tab(address): a browser of its own (cookies and all) at the page."""
    opened = []

    def call(url: str) -> Hand:
        context = chromium.new_context(viewport={"width": 1280, "height": 720})
        opened.append(context)
        return Hand(context.new_page(), url)

    yield call
    for context in opened:
        context.close()


Tab = Callable[[str], Hand]


# --- saving -------------------------------------------------------------------------------------------------------------


def test_a_stroke_is_saved_said_so_and_there_after_a_reload(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = unlabelled(ds)
    hand = tab(f"{url}&sample={id}")
    hand.key("b")
    hand.drag(10, 12, 50, 80)
    (entry,) = until(lambda: state_of(ds, id).shown)
    assert isinstance(entry.value, Box) and entry.tool == "annotator"
    assert np.abs(np.array(entry.value.xyxy) - [10, 12, 50, 80]).max() < 0.2
    hand.page.get_by_text("Saved").first.wait_for()
    hand.key("d")
    until(lambda: ds.samples()[id].status == "done")
    hand.page.get_by_text("4 of 4 done").wait_for()
    hand.page.reload()
    hand.ready()
    assert hand.look("doc.shapes.size") == 1 and hand.look("data.status") == "done"
    hand.key("Control+z")  # nothing left to take back after a reload, and nothing is
    assert len(by_hand(ds)) == 2


def test_next_and_previous_by_key_stay_in_the_filter_and_in_the_address(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    ids = list(ds.samples())
    hand = tab(f"{url}&status=done")
    hand.page.get_by_text("1 of 3").wait_for()
    for step, at, said in (("n", 1, ""), ("n", 2, ""), ("n", 2, "This is the last sample of the list."), ("p", 1, "")):
        hand.key(step)
        hand.page.wait_for_function(f"() => {ANNOTATOR}.data.sample === '{ids[at]}' && !{ANNOTATOR}.ahead")
        assert hand.look("says.textContent") == said
    hand.page.wait_for_function(f"() => location.search.includes('sample={ids[1]}')")
    assert "status=done" in hand.page.url


def test_what_was_drawn_just_before_the_page_was_left_is_saved(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = unlabelled(ds)
    hand = tab(f"{url}&sample={id}")
    hand.key("b")
    hand.drag(10, 12, 50, 80)
    hand.page.goto(url.replace("/annotate", "/datasets"))  # in the same moment
    hand.page.wait_for_selector("h1")
    hand.page.goto(f"{url}&sample={id}")
    hand.ready()
    until(lambda: state_of(ds, id).shown)
    hand.page.wait_for_function(f"() => {ANNOTATOR}.doc.shapes.size === 1")
    assert len(by_hand(ds)) == 1


def test_a_browser_killed_in_a_stroke_leaves_what_was_finished_and_no_half(
    cards: tuple[str, Dataset], tmp_path: Path
) -> None:
    url, ds = cards
    id = unlabelled(ds)
    script = tmp_path / "kill.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from playwright.sync_api import sync_playwright\nfrom tests.app.test_annotate_browser import Hand\n"
        "with sync_playwright() as p:\n"
        " b = p.chromium.launch(executable_path=sys.argv[2], args=['--no-sandbox', '--disable-gpu'])\n"
        " h = Hand(b.new_page(viewport={'width': 1280, 'height': 720}), sys.argv[1]); h.key('b'); h.drag(10, 12, 50, 80)\n"
        " h.page.get_by_text('Saved').first.wait_for(); h.drag(5, 5, 30, 30, let_go=False); print('now', flush=True); h.page.wait_for_timeout(60000)\n"
    )
    assert CHROMIUM
    words = [sys.executable, str(script), f"{url}&sample={id}", CHROMIUM, str(HOME.parents[1])]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline().strip() == b"now"
        for child in psutil.Process(run.pid).children(recursive=True):
            os.kill(child.pid, signal.SIGKILL)
        run.kill()
    time.sleep(1)
    assert len(by_hand(ds)) == 1 and len(state_of(ds, id).shown) == 1


# --- two people -----------------------------------------------------------------------------------------------------------


def test_two_tabs_see_each_others_saves_and_who_else_is_there(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = unlabelled(ds)
    ana, ben = tab(f"{url}&sample={id}"), tab(f"{url}&sample={id}")
    ana.key("b")
    ana.drag(10, 12, 50, 80)
    ben.page.wait_for_function(f"() => {ANNOTATOR}.doc.shapes.size === 1")
    ben.page.get_by_text("also open:").first.wait_for()
    (entry,) = state_of(ds, id).shown
    assert ben.look("doc.shapes.values().next().value.entry") == entry.entry


def test_a_reload_is_nobody_else_and_who_comes_moves_nothing(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = next(iter(ds.samples()))
    ana = tab(f"{url}&sample={id}")
    for _ in range(2):
        ana.page.wait_for_function("() => document.cookie.includes('tg_browser=')")
        ana.page.reload()
        ana.ready()
    other = ana.page.context.new_page()  # another tab of hers
    Hand(other, f"{url}&sample={id}")
    ana.page.wait_for_timeout(5_000)  # it looks every four seconds
    assert ana.page.get_by_text("also open:").count() == 0
    before = ana.page.locator(".stage").bounding_box()
    tab(f"{url}&sample={id}")
    ana.page.get_by_text("also open:").first.wait_for()
    assert ana.page.locator(".stage").bounding_box() == before


def test_a_tile_whose_picture_is_still_coming_says_so(cards: tuple[str, Dataset], chromium: Any) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.route("**/lab/thumb/**", lambda _route: None)  # never answered
    page.goto(cards[0].replace("/annotate?", "/datasets?") + "&view=browse")
    page.wait_for_selector(".tg-shot .tg-pic")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.tg-pic')).animationName") == "tg-coming"
    context.close()


def test_nothing_left_to_do_is_said_without_harm_to_the_page(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    ds.put_samples([s.model_copy(update={"status": "done"}) for s in ds.samples().values()])
    hand = tab(url)
    before = hand.page.locator(".stage").bounding_box()
    sheets = hand.page.evaluate("() => getComputedStyle(document.documentElement).getPropertyValue('--tg-accent')")
    hand.page.get_by_role("button", name="Next unlabelled").click()
    hand.page.get_by_text("Every other sample here is done").wait_for()
    hand.page.wait_for_timeout(500)
    assert hand.page.locator(".stage").bounding_box() == before
    assert sheets and sheets == hand.page.evaluate(
        "() => getComputedStyle(document.documentElement).getPropertyValue('--tg-accent')"
    )


def test_the_keys_of_a_page_just_opened_are_the_annotators_but_not_those_of_who_writes(
    cards: tuple[str, Dataset], tab: Tab
) -> None:
    hand = tab(cards[0])
    assert not hand.look("over")
    hand.page.keyboard.press("?")
    hand.page.get_by_text("Close (Esc)").wait_for()
    hand.page.keyboard.press("Escape")
    comment = hand.page.get_by_label("Comment on this sample")
    comment.click()
    hand.page.keyboard.type("b?")
    hand.page.wait_for_timeout(5_000)  # the page is drawn anew meanwhile
    hand.page.keyboard.type("v")
    assert comment.input_value() == "b?v" and hand.look("tool") == "select"


def test_two_that_change_the_same_shape_at_once_are_shown_and_settled(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = next(iter(ds.samples()))
    name = 'Ana "O\'Brien" / Zoë 🙂 ש'
    ana, ben = tab(f"{url}&sample={id}"), tab(f"{url}&sample={id}")
    head = next(e for e in state_of(ds, id).shown if e.label == "graphical_border")
    for hand in (ana, ben):
        hand.key("v")
        hand.click(30, 16)  # the inner box's upper side selects it
        hand.page.wait_for_function(f"() => {ANNOTATOR}.selected.size === 1")
    for hand, right in ((ana, 50), (ben, 46)):
        hand.drag(54, 48, right, 48)  # its right side, before the other's save has come
    until(lambda: len(ds.conflicts()) == 1)
    assert {h.value.xyxy[2] for h in ds.conflicts()[0].heads if isinstance(h.value, Box)} != {head.value.xyxy[2]}  # type: ignore[union-attr]
    ben.page.get_by_text("Two people changed the same").first.wait_for()
    ben.page.get_by_role("button", name="Keep this one").nth(1).wait_for()  # drawn after the words above it
    assert ben.page.get_by_role("button", name="Keep this one").count() == 2
    ben.page.get_by_placeholder("why this one").fill(f"{name} was nearer")
    ben.page.get_by_placeholder("why this one").press("Enter")
    ben.page.get_by_role("button", name="Keep this one").first.click()
    until(lambda: not ds.conflicts())
    assert any(e.reason == f"{name} was nearer" for e in ds.log())
    ben.page.get_by_text("Two people changed the same").first.wait_for(state="detached")


def test_a_name_of_any_characters_goes_with_what_is_drawn_and_is_remembered(
    cards: tuple[str, Dataset], tab: Tab
) -> None:
    url, ds = cards
    id = unlabelled(ds)
    name = 'Zoë "O\'Brien" / ../ 🙂 שלום'
    hand = tab(f"{url}&sample={id}")
    hand.page.locator("[data-testid=stPopover] button").last.click()
    box = hand.page.get_by_role("combobox", name="I am")
    box.fill(name)
    box.press("Enter")
    hand.page.wait_for_function(f"() => {ANNOTATOR}.data.who === {json.dumps(name)}")
    hand.key("Escape")
    hand.page.mouse.click(640, 20)
    hand.key("b")
    hand.drag(10, 12, 50, 80)
    assert until(lambda: state_of(ds, id).shown)[0].who == name
    hand.page.reload()
    hand.ready()
    assert hand.look("data.who") == name


# --- help ---------------------------------------------------------------------------------------------------------------------


def test_edges_are_suggested_accepted_by_key_and_not_offered_again(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = unlabelled(ds)
    hand = tab(f"{url}&sample={id}&suggest=edges")
    hand.page.wait_for_function(f"() => {ANNOTATOR}.doc.suggestions.size === 1")
    hand.key("a")
    (entry,) = until(lambda: state_of(ds, id).shown)
    assert entry.suggested_by == "card edges by contrast"
    hand.page.reload()
    hand.ready()
    assert hand.look("doc.suggestions.size") == 0 and hand.look("doc.shapes.size") == 1


def test_a_click_segments_what_lies_under_it(cards: tuple[str, Dataset], tab: Tab) -> None:
    url, ds = cards
    id = unlabelled(ds)
    hand = tab(f"{url}&sample={id}")
    hand.key("w")
    hand.click(34, 48)
    hand.page.wait_for_function(f"() => {ANNOTATOR}.doc.suggestions.size === 1")
    hand.key("a")
    assert until(lambda: state_of(ds, id).shown)[0].suggested_by == "GrabCut"


# --- scores, tags, masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "keys", "expected"),
    [("corner_analysis.quality_classification", ["8", "+"], {"type": "score", "score": 8.5}),
     ("surface_analysis.damage_classification", ["1", "4"], {"type": "tags", "tags": ["scratch", "wear"]})],
)  # fmt: skip
def test_scores_and_tags_are_given_by_key(
    lab: tuple[str, Workspace], tab: Tab, task: str, keys: list[str], expected: dict[str, Any]
) -> None:
    url, ws = lab
    name = task.replace(".", " ")
    creating.create_dataset(ws, name, task)
    ds = Dataset(ws, name)
    ds.put_samples([add_sample(ws, n)[0].model_copy(update={"status": "unlabelled"}) for n in (50, 51)])
    id = next(iter(ds.samples()))
    hand = tab(f"{url}?dataset={name}&sample={id}")
    for key in keys:
        hand.key(key)
    until(lambda: [e.value.model_dump(mode="json") for e in state_of(ds, id).shown if e.value] == [expected])
    hand.key("Shift+D")
    until(lambda: ds.samples()[id].status == "done")
    hand.page.wait_for_function(f"() => {ANNOTATOR}.data.sample !== '{id}'")
    assert len(state_of(ds, id).shown) == 1


def test_a_brushed_mask_is_saved_pixel_for_pixel_and_survives_a_reload(lab: tuple[str, Workspace], tab: Tab) -> None:
    url, ws = lab
    creating.create_dataset(ws, "masks", "corner_analysis.damage_detection")
    ds = Dataset(ws, "masks")
    ds.put_samples([add_sample(ws, 60)[0].model_copy(update={"status": "unlabelled"})])
    (id,) = ds.samples()
    hand = tab(f"{url}?dataset=masks&sample={id}")
    hand.key("m")
    hand.drag(20, 30, 50, 30)
    (entry,) = until(lambda: state_of(ds, id).shown)
    assert isinstance(entry.value, Mask) and entry.label == "whitening"
    painted = rle.decode(entry.value)
    assert painted[30, 20:50].all() and not painted[80:].any()
    hand.page.reload()
    hand.ready()
    assert hand.page.evaluate(f"() => [...{ANNOTATOR}.doc.shapes.values()][0].value.counts") == entry.value.counts


# --- real scans -----------------------------------------------------------------------------------------------------------------


def side_errors(points: Any, facts: dict[str, Any]) -> list[float]:
    """Px from each drawn side to the middle of the measured one."""
    points = np.asarray(points)
    found = []
    for n, side in enumerate(("top", "right", "bottom", "left")):
        x1, y1, x2, y2 = facts["sides"][side]["line"]
        along = points[(n + 1) % 4] - points[n]
        normal = np.array([-along[1], along[0]]) / np.linalg.norm(along)
        found.append(abs(float((np.array([(x1 + x2) / 2, (y1 + y2) / 2]) - points[n]) @ normal)))
    return found


@pytest.mark.parametrize("scan", ["Test001.jpg", "Test053.jpg"])
def test_the_outline_of_a_real_scan_is_redrawn_as_four_corners(
    lab: tuple[str, Workspace], tab: Tab, shared: Path, tmp_path: Path, scan: str
) -> None:
    url, ws = lab
    folder = shared / "border_scans_600dpi"
    facts = read_json(folder / "gauge_truth.json")["images"][scan]
    name = f"real {scan[:7]}"
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "images" / scan).symlink_to(folder / "images" / scan)
    labels = folder / "labels_dual_class" / scan.replace("jpg", "txt")
    (tmp_path / "labels" / labels.name).symlink_to(labels)
    import_dataset(ws, tmp_path, name, ImportOptions(classes=("outer_border", "graphical_border")))
    ds = Dataset(ws, name)
    (id,) = ds.samples()
    corners = np.array([facts["corners_ideal"][k] for k in ("tl", "tr", "br", "bl")])
    hand = tab(f"{url}?dataset={name}&sample={id}")
    hand.key("v")
    hand.page.wait_for_function(f"() => {ANNOTATOR}.doc.shapes.size === 2")
    hand.click(*((corners[0] + corners[1]) / 2 + [0, -1]))  # the old box's upper side
    hand.key("Delete")
    until(lambda: [e.label for e in state_of(ds, id).shown] == ["graphical_border"])
    hand.key("1")
    hand.quad(corners, 16, snap=False)
    drawn = until(lambda: [e for e in state_of(ds, id).shown if e.label == "outer_border"])[0].value
    assert isinstance(drawn, Polygon) and len(drawn.points) == 4
    assert np.abs(np.asarray(drawn.points) - corners).max() < 0.06  # px of the image, at 16 px of the screen each
    assert max(side_errors(drawn.points, facts)) < 0.3  # the gauge's own corners and mid-sides differ by its bow
    hand.key("Delete")
    hand.quad(corners + np.array([[4, -3], [-3, 4], [3, 3], [-4, -2]]), 8, snap=True)
    snapped = until(lambda: [e for e in state_of(ds, id).shown if e.label == "outer_border" and e.value != drawn])[
        0
    ].value
    assert isinstance(snapped, Polygon)
    assert max(side_errors(snapped.points, facts)) < 1.0
