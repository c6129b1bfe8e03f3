"""The annotator in a real browser: every kind is drawn, painted, zoomed and taken back, and the log says so."""

from __future__ import annotations

import itertools
import json
from typing import Any

import cv2
import numpy as np
import pytest

from tests.app.annotator.conftest import CARD, HEIGHT, WIDTH, Hand, Lab, open_hand, shape, used, with_shapes
from trugrade_core.data import rle
from trugrade_core.data.images import probe
from trugrade_core.schema import Mask
from trugrade_core.workspace import write_atomic

pytestmark = pytest.mark.browser


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_box_is_dragged_in_image_pixels(lab: Lab, hand: Hand) -> None:
    hand.tool("b")
    hand.drag((100, 150), (400, 500))
    (commit,) = lab.wait(1)
    (op,) = commit["ops"]
    assert op["op"] == "put"
    assert op["label"] == "outer"
    assert op["replaces"] is None
    assert op["value"]["xyxy"] == pytest.approx([100, 150, 400, 500], abs=1e-3)
    assert (commit["sample"], commit["who"]) == ("sample0", "maria")
    hand.saved()
    assert hand.page.locator(".saved").inner_text().rpartition("\n")[2].startswith("Saved ")


@pytest.mark.parametrize("ratio", [1, 2])
def test_at_forty_times_a_click_is_exact_and_pixels_are_crisp(lab: Lab, browser: Any, ratio: int) -> None:
    lab.setup()
    context = browser.new_context(device_scale_factor=ratio)
    hand = open_hand(context, lab.url)
    hand.zoom_to(200, 300, 40)
    assert hand.ask("app.view.scale") == 40
    image = cv2.imread(str(lab.folder / "0.png"))[..., ::-1]
    # Within a pixel all is one colour: its own, up to a twentieth of a pixel before its edge.
    for x, y in ((200, 300), (203, 297)):
        for dx, dy in ((0, 0), (-0.45, -0.45), (0.45, 0.45), (0.45, -0.45)):
            place = f"({x + dx + 0.5} * app.view.scale + app.view.tx) * {ratio}, ({y + dy + 0.5} * app.view.scale + app.view.ty) * {ratio}"
            shown = hand.ask(f"[...app.pen.image.getImageData(...[{place}].map(Math.floor), 1, 1).data]")
            assert shown[:3] == image[y, x].tolist()
    hand.keys("b")
    hand.click(199.25, 299.5)
    hand.click(203.75, 302.0)
    (commit,) = lab.wait(1)
    assert commit["ops"][0]["value"]["xyxy"] == pytest.approx([199.25, 299.5, 203.75, 302.0], abs=0.02)
    context.close()


def test_a_polygon_is_closed_by_its_first_point_and_changed_point_by_point(lab: Lab, hand: Hand) -> None:
    hand.tool("g")
    for point in ((100, 100), (300, 120), (320, 400), (120, 380), (100, 100)):
        hand.click(*point)
    lab.wait(1)
    hand.keys("v")
    hand.drag((300, 120), (340, 90))
    moved = lab.wait(2)[1]["ops"][0]
    assert moved["value"]["points"][1] == pytest.approx([340, 90], abs=1e-3)
    hand.saved()
    hand.page.mouse.dblclick(*hand.at(110, 240))
    inserted = lab.wait(3)[2]["ops"][0]["value"]["points"]
    assert len(inserted) == 5
    hand.saved()
    hand.keys("Delete")
    assert len(lab.wait(4)[3]["ops"][0]["value"]["points"]) == 4
    hand.saved()
    log = lab.log()
    for before, after in itertools.pairwise(log):
        assert after["ops"][0]["replaces"] == f"{before['commit']}.0"


def test_an_outline_that_crosses_itself_is_refused_and_can_be_mended(lab: Lab, hand: Hand) -> None:
    hand.tool("g")
    for point in ((100, 100), (300, 300), (300, 100), (100, 300)):
        hand.click(*point)
    hand.keys("Enter")
    assert "crosses itself" in hand.page.locator(".says").inner_text()
    assert hand.ask("app.draft.points.length") == 4
    hand.keys("Backspace", "Backspace")
    hand.click(120, 320)
    hand.keys("Enter")
    (commit,) = lab.wait(1)
    assert len(commit["ops"][0]["value"]["points"]) == 3


