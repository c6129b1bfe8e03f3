"""The annotator in a real browser: nothing is lost or overwritten, by a reload, a kill or somebody else; and what is said
of suggestions and of the sample as a whole."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.app.annotator.conftest import CHROMIUM, FLAGS, Hand, Lab, open_hand, shape, used, with_shapes
from trugrade_core.data import rle
from trugrade_core.schema import Mask

pytestmark = pytest.mark.browser


# --- what is never lost -----------------------------------------------------------------------------------------------


def test_what_was_not_saved_is_said_and_survives_a_reload(lab: Lab, hand: Hand) -> None:
    (lab.folder / "problem.txt").write_text("the disk is full")
    hand.tool("b")
    hand.drag((100, 100), (200, 200))
    hand.drag((300, 300), (350, 380))
    hand.until("app.queue.problem")
    assert "Not saved: the disk is full" in hand.page.locator(".saved").inner_text()
    hand.page.get_by_role("button", name="Try again").click()
    hand.until("app.queue.problem")  # refused again, and said again
    hand.page.reload()
    hand.ready()
    hand.until("app.doc.shapes.size === 2")
    hand.until("app.queue.problem")
    assert not lab.log()
    (lab.folder / "problem.txt").unlink()
    hand.page.get_by_role("button", name="Try again").click()
    log = lab.wait(2)
    assert [round(c["ops"][0]["value"]["xyxy"][0]) for c in log] == [100, 300]
    hand.saved()
    hand.page.reload()
    hand.ready()
    assert hand.ask("[app.doc.shapes.size, app.queue.list.length]") == [2, 0]


def test_a_commit_left_behind_by_going_on_is_saved_to_its_own_sample(lab: Lab, browser: Any) -> None:
    lab.setup(slow_s=1.0)
    for hand in used(lab, browser):
        hand.tool("b")
        hand.drag((100, 100), (200, 200))
        hand.drag((300, 300), (400, 400))
        hand.keys("n")
        hand.until("app.data.sample === 'sample1'")
        log = lab.wait(2)
        assert {c["sample"] for c in log} == {"sample0"}


def test_a_step_that_got_lost_is_said_again(lab: Lab, browser: Any) -> None:
    lab.setup()
    for hand in used(lab, browser):
        hand.until("app.data.next.length")
        hand.page.wait_for_timeout(500)
        hand.ask("app.c = { setTriggerValue: () => { app.lost = true } }")
        hand.move(300, 400)
        hand.keys("n", "b")
        assert hand.ask("app.lost && app.picture.url.endsWith('/1.png') && app.data.sample === 'sample0'")
        hand.drag((100, 100), (200, 200))  # nothing can be drawn on a picture whose shapes are not there
        hand.page.mouse.move(5, 5)
        assert hand.ask("app.draft === null && app.queue.list.length === 0")
        hand.until("app.says.textContent.includes('does not answer')")
        assert hand.ask("app.picture.url.endsWith('/0.png')")
        assert not lab.log()


def kill(folder: Path) -> None:
    """Every process of the browser whose profile lies in `folder`, at once, as a power cut would."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or []):
            process.send_signal(signal.SIGKILL)


