"""Label configs: what the templates hold, and what is wrong with a config though the server takes it."""

from __future__ import annotations

import pytest

from app.overlay import CLASS_COLORS as APP_COLORS
from app.overlay import color_of
from trugrade_core.annotate.label_studio import config as labels
from trugrade_core.annotate.label_studio.config import (
    CLASS_COLORS,
    instructions,
    label_config_for,
    parse,
    problems,
    template,
)  # fmt: skip
from trugrade_core.annotate.saving import SEVERITIES
from trugrade_core.errors import ConfigError
from trugrade_core.tasks import SCORES, TASKS

SURFACE = template("surface_analysis.defect_detection")
GOOD = """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image"><Label value="a" hotkey="1"/><Label value="b"/></RectangleLabels></View>"""


def with_control(control: str) -> str:
    return GOOD.replace("</View>", control + "</View>")


def test_colours_are_the_apps() -> None:
    assert CLASS_COLORS == APP_COLORS
    classes = [f"c{i}" for i in range(9)]
    for control in parse(label_config_for(SURFACE, classes)).of_role("shape"):
        assert list(control.values) == classes
    xml = label_config_for(SURFACE, classes)
    assert all(f'value="{name}" background="{color_of(name, classes)}"' in xml for name in classes)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_template_says_what_its_task_needs(task) -> None:
    assert problems(template(task.id)) == []
    config = parse(template(task.id))
    assert config.images == {"image": "image"} and len(config.of_role("comment")) == 1
    (state,) = config.of_role("state")
    keys = dict(zip(state.values, state.keys, strict=True))
    assert keys.items() >= {"unsure": "y", "rescan": "t"}.items() and keys.get("nothing_there", "0") == "0", (
        "as in the app"
    )
    drawn = config.of_role("shape")
    if task.kind == "score":
        (score,) = config.of_role("score")
        assert tuple(map(float, score.values)) == SCORES and all(score.keys) and not drawn
        whole = {value: key for value, key in zip(score.values, score.keys, strict=True) if float(value) % 1 == 0}
        assert whole == {str(n): str(n % 10) for n in range(1, 11)}
    elif task.kind == "tags":
        (tags,) = config.of_role("tags")
        assert tags.values == task.classes and tags.multiple and not drawn
    else:
        assert [c.values for c in drawn] == [task.classes or ("unusable",)] * 2
        assert "nothing_there" in state.values
        assert drawn[0].keys == tuple("12345"[: len(drawn[0].values)]), "the number keys of the app"
    if task.kind == "mask" or task.id == "surface_analysis.defect_detection":
        severity = next(c for c in config.of_role("attribute") if c.name == "severity")
        assert severity.per_region and severity.values == SEVERITIES
        assert {c.type for c in drawn} == {"brushlabels", "polygonlabels"}


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (with_control("<Foo/>"), "<Foo>: Label Studio has no such tag"),
        (with_control('<Rectangel name="r" toName="image"/>'), "did you mean 'Rectangle'?"),
        (GOOD.replace('hotkey="1"', 'hotkye="1"'), "<Label value='a'>: it has no attribute 'hotkye'; did you mean 'hotkey'?"),
        (GOOD.replace('value="b"', 'value="a"'), "<RectangleLabels name='box'>: Label 'a' is there 2 times"),
        (GOOD.replace('<Label value="a" hotkey="1"/><Label value="b"/>', ""), "<RectangleLabels name='box'>: it has no <Label>"),
        (GOOD.replace("$image", "image"), "its value 'image' has no $"),
        ('<View><Image name="image" value="$image"/></View>', "there is no control"),
        ('<View><Choices name="c" toName="c"><Choice value="x"/></Choices></View>', "there is no <Image>"),
        (with_control('<Number name="n" toName="image" min="a"/>'), "<Number name='n'>: min='a' is not a number"),
        (with_control('<Number name="n" toName="image" min="10" max="1"/>'), "its min 10 is not below its max 1"),
        (GOOD.replace('value="b"', 'value="b" hotkey="1"'), "the key '1' is given 2 times"),
        (GOOD.replace('hotkey="1"', 'hotkey="r"'), "the key 'r' is Label Studio's own (the rectangle tool)"),
        (GOOD.replace('hotkey="1"', 'hotkey="u"'), "Label Studio's own (unselect)"),
        (GOOD.replace('toName="image"', 'toName="picture"'), "its toName 'picture' is no name here"),
        (GOOD.replace(' toName="image"', ""), "it has no toName"),
        (GOOD.replace('name="box"', 'name="image"'), "two tags have the name 'image'"),
        (GOOD.replace('value="b"', 'value=" "'), "<Label value=' '>: it has no value"),
        (GOOD.replace("<Image", '<Image smoothing="no"'), "smoothing='no' is neither true nor false"),
        (with_control('<Choices name="c" toName="image"/>'), "it has no <Choice>"),
        (GOOD.replace("View", "Vew"), "the outermost tag must be <View>"),
        ("<View>", "not readable XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><View/>', "not readable XML"),
        ("", "not readable XML"),
    ],
)  # fmt: skip
def test_what_the_server_would_take(xml: str, words: str) -> None:
    assert any(words in problem for problem in problems(xml)), problems(xml)