def test_a_change_that_would_cross_itself_is_refused(lab: Lab, hand: Hand) -> None:
    hand.tool("g")
    for point in ((100, 100), (300, 100), (300, 300), (100, 300)):
        hand.click(*point)
    hand.keys("Enter")
    lab.wait(1)
    hand.keys("v")
    hand.drag((100, 100), (400, 200))
    assert "crosses itself" in hand.page.locator(".says").inner_text()
    assert hand.ask("[...app.doc.shapes.values()][0].value.points[0].map(Math.round)") == [100, 100]
    assert len(lab.log()) == 1


def test_four_corners_snap_to_the_card_and_only_when_taken(lab: Lab, hand: Hand) -> None:
    hand.tool("q")
    for (x, y), (dx, dy) in zip(CARD, ((3, -2), (-2, 3), (2, 2), (-3, -2)), strict=True):
        hand.click(x + dx, y + dy)
    hand.until("app.draft.kind === 'proposal'")
    assert not lab.log()
    hand.keys("Enter")
    (commit,) = lab.wait(1)
    assert np.abs(np.array(commit["ops"][0]["value"]["points"]) - CARD).max() < 0.25
    drawn = CARD + np.array([[2, 2], [-2, 2], [-2, -2], [2, -2]])
    for x, y in drawn:
        hand.click(x, y)
    hand.keys("s")  # as drawn
    kept = np.array(lab.wait(2)[1]["ops"][0]["value"]["points"])
    assert np.abs(kept - drawn).max() < 0.01


def test_what_is_drawn_outside_the_image_is_clipped(lab: Lab, hand: Hand) -> None:
    hand.tool("b")
    hand.drag((400, 700), (WIDTH + 30, HEIGHT + 5))
    assert lab.wait(1)[0]["ops"][0]["value"]["xyxy"][2:] == [WIDTH - 0.5, HEIGHT - 0.5]
    hand.saved()
    hand.keys("2", "m")
    hand.drag((570, 400), (WIDTH + 40, 420), (WIDTH + 40, 600), (580, 600))
    value = lab.wait(2)[1]["ops"][0]["value"]
    mask = rle.decode(Mask.model_validate(value))
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask[:, -1].any()
    assert mask[600, 581]
    assert not mask[500, :].any()


def test_what_fills_the_view_is_not_tinted_and_what_is_small_in_it_is(lab: Lab, browser: Any) -> None:
    """A tint over the whole card would change the colours that are graded."""
    with_shapes(lab, [shape("card", [20, 20, 580, 800]), shape("dent", [100, 600, 160, 660])])

    def tint(hand: Hand, x: float, y: float) -> int:
        hand.page.wait_for_timeout(150)
        place = f"toScreen({x}, {y}).map((v) => Math.round((v + app.size.margin) * app.size.ratio))"
        to_screen = "toScreen = (...p) => p.map((v, i) => (v + 0.5) * app.view.scale + [app.view.tx, app.view.ty][i])"
        return int(hand.ask(f"(({to_screen}) => app.pen.shapes.getImageData(...{place}, 1, 1).data[3])()"))

    for hand in used(lab, browser):
        assert (tint(hand, 300, 300), tint(hand, 130, 630) > 0) == (0, True)
        hand.move(300, 400)
        hand.keys("-", "-", "-", "-")  # from afar the card is small as well
        assert tint(hand, 300, 300) > 0


# --- painting ---------------------------------------------------------------------------------------------------------


