"""Results there and back: nothing moves, nothing is lost, and what does not fit is named."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.annotate.label_studio.config import Config, parse, template
from trugrade_core.annotate.label_studio.convert import Came, from_annotation, from_results, to_results
from trugrade_core.annotate.label_studio.results import validate_results
from trugrade_core.data import label_studio as ls
from trugrade_core.data import rle
from trugrade_core.data.label_studio import META
from trugrade_core.data.store import status_id
from trugrade_core.schema import Annotation, Box, Polygon, Score, Status, Tags, Value

W, H, SAMPLE = 640, 480, "0123456789abcdef"
BORDER = parse(template("border_detection.dual_class"))
SURFACE = parse(template("surface_analysis.defect_detection"))
SCORES = parse(template("corner_analysis.sharpness_rating"))
TAGS = parse(template("surface_analysis.damage_classification"))
FOREIGN = parse("""<View><Image name="img" value="$img"/><Rectangle name="rect" toName="img"/><Polygon name="poly" toName="img"/>
<Labels name="label" toName="img"><Label value="a"/><Label value="b"/></Labels>
<EllipseLabels name="oval" toName="img"><Label value="a"/></EllipseLabels><KeyPointLabels name="dot" toName="img"><Label value="a"/></KeyPointLabels>
<Number name="grade" toName="img" min="1" max="10" step="0.5"/><Rating name="stars" toName="img" maxRating="10"/>
<Number name="depth" toName="img" perRegion="true"/><DateTime name="day" toName="img"/></View>""")


def annotation(value: Value, label: str | None = "scratch", id: str = "a1", **attributes: Any) -> Annotation:
    return Annotation(id=id, sample=SAMPLE, label=label, value=value, attributes=attributes)


def there_and_back(config: Config, *annotations: Annotation, status: Status | None = None, **options: Any) -> Came:
    sent = to_results(annotations, config, width=W, height=H, sample=SAMPLE, status=status,
                      entries={a.id: f"entry of {a.id}" for a in annotations})  # fmt: skip
    assert sent.left_out == [] and validate_results(sent.results, config, W, H) == []
    return from_results(json.loads(json.dumps(sent.results)), config, width=W, height=H, sample=SAMPLE, **options)


def drawn(type: str, value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    name = {"polygonlabels": "outline", "brushlabels": "brush", "rectanglelabels": "box"}.get(type, type)
    return {"id": "r1", "from_name": name, "to_name": "image", "type": type, "original_width": W, "original_height": H,
            "image_rotation": 0, "value": value, **changes}  # fmt: skip


TRIANGLE = drawn("polygonlabels", {"points": [[0, 0], [50, 0], [0, 50]], "closed": True, "polygonlabels": ["scratch"]})


def read(*results: Any, config: Config = SURFACE, **options: Any) -> Came:
    return from_results(list(results), config, width=W, height=H, sample=SAMPLE, **options)


# --- there and back -----------------------------------------------------------------------------------------------

xs = st.floats(-0.5, W - 0.5, allow_subnormal=False)
ys = st.floats(-0.5, H - 0.5, allow_subnormal=False)
boxes = st.tuples(xs, ys, xs, ys).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
).filter(lambda b: b[2] - b[0] > 1e-6 and b[3] - b[1] > 1e-6).map(lambda b: Box(xyxy=b))  # fmt: skip
polygons = st.lists(st.tuples(xs, ys), min_size=3, max_size=12).map(lambda p: Polygon(points=tuple(p)))


@given(st.one_of(boxes, polygons), st.sampled_from(["outer_border", "graphical_border"]))
def test_shapes_come_back_as_the_very_same(value: Box | Polygon, label: str) -> None:
    came = there_and_back(BORDER, annotation(value, label))
    (arrived,) = came.arrived
    assert arrived.annotation == annotation(value, label) and not arrived.changed and arrived.entry == "entry of a1"
    assert came.status == Status(status="done")


@given(st.one_of(boxes, polygons))
def test_percent_alone_holds_a_shape_to_a_billionth_of_a_pixel(value: Box | Polygon) -> None:
    sent = to_results([annotation(value, "outer_border")], BORDER, width=W, height=H, sample=SAMPLE)
    for result in sent.results:
        del result["meta"]
    (arrived,) = from_results(sent.results, BORDER, width=W, height=H, sample=SAMPLE).arrived
    got = arrived.annotation.value
    assert type(got) is type(value) and arrived.entry is None and arrived.changed
    numbers = [np.ravel(v.xyxy if isinstance(v, Box) else v.points) for v in (got, value)]
    assert np.abs(numbers[0] - numbers[1]).max() < 1e-9


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 0.9, 1.0]))
def test_brush_run_lengths_are_label_studios_own(width: int, height: int, seed: int, share: float) -> None:
    from label_studio_sdk.converter import brush

    mask = np.random.default_rng(seed).random((height, width)) < share
    runs = ls.brush_runs(mask)
    assert runs == brush.mask2rle((mask * 255).astype(np.uint8))
    assert (np.reshape(brush.decode_rle(runs), [height, width, 4])[:, :, 3] == mask * 255).all()
    assert (ls.brush_mask(runs, width, height) == mask).all()


def test_long_runs_and_soft_edges_of_a_stroke() -> None:
    from label_studio_sdk.converter import brush

    mask = np.zeros((700, 900), bool)
    mask[100:600, 50:880] = True
    assert ls.brush_runs(mask) == brush.mask2rle((mask * 255).astype(np.uint8))
    soft = np.array([[0, 60, 127, 128, 255]], np.uint8)
    assert ls.brush_mask(brush.mask2rle(soft), 5, 1).tolist() == [[False, False, False, True, True]]
    assert ls.brush_mask(brush.mask2rle(np.array([[0, 1, 1]], np.uint8)), 3, 1).tolist() == [[False, True, True]], (
        "0 and 1"
    )
    assert not ls.brush_mask(brush.mask2rle(np.zeros((4, 4), np.uint8)), 4, 4).any()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(0, 2))
def test_literal_values_of_a_brush_are_read(values: list[int], pad: int) -> None:
    """The editor's own encoder writes values one by one where nothing repeats; the SDK's never does."""
    from label_studio_sdk.converter import brush

    count = len(values) * 4
    channels = [v for value in values for v in (pad, pad, pad, value)]
    bits = f"{count:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    for at in range(0, count, 11):  # literal pieces that do not end where a pixel does
        piece = channels[at : at + 11]
        bits += f"010{len(piece) - 1:08b}"[:1] + "10" + f"{len(piece) - 1:08b}" + "".join(f"{v:08b}" for v in piece)
    bits += "0" * (-len(bits) % 8)
    runs = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert brush.decode_rle(runs).tolist() == channels
    expected = np.array(values) * 2 >= max(*values, 1)
    assert (ls.brush_mask(runs, len(values), 1)[0] == expected).all()


def test_a_mask_comes_back_as_the_very_same() -> None:
    mask = np.zeros((H, W), bool)
    mask[10:50, 20:90] = mask[200, 300] = True
    a = annotation(rle.encode(mask), severity="minor", comment="a comment", from_brush=True, odd=3.5)
    (arrived,) = there_and_back(SURFACE, a).arrived
    assert arrived.annotation == a and not arrived.changed


def test_scores_tags_and_what_is_said_of_the_sample() -> None:
    score = annotation(Score(score=8.5), None)
    came = there_and_back(SCORES, score, status=Status(status="unsure", comment="Kratzer?\nÄh"))
    assert [a.annotation for a in came.arrived] == [score] and not came.arrived[0].changed
    assert came.status == Status(status="unsure", comment="Kratzer?\nÄh")
    tags = annotation(Tags(tags=("dent", "crease")), None)
    assert [a.annotation for a in there_and_back(TAGS, tags).arrived] == [tags]
    (arrived,) = read({"id": "a1", "from_name": "tags", "to_name": "image", "type": "choices", "value": {"choices": ["crease", "dent"]}},
                      config=TAGS, known=[tags]).arrived  # fmt: skip
    assert arrived.annotation == tags and not arrived.changed, "in another order"
    for score_control in ("grade", "stars"):
        whole = annotation(Score(score=7.0), None)
        config = Config({score_control: FOREIGN.controls[score_control]}, FOREIGN.images)
        assert [a.annotation for a in there_and_back(config, whole).arrived] == [whole]


@pytest.mark.parametrize(
    "status", [Status(status="done"), Status(status="rescan", comment="blurred"), Status(status="unsure")]
)
def test_a_sample_without_shapes(status: Status) -> None:
    came = there_and_back(SURFACE, status=status)
    assert came.status == status and came.arrived == []


def test_an_empty_submission_is_no_nothing_there() -> None:
    assert read().status is None


def test_labels_that_stand_apart_from_the_shape() -> None:
    """The control `Labels` beside `Rectangle`: two results of one region."""
    a = annotation(Box(xyxy=(1, 2, 30, 40)), "b", depth=2.5)
    sent = to_results([a], FOREIGN, width=W, height=H, sample=SAMPLE)
    assert [r["type"] for r in sent.results] == ["rectangle", "labels", "number"]
    assert [x.annotation for x in there_and_back(FOREIGN, a).arrived] == [a]


def test_a_box_where_only_polygons_are_drawn() -> None:
    a = annotation(Box(xyxy=(1, 2, 30, 40)))
    sent = to_results([a], SURFACE, width=W, height=H, sample=SAMPLE)
    assert sent.results[0]["type"] == "polygonlabels" and len(sent.results[0]["value"]["points"]) == 4
    assert [x.annotation for x in there_and_back(SURFACE, a).arrived] == [a]


@pytest.mark.parametrize(
    ("config", "value", "label", "words"),
    [
        (BORDER, Box(xyxy=(1, 2, 3, 4)), "crease", "box 'crease': the label config has no control"),
        (BORDER, rle.encode(np.ones((H, W), bool)), "outer_border", "mask 'outer_border'"),
        (SURFACE, rle.encode(np.ones((5, 5), bool)), "scratch", "a mask of 5 x 5 px, for an image of 640 x 480"),
        (SURFACE, rle.encode(np.zeros((H, W), bool)), "scratch", "mask 'scratch': it has no pixel"),
        (SCORES, Score(score=8.25), None, "score 8.25"),
        (FOREIGN, Score(score=8.25), None, "score 8.25"),
        (FOREIGN, Score(score=11.0), None, "score 11"),
        (TAGS, Tags(tags=("dent", "glue")), None, "tags dent, glue"),
        (SURFACE, Status(status="done"), None, "give it apart"),
    ],
)  # fmt: skip
def test_what_the_config_cannot_say_is_named(config: Config, value: Value, label: str | None, words: str) -> None:
    sent = to_results([annotation(value, label)], config, width=W, height=H, sample=SAMPLE)
    assert sent.results == [] and any(words in left for left in sent.left_out)


def test_a_status_without_a_choice_for_it_is_named() -> None:
    sent = to_results([], SCORES, width=W, height=H, sample=SAMPLE, status=Status(status="done"))
    assert sent.left_out == ["status done: the label config has no choice 'nothing_there'"]
    sent = to_results([], SCORES, width=W, height=H, sample=SAMPLE, status=Status(status="skipped", comment="x"))
    assert any("status skipped" in left for left in sent.left_out)
    assert to_results([], SCORES, width=W, height=H, sample=SAMPLE, status=Status(status="unlabelled")).left_out == []
    sent = to_results([], FOREIGN, width=W, height=H, sample=SAMPLE, status=Status(status="rescan", comment="x"))
    assert len(sent.left_out) == 2


# --- what a person changed ----------------------------------------------------------------------------------------


def sent_one(a: Annotation, config: Config = SURFACE) -> list[dict[str, Any]]:
    return to_results([a], config, width=W, height=H, sample=SAMPLE, entries={a.id: "E1"}).results


SCRATCH = annotation(Polygon(points=((10.25, 10), (50, 12), (30, 40))), severity="minor", from_brush=True)


def test_screen_rounding_is_no_change_and_a_hundredth_of_a_pixel_is() -> None:
    results = sent_one(SCRATCH)
    for result in results:
        result["value"]["points"][1][0] += 1e-9
    (arrived,) = read(*results).arrived
    assert arrived.annotation == SCRATCH and not arrived.changed
    results[0]["value"]["points"][1][0] += 0.01 / W * 100
    (arrived,) = read(*results).arrived
    assert arrived.changed and arrived.entry == "E1" and arrived.annotation.id == "a1"
    assert arrived.annotation.value.points[1][0] == pytest.approx(50.01, abs=1e-6)
    assert arrived.annotation.value.points[0] == pytest.approx((10.25, 10), abs=1e-9)
    assert arrived.annotation.attributes == SCRATCH.attributes


def test_another_label_severity_or_none() -> None:
    results = sent_one(SCRATCH)
    results[0]["value"]["polygonlabels"] = ["dent"]
    results[1]["value"]["choices"] = ["heavy"]
    (arrived,) = read(*results).arrived
    assert arrived.annotation.label == "dent" and arrived.annotation.value == SCRATCH.value and arrived.changed
    assert arrived.annotation.attributes == {"severity": "heavy", "from_brush": True}
    (arrived,) = read(results[0]).arrived
    assert arrived.annotation.attributes == {"from_brush": True}, (
        "the severity was taken away; what LS cannot say stays"
    )


def test_a_region_that_was_drawn_there_a_copy_and_one_that_was_removed() -> None:
    results = sent_one(SCRATCH)
    copied = {**copy.deepcopy(results[0]), "id": "new1"}
    copied["value"]["points"][0] = [70, 70]
    came = read(copied)
    (arrived,) = came.arrived
    assert arrived.entry is None and arrived.changed and "a1" not in came.ids
    again = read(copied).arrived[0]
    assert again.annotation.id == arrived.annotation.id, "the same region has the same id at the next pull"
    assert read(copied, layer="anna").arrived[0].annotation.id != arrived.annotation.id


def test_another_grader_who_was_shown_the_shapes_votes_for_herself() -> None:
    (arrived,) = read(*sent_one(SCRATCH), layer="anna").arrived
    assert arrived.annotation.layer == "anna" and arrived.annotation.id != "a1" and arrived.entry is None
    assert arrived.annotation.value == SCRATCH.value and arrived.annotation.attributes == SCRATCH.attributes


def test_a_score_chosen_anew_keeps_its_id() -> None:
    score = annotation(Score(score=8.5), None)
    chosen = {"id": "x", "from_name": "score", "to_name": "image", "type": "choices", "value": {"choices": ["9"]}}
    (arrived,) = read(chosen, config=SCORES, known=[score]).arrived
    assert arrived.annotation == score.model_copy(update={"value": Score(score=9)}) and arrived.changed
    first, second = (read({**chosen, "id": id}, config=SCORES).arrived[0].annotation.id for id in ("x", "y"))
    assert first == second, "there is one score of a sample and layer"


@pytest.mark.parametrize("meta", [None, "x", {"annotation": "a1"}, {"annotation": "a1", "layer": "main", "label": 1, "value": {}, "attributes": 3}])  # fmt: skip
def test_meta_that_was_changed_by_hand_is_not_trusted(meta: Any) -> None:
    results = sent_one(SCRATCH)
    results[0]["meta"] = {META: meta}
    (arrived,) = read(results[0], known=[SCRATCH]).arrived
    assert arrived.annotation.id == "a1" and arrived.annotation.value == SCRATCH.value


def test_a_skipped_task_keeps_its_reason_and_none_of_its_shapes() -> None:
    words = {
        "id": "c",
        "from_name": "comment",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": ["no card in it"]},
    }
    skipped = {"was_cancelled": True, "result": [TRIANGLE, words]}
    came = from_annotation(skipped, SURFACE, width=W, height=H, sample=SAMPLE)
    assert came.status == Status(status="skipped", comment="no card in it") and came.arrived == []
    assert came.notes == ["1 annotations in a skipped task are not taken"]
    plain = from_annotation({"was_cancelled": True, "result": None}, SURFACE, width=W, height=H, sample=SAMPLE)
    assert plain.status == Status(status="skipped")
    done = from_annotation({"was_cancelled": False, "result": [TRIANGLE]}, SURFACE, width=W, height=H, sample=SAMPLE)
    assert done.status == Status(status="done") and len(done.arrived) == 1


def test_a_state_that_the_lab_has_not_is_a_problem() -> None:
    config = parse(template("surface_analysis.defect_detection").replace('"rescan"', '"broken"'))
    came = read(choice("state", "broken"), config=config)
    assert came.status is None and [p.words for p in came.problems] == ["says nothing that the lab keeps"]


def test_a_comment_alone_is_kept() -> None:
    words = {"id": "c", "from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": "hm"}}
    assert read(words).status == Status(status="unlabelled", comment="hm")


# --- foreign shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotation", "corners"),
    [
        (0, [(63.5, 47.5), (191.5, 47.5), (191.5, 191.5), (63.5, 191.5)]),
        (90, [(63.5, 47.5), (63.5, 175.5), (-80.5, 175.5), (-80.5, 47.5)]),
        (-90, [(63.5, 47.5), (63.5, -80.5), (207.5, -80.5), (207.5, 47.5)]),
        (30, [(63.5, 47.5), (174.3513, 111.5), (102.3513, 236.2077), (-8.5, 172.2077)]),
    ],
)
def test_a_rectangle_turns_about_its_top_left_corner_clockwise_in_pixels(rotation: float, corners: Any) -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": rotation}
    got = ls.corners(value, W, H)
    assert got == pytest.approx(np.array(corners), abs=1e-3)
    assert ls.is_upright(got) == (rotation != 30)


def test_turned_rectangles_and_ellipses_become_polygons_with_a_note() -> None:
    turned = drawn(
        "rectangle", {"x": 40, "y": 40, "width": 20, "height": 5, "rotation": 30}, from_name="rect", to_name="img"
    )
    label = {**turned, "from_name": "label", "type": "labels", "value": {**turned["value"], "labels": ["a"]}}
    oval = drawn("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0, "ellipselabels": ["a"]},
                 from_name="oval", to_name="img", id="r2")  # fmt: skip
    came = read(turned, label, oval, config=FOREIGN)
    quad, ring = (a.annotation.value for a in came.arrived)
    assert came.problems == [] and len(came.notes) == 2
    assert isinstance(quad, Polygon) and len(quad.points) == 4
    xy = np.array(ring.points) - [W / 2 - 0.5, H / 2 - 0.5]
    assert np.hypot(xy[:, 0] / 64, xy[:, 1] / 96) == pytest.approx(np.ones(len(xy)))
    area = abs(float(xy[:, 0] @ np.roll(xy[:, 1], -1) - xy[:, 1] @ np.roll(xy[:, 0], -1))) / 2
    assert area == pytest.approx(np.pi * 64 * 96, rel=1e-3)


def test_several_labels_on_one_region_are_several_annotations() -> None:
    config = parse(
        template("surface_analysis.defect_detection").replace("<PolygonLabels ", '<PolygonLabels choice="multiple" ')
    )
    both = copy.deepcopy(TRIANGLE)
    both["value"]["polygonlabels"] = ["scratch", "dent"]
    arrived = read(both, config=config).arrived
    assert [a.annotation.label for a in arrived] == ["scratch", "dent"] and len({a.annotation.id for a in arrived}) == 2


def test_a_picture_turned_on_the_screen_changes_no_number() -> None:
    straight, turned = read(TRIANGLE), read({**TRIANGLE, "image_rotation": 270})
    assert straight.arrived == turned.arrived and turned.problems == []


# --- the validator ------------------------------------------------------------------------------------------------


def changed(**value: Any) -> dict[str, Any]:
    return {**TRIANGLE, "value": {**TRIANGLE["value"], **value}}


def choice(name: str, *choices: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "from_name": name,
        "to_name": "image",
        "type": "choices",
        "value": {"choices": list(choices)},
        **more,
    }


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({**TRIANGLE, "from_name": "nobody"}, "the label config has no control 'nobody'"),
        (changed(polygonlabels=["glue"]), "the label config has no label 'glue'"),
        (changed(polygonlabels=[]), "it has no label"),
        (changed(polygonlabels=["scratch", "dent"]), "it has 2 labels, the control takes one"),
        (changed(polygonlabels="scratch"), "are not a list of names"),
        (changed(points=[[500, 0], [0, 0], [0, 50]]), "it reaches 2560.0 px outside the image"),
        (changed(points=[[0, 0], [1, 1]]), "has 2 points"),
        (changed(points=[[0, 0], [1, float("nan")], [2, 2]]), "not pairs of numbers"),
        (changed(points=[[0, 0, 3], [1, 1, 3]]), "not pairs of numbers"),
        (changed(points="1 2 3"), "could not convert"),
        ({**TRIANGLE, "type": "rectanglelabels"}, "its type is 'rectanglelabels', the control's is 'polygonlabels'"),
        ({**TRIANGLE, "to_name": "img"}, "its to_name is 'img'"),
        ({**TRIANGLE, "value": {}}, "its value is empty"),
        ({**TRIANGLE, "value": None}, "its value is empty"),
        ({k: v for k, v in TRIANGLE.items() if k != "original_width"}, "does not say the size of its picture"),
        ({**TRIANGLE, "original_width": 100}, "it is for a picture of 100 x 480 px, this one has 640 x 480"),
        ({**TRIANGLE, "image_rotation": 45}, "its image_rotation is 45"),
        (drawn("brushlabels", {"rle": [1, 2], "format": "rle", "brushlabels": ["dent"]}), "not a list of bytes"),
        (drawn("brushlabels", {"rle": [0] * 20, "format": "rle", "brushlabels": ["dent"]}), "cover 0 values"),
        (drawn("brushlabels", {"rle": ["a"] * 9, "brushlabels": ["dent"]}), "not a list of bytes"),
        (drawn("brushlabels", {"touches": [1], "brushlabels": ["dent"]}), "were not submitted"),
        (choice("severity", "minor"), "about a region that is not there"),
        (choice("state", "perhaps"), "the label config has no choice 'perhaps'"),
        (choice("state", "unsure", "rescan"), "it has 2 choices, the control takes one"),
        (choice("comment", type="textarea", value={"text": 5}), "not a list of texts"),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, "relations"),
        ("text", "is str, not an object"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_not_taken(result: Any, words: str) -> None:
    problems = [str(p) for p in validate_results([result], SURFACE, W, H)]
    assert any(words in p for p in problems), problems
    came = read(result)
    assert came.arrived == [] and came.status is None and [str(p) for p in came.problems] == problems


def asked(control: str, **value: Any) -> dict[str, Any]:
    return {
        "id": control,
        "from_name": control,
        "to_name": "img",
        "type": FOREIGN.controls[control].type,
        "value": value,
    }


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (asked("grade", number=99), "99 is above the most of 10"),
        (asked("grade", number=0), "0 is below the least of 1"),
        (asked("grade", number=8.3), "8.3 is no step of 0.5"),
        (asked("grade", number="9"), "its number is '9', not a number"),
        (asked("grade", number=True), "not a number"),
        (asked("stars", rating=99), "99 is above the most of 10"),
        (asked("stars", rating=7.5), "7.5 is no step of 1"),
        (asked("day", datetime="2026-01-01"), "datetime is not taken"),
        (drawn("rectangle", {"x": 0, "y": 0, "width": 0, "height": 5}, from_name="rect", to_name="img"), "no area"),
        (drawn("rectangle", {"x": "a", "y": 0, "width": 1, "height": 5}, from_name="rect", to_name="img"), "its x is 'a'"),
        (drawn("ellipselabels", {"x": 5, "y": 5, "radiusX": 0, "radiusY": 5, "ellipselabels": ["a"]}, from_name="oval",
               to_name="img"), "the ellipse has no area"),
        (drawn("keypointlabels", {"x": 5, "y": 5, "width": 1, "keypointlabels": ["a"]}, from_name="dot", to_name="img"),
         "keypoints are not taken"),
        (drawn("rectangle", {"x": 5, "y": 5, "width": 1, "height": 1}, from_name="rect", to_name="img"), "it has no label"),
    ],
)  # fmt: skip
def test_foreign_answers_that_do_not_fit(result: dict[str, Any], words: str) -> None:
    came = read(result, config=FOREIGN)
    assert came.arrived == [] and any(words in str(p) for p in came.problems), came.problems


def test_one_bad_result_leaves_the_others_and_what_was_sent_is_still_there() -> None:
    results = sent_one(SCRATCH)
    results[1]["value"]["choices"] = ["terrible"]
    (arrived,) = (came := read(*results, {**TRIANGLE, "original_width": 3})).arrived
    assert arrived.annotation.attributes == {"from_brush": True} and len(came.problems) == 2
    assert came.ids == {"a1", "r1"}, "a region in a problem is not one that was removed"


def test_two_results_of_one_control_for_one_region() -> None:
    assert [p.words for p in validate_results([TRIANGLE, TRIANGLE], SURFACE, W, H)] == [
        "there are two results of this control for one region"
    ]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(
                        st.sampled_from(["type", "value", "id", "from_name", "to_name", "points", "rle", "x", "y", "width",
                                         "height", "polygonlabels", "choices", "text", "meta", META]), x, max_size=6),
                    max_leaves=12))  # fmt: skip
def test_anything_at_all_is_a_problem_and_never_a_crash(anything: Any) -> None:
    came = read(anything)
    assert len(came.problems) == 1 and not came.arrived
    others = [{**TRIANGLE, "value": anything}, {**TRIANGLE, "meta": anything}]
    if isinstance(anything, dict):
        others += [{**TRIANGLE, **anything}, {**TRIANGLE, "value": {**TRIANGLE["value"], **anything}}]
    for other in others:
        came = read(other)
        assert len(came.arrived) == 1 or (came.problems and not came.arrived)  # never lost without a word


def test_the_status_has_the_samples_own_id() -> None:
    sent = to_results([], SURFACE, width=W, height=H, sample=SAMPLE, status=Status(status="unsure", comment="x"))
    assert [r["id"] for r in sent.results] == [status_id(SAMPLE), f"{status_id(SAMPLE)}-comment"]


def test_a_choice_that_only_looks_like_a_number_is_no_score() -> None:
    config = parse("""<View><Image name="image" value="$image"/><Choices name="score" toName="image"><Choice value="8.5"/>
    <Choice value="nan"/></Choices></View>""")
    came = read(
        {"from_name": "score", "to_name": "image", "type": "choices", "value": {"choices": ["nan"]}}, config=config
    )
    assert [a.annotation.value for a in came.arrived] == [Tags(tags=("nan",))]  # which a pull then does not know