@pytest.fixture
def profile(lab: Lab, playwright: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens the page in a browser with a profile on disk, which `kill` can end and another open again."""
    contexts: list[Any] = []

    def opened() -> Hand:
        contexts.append(
            playwright.chromium.launch_persistent_context(str(tmp_path), executable_path=CHROMIUM, args=FLAGS)
        )
        return open_hand(contexts[-1], lab.url)

    lab.setup()
    yield opened, tmp_path
    kill(tmp_path)


def test_a_browser_killed_in_the_middle_of_a_stroke_loses_nothing_but_its_end(lab: Lab, profile: Any) -> None:
    opened, folder = profile
    hand = opened()
    hand.tool("2")
    hand.keys("m")
    hand.move(100, 200)
    hand.page.mouse.down()
    for x in range(110, 310, 10):
        hand.move(x, 200)
        hand.page.wait_for_timeout(25)
    assert not lab.log()
    hand.page.wait_for_timeout(300)
    kill(folder)
    hand = opened()
    (commit,) = lab.wait(1)
    mask = rle.decode(Mask.model_validate(commit["ops"][0]["value"]))
    assert mask[200, 100:230].all()
    assert "interrupted" in hand.page.locator(".says").inner_text()


def test_a_browser_killed_right_after_a_commit_loses_nothing(lab: Lab, profile: Any) -> None:
    """The lab is too slow to take it before the kill; localStorage alone would lose it."""
    opened, folder = profile
    (lab.folder / "problem.txt").write_text("not yet")
    hand = opened()
    hand.tool("b")
    hand.drag((100, 100), (200, 200))
    hand.page.wait_for_timeout(100)
    kill(folder)
    (lab.folder / "problem.txt").unlink()
    opened()
    (commit,) = lab.wait(1)
    assert commit["ops"][0]["value"]["xyxy"] == pytest.approx([100, 100, 200, 200], abs=1e-3)


def test_an_open_polygon_is_open_again_after_a_reload(lab: Lab, hand: Hand) -> None:
    hand.tool("g")
    for point in ((100, 100), (300, 100), (300, 300)):
        hand.click(*point)
    hand.page.reload()
    hand.ready()
    hand.until("app.draft?.points.length === 3")
    hand.move(100, 280)
    hand.click(100, 280)
    hand.keys("Enter")
    assert len(lab.wait(1)[0]["ops"][0]["value"]["points"]) == 4


def test_two_people_who_change_one_shape_are_told_and_can_settle_it(lab: Lab, browser: Any) -> None:
    with_shapes(lab, [shape("a", [100, 100, 300, 300])])
    contexts = [browser.new_context() for _ in range(2)]
    maria, jo = (open_hand(c, f"{lab.url}/?who={who}") for c, who in zip(contexts, ("maria", "jo"), strict=True))
    for hand, x in ((maria, 320), (jo, 280)):
        hand.click(100, 200)
        hand.drag((300, 200), (x, 200))
        hand.saved()
    log = lab.wait(2)
    assert [c["ops"][0]["replaces"] for c in log] == ["e-a", "e-a"]
    assert "jo and maria changed it at the same time" in jo.page.locator(".conflict").inner_text()
    jo.keys("Shift+X")
    ops = lab.wait(3)[2]["ops"]
    assert {op["replaces"] for op in ops} == {f"{c['commit']}.0" for c in log}
    jo.saved()
    jo.until("!app.root.querySelector('.conflict')")
    for context in contexts:
        context.close()


def test_what_somebody_says_during_a_drag_is_not_overwritten(lab: Lab, browser: Any) -> None:
    """Jo's save arrives while maria holds the shape: hers replaces what she saw, so both stand, as a conflict."""
    with_shapes(lab, [shape("a", [100, 100, 300, 300])])
    for hand in used(lab, browser):
        hand.click(100, 200)
        hand.move(300, 200)
        hand.page.mouse.down()
        hand.move(330, 200, steps=4)
        told = "{ ...app.data, rev: 'other', shapes: [{ ...app.data.shapes[0], entry: 'e-jo', who: 'jo', value: { type: 'box', xyxy: [100, 100, 250, 300] } }] }"
        hand.ask(f"app.told({told})")
        hand.page.mouse.up()
        (commit,) = lab.wait(1)
        assert [op["replaces"] for op in commit["ops"]] == ["e-a"]
        assert commit["ops"][0]["value"]["xyxy"][2] == pytest.approx(330, abs=0.01)


def test_two_fingers_move_and_spread_the_picture(lab: Lab, browser: Any) -> None:
    lab.setup()
    context = browser.new_context(has_touch=True)
    hand = open_hand(context, lab.url)
    tool = context.new_cdp_session(hand.page)
    (ax, ay), (bx, by) = hand.at(200, 400), hand.at(400, 400)
    before = hand.ask("app.view.scale")

    def touch(kind: str, *points: tuple[float, float]) -> None:
        tool.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]},
        )

    hand.keys("b")
    touch("touchStart", (ax, ay))
    touch("touchStart", (ax, ay), (bx, by))
    for step in range(1, 11):
        touch("touchMove", (ax - 5 * step, ay), (bx + 5 * step, by))
    touch("touchEnd")
    hand.until(f"app.view.scale > {before} * 1.3")
    x, y = hand.at(300, 400)
    assert x == pytest.approx((ax + bx) / 2, abs=2)
    assert y == pytest.approx(ay, abs=2)
    hand.page.wait_for_timeout(300)
    assert not lab.log()
    context.close()


# --- suggestions, statuses, scores, tags ------------------------------------------------------------------------------

OFFERS = [shape(f"s{n}", [100 + 60 * n, 100, 150 + 60 * n, 200], entry=None, suggested_by="run 01J") for n in range(4)]


def test_suggestions_are_accepted_corrected_and_rejected_by_key(lab: Lab, browser: Any) -> None:
    with_shapes(lab, [], OFFERS)
    for hand in used(lab, browser):
        hand.move(300, 500)
        hand.keys("a")
        accepted = lab.wait(1)[0]
        assert accepted["accepted"] == ["s0"]
        assert accepted["ops"][0]["suggested_by"] == "run 01J"
        hand.keys("r")
        rejected = lab.wait(2)[1]
        assert (rejected["rejected"], rejected["ops"]) == (["s1"], [])
        hand.keys("v")
        hand.drag((270, 150), (285, 150))  # s2 is selected now: its right side, moved
        corrected = lab.wait(3)[2]
        assert corrected["accepted"] == ["s2"]
        assert corrected["ops"][0]["suggested_by"] == "run 01J"
        assert corrected["ops"][0]["value"]["xyxy"][2] == pytest.approx(285, abs=0.01)
        hand.keys("Shift+A")
        assert lab.wait(4)[3]["accepted"] == ["s3"]
        assert hand.ask("[app.doc.suggestions.size, app.doc.shapes.size]") == [0, 3]
        hand.saved()