def test_strokes_paint_one_mask_and_the_eraser_takes_away(lab: Lab, hand: Hand) -> None:
    hand.tool("2")
    hand.keys("m")
    hand.drag((100, 200), (300, 200))
    hand.drag((300, 200), (300, 400))
    log = lab.wait(2)
    first, second = (rle.decode(Mask.model_validate(c["ops"][0]["value"])) for c in log)
    assert log[0]["ops"][0]["annotation"] == log[1]["ops"][0]["annotation"]
    assert (second | first == second).all()
    assert first[200, 100:301].all()
    assert not first[209, 200]  # the brush is 15 wide
    assert first[207, 200]
    hand.keys("e")
    hand.drag((200, 180), (200, 220))
    third = rle.decode(Mask.model_validate(lab.wait(3)[2]["ops"][0]["value"]))
    assert not third[200, 200]
    assert third[200, 250]
    hand.saved()
    hand.keys("Control+z")
    hand.saved()
    undone = lab.wait(4)[3]["ops"][0]
    assert undone["value"] == log[1]["ops"][0]["value"]


def test_in_mask_mode_a_class_has_one_mask_and_polygons_fill_it(lab: Lab, browser: Any) -> None:
    lab.setup(mode="mask")
    for hand in used(lab, browser):
        hand.tool("2")
        hand.keys("m")
        hand.drag((100, 200), (150, 200))
        lab.wait(1)
        hand.keys("Escape", "g")
        for point in ((300, 300), (400, 300), (400, 400), (300, 400)):
            hand.click(*point)
        hand.keys("Enter")
        first, second = (c["ops"][0] for c in lab.wait(2))
        assert first["annotation"] == second["annotation"]
        mask = rle.decode(Mask.model_validate(second["value"]))
        assert mask[200, 120]
        assert mask[350, 350]
        assert mask[301:400, 301:400].all()


def test_a_mask_that_cannot_be_read_is_told_and_hides_nothing_else(lab: Lab, browser: Any) -> None:
    broken = {"type": "mask", "counts": rle.encode(np.ones((5, 4), bool)).counts, "size_hw": [HEIGHT, WIDTH]}
    with_shapes(lab, [shape("a", [100, 100, 300, 300]), shape("b", [0, 0, 1, 1]) | {"value": broken}])
    for hand in used(lab, browser):
        assert "A mask is not drawn: a mask's runs cover 20 pixels" in hand.page.locator(".says").inner_text()
        hand.click(100, 200)
        hand.keys("Delete")
        assert lab.wait(1)[0]["ops"][0]["annotation"] == "a"


# --- taking back, copying, moving -------------------------------------------------------------------------------------


def test_undo_and_redo_are_said_to_the_log(lab: Lab, hand: Hand) -> None:
    hand.tool("b")
    hand.drag((100, 100), (200, 200))
    hand.keys("Control+z")
    assert hand.ask("app.doc.shapes.size") == 0
    hand.keys("Control+Shift+Z")
    log = lab.wait(3)
    assert [c["ops"][0]["op"] for c in log] == ["put", "delete", "put"]
    assert log[2]["ops"][0]["value"] == log[0]["ops"][0]["value"]
    assert log[2]["ops"][0]["replaces"] == f"{log[1]['commit']}.0"


def test_shapes_are_copied_into_the_next_sample(lab: Lab, hand: Hand) -> None:
    hand.tool("b")
    hand.drag((100, 100), (200, 250))
    lab.wait(1)
    hand.keys("v", "Control+c", "n")
    hand.until("app.data.sample === 'sample1'")
    hand.ready()
    hand.keys("Control+v")
    commit = lab.wait(2)[1]
    assert commit["sample"] == "sample1"
    assert commit["ops"][0]["value"] == lab.log()[0]["ops"][0]["value"]
    assert commit["ops"][0]["annotation"] != lab.log()[0]["ops"][0]["annotation"]


def test_the_next_sample_is_there_before_it_is_asked_for(lab: Lab, hand: Hand) -> None:
    asked: list[str] = []
    hand.page.wait_for_timeout(800)
    hand.page.on("request", lambda r: asked.append(r.url) if "/test/" in r.url else None)
    hand.move(300, 400)
    hand.keys("n")
    hand.until("app.data.sample === 'sample1' && app.timing.shown > 0")
    assert not [url for url in asked if url.endswith("/1.png")]
    hand.keys("p")
    assert hand.ask("app.ahead !== 0 && app.picture.url.endsWith('/0.png')")
    hand.until("app.data.sample === 'sample0' && app.timing.workable > 0")