def test_a_good_config_has_no_problems() -> None:
    assert problems(GOOD) == []
    assert problems(with_control('<Choices name="c" toName="image" value="$kinds"/>')) == [], "choices from the task"
    assert problems(with_control('<Audio name="a" value="$a" anything="1"/>')) == [], "other data are not judged"


def test_what_a_config_says() -> None:
    config = parse(
        with_control(
            '<Number name="grade" toName="image" min="1" max="10" step="0.5"/><Rating name="stars" toName="image"/>'
            '<Choices name="kinds" toName="image" choice="multiple"><Choice value="long word" alias="lw"/></Choices>'
            '<TextArea name="why" toName="image" perRegion="true"/><Filter name="f" toName="box"/>'
        )
    )
    assert list(config.controls) == ["box", "grade", "stars", "kinds", "why"]
    grade, stars = config.controls["grade"], config.controls["stars"]
    assert (grade.minimum, grade.maximum, grade.step, grade.role) == (1, 10, 0.5, "score")
    assert (stars.maximum, stars.type) == (5, "rating")
    assert config.controls["kinds"].values == ("lw",), "results hold the alias"
    assert config.controls["why"].role == "attribute" and config.controls["box"].values == ("a", "b")


@pytest.mark.parametrize(("xml", "words"), [("<a", "not readable XML"), ("<View/>", "has not an <Image>")])
def test_a_config_that_cannot_be_read(xml: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(xml)


def test_a_template_for_other_classes() -> None:
    xml = label_config_for(SURFACE, ["nick & <dust>", *(f"c{i}" for i in range(11))])
    assert problems(xml) == []
    outline, brush = parse(xml).of_role("shape")
    assert outline.values[0] == "nick & <dust>" and outline.keys == (*"12345", *[""] * 7), "the others are taken"
    assert brush.keys == (*"asdfg", *[""] * 7)
    tags = parse(label_config_for(template("surface_analysis.damage_classification"), ["x", "y"])).of_role("tags")
    assert tags[0].values == ("x", "y")
    assert label_config_for(SURFACE, []) == SURFACE
    score = template("corner_analysis.sharpness_rating")
    assert label_config_for(score, ["a"]) == score, "a score has no classes"


def test_no_such_template(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'corner_analysis\.damage_detection'"):
        template("corner_analysis.damage")
    monkeypatch.setattr(labels, "TEMPLATES", labels.TEMPLATES / "nowhere")
    with pytest.raises(ConfigError, match="checkout"):
        template("corner_analysis.damage_detection")


def test_instructions_are_the_guidelines_and_the_keys() -> None:
    task = TASKS["corner_analysis.damage_detection"]
    html = instructions("Corner <1>", f"{task.guidelines}\n\n<script>x</script>\n\n- one", parse(template(task.id)))
    assert "<script>" not in html and "<h3>Corner &lt;1&gt;</h3>" in html and "<li>one</li>" in html
    assert "Whitening is exposed paper core" in html and "<b>1</b> whitening" in html and "<b>9</b> heavy" in html
    assert "<h4>Keys" not in instructions("t", "words")