def test_a_click_asks_for_a_segment_and_gets_a_suggestion(lab: Lab, browser: Any) -> None:
    lab.setup(segment="GrabCut", answer={"type": "box", "xyxy": [50, 50, 150, 150]})
    for hand in used(lab, browser):
        hand.tool("w")
        hand.click(100, 100)
        hand.until("app.doc.suggestions.size === 1")
        assert hand.ask("[app.doc.suggestions.size, app.doc.shapes.size]") == [1, 0]


def test_a_click_that_finds_nothing_is_told_each_time(lab: Lab, browser: Any) -> None:
    lab.setup(segment="GrabCut", answer=None)
    for hand in used(lab, browser):
        hand.tool("w")
        for x in (100, 200):
            hand.ask("app.says.textContent = ''")
            hand.click(x, 100)
            hand.until("app.says.textContent.includes('nothing stands out there')")
            assert hand.ask("app.doc.suggestions.size") == 0


def test_what_is_said_of_the_sample(lab: Lab, hand: Hand) -> None:
    hand.move(300, 400)
    hand.keys("d")
    assert "press 0" in hand.page.locator(".says").inner_text()
    hand.keys("/")
    hand.page.keyboard.type("glare at d and n")  # letters are words here, not actions
    hand.keys("Enter", "t")
    log = lab.wait(2)
    assert log[0]["status"] == {"status": "unlabelled", "comment": "glare at d and n"}
    assert log[1]["status"] == {"status": "rescan", "comment": "glare at d and n"}
    hand.keys("0")
    assert lab.wait(3)[2]["status"]["status"] == "done"
    hand.saved()
    hand.keys("b")
    hand.drag((100, 100), (200, 200))
    lab.wait(4)
    hand.keys("0")
    assert "shape is drawn here" in hand.page.locator(".says").inner_text()
    assert len(lab.log()) == 4


def test_a_status_kept_over_a_reload_replaces_what_its_author_saw_not_what_holds_then(lab: Lab, hand: Hand) -> None:
    hand.move(300, 400)
    hand.keys("y")
    (unsure,) = lab.wait(1)
    hand.saved()
    (lab.folder / "problem.txt").write_text("not yet")
    hand.keys("t")
    hand.until("app.queue.problem")
    other = {**unsure, "commit": "jo", "who": "jo", "status": {"status": "skipped", "comment": ""}}
    with (lab.folder / "log.jsonl").open("a") as f:
        f.write(json.dumps(other) + "\n")
    (lab.folder / "problem.txt").unlink()
    hand.page.reload()
    rescan = lab.wait(3)[2]
    assert unsure["status_replaces"] is None and unsure["layer"] == rescan["layer"] == "main"
    assert (rescan["status"]["status"], rescan["status_replaces"]) == ("rescan", f"{unsure['commit']}.0")


def test_who_writes_a_comment_while_another_does_overwrites_nothing(lab: Lab, hand: Hand) -> None:
    hand.move(300, 400)
    hand.keys("/")
    hand.page.keyboard.type("worn")
    hand.ask("app.told({ ...app.data, rev: 'other', status: 'rescan', comment: 'glare', status_entry: 'e-jo' })")
    hand.keys("Enter")
    (said,) = lab.wait(1)
    assert (said["status"]["comment"], said["status_replaces"]) == ("worn", None)
    hand.keys("y")
    assert lab.wait(2)[1]["status_replaces"] == f"{said['commit']}.0"


def test_scores_go_in_half_steps_by_keyboard(lab: Lab, browser: Any) -> None:
    lab.setup(mode="score", rubric="10: nothing at the zoom given.")
    for hand in used(lab, browser):
        hand.move(300, 400)
        hand.page.get_by_text("nothing at the zoom given").wait_for()
        hand.keys("8", "+", "0")
        log = lab.wait(3)
        assert [c["ops"][0]["value"] for c in log] == [{"type": "score", "score": s} for s in (8, 8.5, 10)]
        assert len({c["ops"][0]["annotation"] for c in log}) == 1
        assert log[0]["ops"][0]["label"] is None


def test_tags_are_switched_by_digits(lab: Lab, browser: Any) -> None:
    lab.setup(mode="tags", tags=["whitening", "fray", "ding"])
    for hand in used(lab, browser):
        hand.move(300, 400)
        hand.keys("3", "1", "3", "d")
        log = lab.wait(4)
        assert [c["ops"][0]["value"]["tags"] for c in log[:3]] == [["ding"], ["whitening", "ding"], ["whitening"]]
        assert log[3]["status"]["status"] == "done"


def test_read_only_says_why_and_changes_nothing(lab: Lab, browser: Any) -> None:
    with_shapes(lab, [shape("a", [100, 100, 300, 300])], readonly="pushed to Label Studio; pull it first")
    for hand in used(lab, browser):
        assert "pushed to Label Studio" in hand.page.locator(".saved").inner_text()
        hand.click(100, 200)
        hand.keys("Delete", "2", "d", "b")
        hand.drag((200, 400), (300, 500))
        hand.page.wait_for_timeout(500)
        assert not lab.log()
        assert hand.ask("app.doc.shapes.size") == 1