def test_a_sample_that_was_not_loaded_ahead_is_shown_whole(lab: Lab, browser: Any) -> None:
    """Wherever the sample before was looked at, and though both are of one size."""
    lab.setup()
    context = browser.new_context()
    hand = open_hand(context, lab.url)
    hand.page.route("**/test/2.png", lambda route: hand.page.wait_for_timeout(1500) or route.continue_())
    hand.page.reload()
    hand.ready()
    hand.zoom_to(500, 700, 8)
    hand.keys("p")
    assert hand.ask("app.ahead !== 0 && app.picture.url.endsWith('/0.png')")
    hand.until("app.data.sample === 'sample2' && app.arrived")
    assert hand.ask("app.fitted")
    context.close()


def test_arrows_move_by_a_pixel_in_one_step(lab: Lab, browser: Any) -> None:
    with_shapes(lab, [shape("a", [100, 100, 200, 200])])
    for hand in used(lab, browser):
        hand.click(100, 150)
        hand.keys("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowLeft")
        (commit,) = lab.wait(1)
        assert commit["ops"][0]["value"]["xyxy"] == pytest.approx([101.9, 110, 201.9, 210])
        assert commit["ops"][0]["replaces"] == "e-a"


def test_nothing_is_moved_by_dragging_what_is_not_selected(lab: Lab, browser: Any) -> None:
    with_shapes(lab, [shape("a", [100, 100, 400, 400])])
    for hand in used(lab, browser):
        before = hand.ask("app.view.tx")
        hand.drag((200, 200), (260, 200))
        assert hand.ask("app.view.tx") > before  # it is the picture that moves
        hand.page.wait_for_timeout(700)
        assert not lab.log()


# --- the page round it ------------------------------------------------------------------------------------------------


def test_keys_are_the_page_s_own_while_the_hand_is_elsewhere(lab: Lab, hand: Hand) -> None:
    hand.page.mouse.click(5, 5)  # beside it: from the page's opening until then the keys are the annotator's
    hand.keys("b")
    assert hand.ask("app.tool") == "select"
    hand.move(300, 400)
    hand.keys("b")
    assert hand.ask("app.tool") == "box"


def test_the_cheat_sheet_names_every_key(hand: Hand) -> None:
    hand.move(300, 400)
    hand.keys("?")
    sheet = hand.page.locator(".sheet")
    assert sheet.is_visible()
    named = set(sheet.locator("kbd").all_inner_texts())
    assert set(hand.ask("[...app.keys.keys()]")) <= named
    hand.keys("Escape")
    assert not sheet.is_visible()


def test_more_classes_than_digits_go_on_with_shift_and_the_saved_state_stays_in_sight(lab: Lab, browser: Any) -> None:
    """Thirty classes are more than the panel's height: it scrolls under the saved state."""
    keys = [str(n) if n < 10 else f"Shift+{n - 9}" if n < 19 else "" for n in range(1, 31)]
    lab.setup(
        classes=[{"name": f"kind {n}", "shape": "box", "color": "#19d3ff", "key": k} for n, k in enumerate(keys, 1)]
    )
    for hand in used(lab, browser):
        hand.move(300, 400)
        hand.keys("Shift+Digit2", "b")
        hand.drag((100, 100), (200, 200))
        assert lab.wait(1)[0]["ops"][0]["label"] == "kind 11"
        hand.page.locator(".states").scroll_into_view_if_needed()
        inside = "app.root.querySelector('.saved').getBoundingClientRect().top >= app.root.querySelector('.side').getBoundingClientRect().top - 1"
        assert hand.ask(f"app.root.querySelector('.side').scrollTop > 0 && {inside}")


def test_every_button_says_what_it_does(hand: Hand) -> None:
    silent = hand.ask("[...app.root.querySelectorAll('button')].filter((b) => !(b.title || b.ariaLabel || b.textContent.trim())).length")  # fmt: skip
    assert silent == 0


def test_brightness_changes_what_is_seen_alone(lab: Lab, hand: Hand) -> None:
    before = (lab.folder / "0.png").read_bytes()
    pixels = "[...app.pen.image.getImageData(200, 200, 9, 9).data].join()"
    shown = hand.ask(pixels)
    hand.move(300, 400)
    hand.keys(">", "}", "k")
    assert "brightness(1.1) contrast(1.1)" in hand.ask("app.canvas.image.style.filter")
    assert hand.ask(pixels) == shown
    hand.keys("\\")
    assert hand.ask("app.canvas.image.style.filter") == "none"
    assert (lab.folder / "0.png").read_bytes() == before


def test_a_pad_moves_and_a_notch_zooms(hand: Hand) -> None:
    hand.zoom_to(300, 400, 2)
    scale, tx = hand.ask("[app.view.scale, app.view.tx]")
    hand.page.mouse.wheel(9, 4)
    hand.until(f"app.view.tx === {tx - 9}")
    assert hand.ask("app.view.scale") == scale
    hand.page.mouse.wheel(0, 120)
    hand.until(f"app.view.scale < {scale}")


def test_a_turned_picture_stands_as_in_the_lab_s_frame(lab: Lab, browser: Any) -> None:
    """A JPEG stored on its side with EXIF orientation 6: what is drawn is upright, in upright pixels."""
    stored = np.full((400, 600, 3), 90, np.uint8)
    stored[:200, :150] = (0, 0, 255)  # BGR: red at the top left of what is stored, the top right of what is shown
    data = bytearray(cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data[2:2] = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (lab.folder / "turned.jpg").write_bytes(bytes(data))
    lab.setup()
    setup = json.loads((lab.folder / "setup.json").read_text())
    setup["samples"][0]["image"] |= {"url": "/test/turned.jpg", "width": 400, "height": 600}
    (lab.folder / "setup.json").write_text(json.dumps(setup))
    for hand in used(lab, browser):
        assert hand.ask("[app.picture.base.width, app.picture.base.height]") == [400, 600]
        place = "[(300.5) * app.view.scale + app.view.tx, 50.5 * app.view.scale + app.view.ty]"
        red, green, blue = hand.ask(f"[...app.pen.image.getImageData(...{place}.map(Math.floor), 1, 1).data]")[:3]
        assert red > 200
        assert max(green, blue) < 60


def test_a_large_image_is_half_from_afar_and_native_near_by(lab: Lab, browser: Any) -> None:
    """As the page does above 40 MP: what is seen at 1:1 are the very pixels of the crop."""
    pixels = np.random.default_rng(1).integers(0, 256, (1800, 2600, 3), np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    ref = probe(data, name="large.png")
    write_atomic(lab.ws.image(ref.sha256, ref.suffix), data)
    lab.setup()
    setup = json.loads((lab.folder / "setup.json").read_text())
    setup["samples"][0]["image"] |= {
        "width": 2600, "height": 1800, "url": f"/lab/image/{ref.sha256}", "half_url": f"/lab/half/{ref.sha256}", "tile_url": f"/lab/crop/{ref.sha256}",
    }  # fmt: skip
    (lab.folder / "setup.json").write_text(json.dumps(setup))
    for hand in used(lab, browser):
        assert hand.ask("app.picture.base.levels[0].width") == 1300
        assert not hand.ask("app.picture.tiles.size")
        hand.zoom_to(1500, 1100, 8)
        hand.until("[...app.picture.tiles.values()].some((t) => t.bitmap && t.x <= 1500 && t.x + t.w > 1500 && t.y <= 1100 && t.y + t.h > 1100)")  # fmt: skip
        hand.page.wait_for_timeout(200)
        x, y = (v - o for v, o in zip(hand.at(1500, 1100), hand.at(-0.5, -0.5), strict=True))
        tx, ty = hand.ask("[app.view.tx, app.view.ty]")
        shown = hand.ask(f"[...app.pen.image.getImageData(Math.round({x + tx}), Math.round({y + ty}), 1, 1).data]")
        assert shown[:3] == pixels[1100, 1500, ::-1].tolist()
