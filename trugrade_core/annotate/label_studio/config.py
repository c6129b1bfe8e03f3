"""Label configs: the XML that tells Label Studio what is labelled and how.

The server checks little of it, so it is read and checked here. Templates lie in `label_config/`, one for each task;
a dataset with classes of its own gets its config from its task's template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree as safe_xml
from defusedxml.common import DefusedXmlException

from trugrade_core.annotate.label_studio.tags import (
    ASKING,
    ATTRIBUTES,
    DRAWING,
    NUMBERS,
    OTHER_TAGS,
    OWN_KEYS,
    SHAPE_KEYS,
    SWITCHES,
    TOOL_KEYS,
)
from trugrade_core.data.label_studio import CLASS_COLORS, as_number
from trugrade_core.errors import ConfigError, nearest

TEMPLATES = Path(__file__).resolve().parents[3] / "label_config"

FIRST_KEYS, SECOND_KEYS = "1234567890", "asdfg"
"""Keys of the classes with the first tool of a template, and of the same classes with its second."""

STATE, COMMENT = "state", "comment"
"""Controls of a template that say how the sample stands, and why."""
ATTRIBUTE_OF = {"region_comment": "comment"}
"""Controls of a region whose name is not that of the attribute they give."""


# --- what a config says -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Control:
    """A control of a config. `type` is the `type` of its results, `values` its labels or choices as results spell them
    (aliases first), `keys` their hotkeys ('' for none); `minimum`, `maximum`, `step` None where it has none."""

    name: str
    type: str
    to_name: str
    values: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    per_region: bool = False
    multiple: bool = False
    dynamic: bool = False
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None

    @property
    def attribute(self) -> str:
        """The annotation attribute that a control of regions gives."""
        return ATTRIBUTE_OF.get(self.name, self.name)

    @property
    def role(self) -> str:
        """What it says in the lab: shape, labels, attribute, state, comment, score, tags, or '' for nothing."""
        if self.type == "labels" or self.type.endswith("labels"):
            return "labels" if self.type == "labels" else "shape"
        if self.type in ("rectangle", "polygon", "brush", "bitmask", "ellipse", "keypoint", "vector", "magicwand"):
            return "shape"
        if self.per_region:
            return "attribute"
        if self.type == "choices":
            if self.name == STATE:
                return "state"
            return "score" if self.values and not self.multiple and all(map(_is_number, self.values)) else "tags"
        if self.type in ("number", "rating"):
            return "score"
        return "comment" if self.type == "textarea" and self.name == COMMENT else ""


@dataclass(frozen=True)
class Config:
    """`controls` by name in their order; `images` is {name of an Image tag: field of the task's data}."""

    controls: dict[str, Control] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    def of_role(self, role: str) -> list[Control]:
        return [control for control in self.controls.values() if control.role == role]


def _is_number(text: str) -> bool:
    number = as_number(text)
    return number is not None and isfinite(number)


def parse(xml: str) -> Config:
    """What the label config says. Raises ConfigError when it is no XML, shows no image or asks nothing."""
    root = _root(xml)
    config = Config()
    for element in root.iter():
        name = element.get("name", "")
        if element.tag == "Image" and name:
            config.images[name] = (element.get("value") or element.get("valueList") or "").removeprefix("$")
        elif name and (to_name := element.get("toName") or element.get("toname")) and element.tag != "Filter":
            config.controls[name] = _control(element, name, to_name)
    missing = "an <Image>" if not config.images else "a control with name and toName" if not config.controls else ""
    if missing:
        raise ConfigError(f"the label config has not {missing}", code="label_config",
                          what_to_do="Take the task's template from label_config/ as a start.")  # fmt: skip
    return config


def _root(xml: str) -> ElementTree.Element:
    try:
        found: ElementTree.Element = safe_xml.fromstring(xml.strip(), forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as e:
        raise ConfigError(f"the label config is not readable XML ({e or type(e).__name__})", code="label_config",
                          what_to_do="Mend the XML, or take the task's template from label_config/.") from e  # fmt: skip
    return found


def _control(element: ElementTree.Element, name: str, to_name: str) -> Control:
    children = [child for child in element.iter() if child.tag in ("Label", "Choice")]
    dynamic = (element.get("value") or "").startswith("$") or bool(element.get("apiUrl"))
    top = "maxRating" if element.tag == "Rating" else "max"
    numbers = {what: float(v) for what in ("min", top, "step") if _is_number(v := element.get(what) or "")}
    return Control(
        name=name, type=element.tag.lower(), to_name=to_name,
        values=tuple(child.get("alias") or child.get("value") or "" for child in children),
        keys=tuple(child.get("hotkey") or "" for child in children),
        per_region=(element.get("perRegion") or element.get("perregion") or "").lower() == "true",
        multiple=element.get("choice") == "multiple", dynamic=dynamic,
        minimum=numbers.get("min"), step=numbers.get("step"),
        maximum=numbers.get(top, 5.0 if element.tag == "Rating" else None),
    )  # fmt: skip


# --- what is wrong with one -------------------------------------------------------------------------------------


def problems(xml: str) -> list[str]:
    """Everything wrong with a label config, most of which the server would accept, each with its place."""
    try:
        root = _root(xml)
    except ConfigError as e:
        return [e.message]
    found = [] if root.tag == "View" else [f"<{root.tag}>: the outermost tag must be <View>"]
    elements = list(root.iter())
    names = Counter(name for element in elements if (name := element.get("name")))
    found += [f"two tags have the name '{name}'" for name, count in names.items() if count > 1]
    for element in elements:
        place = _place(element)
        found += [f"{place}: {problem}" for problem in _tag_problems(element, set(names))]
    tags = {element.tag for element in elements}
    if not tags & {"Image"}:
        found.append("there is no <Image>, so that nothing is shown")
    if not tags & {*DRAWING, *ASKING, "Labels"}:
        found.append("there is no control, so that nothing can be said")
    return found + _key_problems(elements, tags)


def _place(element: ElementTree.Element) -> str:
    words = [f"{key}='{element.get(key)}'" for key in ("name", "value") if element.get(key)]
    return f"<{' '.join([element.tag, *words[:1]])}>"


def _tag_problems(element: ElementTree.Element, names: set[str]) -> Iterator[str]:
    tag = element.tag
    if tag.lower() in OTHER_TAGS:
        return
    if tag not in ATTRIBUTES:
        yield f"Label Studio has no such tag; {nearest(tag, list(ATTRIBUTES))}"
        return
    for word, text in element.attrib.items():
        if word.lower() not in ATTRIBUTES[tag]:
            yield f"it has no attribute '{word}'; {nearest(word, sorted(ATTRIBUTES[tag]))}"
        elif word.lower() in SWITCHES and text not in ("true", "false"):
            yield f"{word}='{text}' is neither true nor false"
        elif word.lower() in NUMBERS and not _is_number(text):
            yield f"{word}='{text}' is not a number"
    low, high = element.get("min", ""), element.get("max", "")
    if _is_number(low) and _is_number(high) and float(low) >= float(high):
        yield f"its min {low} is not below its max {high}"
    if tag == "Image":
        yield from _image_problems(element)
    elif tag in (*DRAWING, *ASKING, "Labels"):
        yield from _control_problems(element, names)
    elif tag in ("Label", "Choice") and not (element.get("value") or "").strip():
        yield "it has no value"


def _image_problems(element: ElementTree.Element) -> Iterator[str]:
    if not element.get("name"):
        yield "it has no name"
    value = element.get("value") or element.get("valueList") or ""
    if not value.startswith("$"):
        yield f"its value '{value}' has no $, so that it is no field of the task"


def _control_problems(element: ElementTree.Element, names: set[str]) -> Iterator[str]:
    if not element.get("name"):
        yield "it has no name"
    to_name = element.get("toName") or element.get("toname")
    if not to_name:
        yield "it has no toName"
    else:
        yield from (f"its toName '{to}' is no name here" for to in to_name.split(",") if to not in names)
    wants = "Label" if element.tag.endswith("Labels") else "Choice" if element.tag in ("Choices", "Taxonomy") else ""
    if not wants:
        return
    values = [child.get("value") or "" for child in element.iter(wants)]
    if not values and not (element.get("value") or "").startswith("$") and not element.get("apiUrl"):
        yield f"it has no <{wants}>"
    if element.tag != "Taxonomy":
        yield from (
            f"{wants} '{value}' is there {count} times" for value, count in Counter(values).items() if count > 1
        )


def _key_problems(elements: list[ElementTree.Element], tags: set[str]) -> list[str]:
    keys = [(key.lower(), element) for element in elements if (key := element.get("hotkey"))]
    found = [
        f"the key '{key}' is given {count} times" for key, count in Counter(key for key, _ in keys).items() if count > 1
    ]
    own = OWN_KEYS | (SHAPE_KEYS if tags & set(DRAWING) else {})
    own |= {key: f"the {tool.lower()} tool" for key, tool in TOOL_KEYS.items() if {tool, f"{tool}Labels"} & tags}
    for key, element in keys:
        if key in own:
            found.append(f"{_place(element)}: the key '{key}' is Label Studio's own ({own[key]})")
    return found


# --- templates --------------------------------------------------------------------------------------------------


def template(task: str) -> str:
    """The XML of a task's template. Raises ConfigError when there is none."""
    path = TEMPLATES / f"{task}.xml"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        known = sorted(file.stem for file in TEMPLATES.glob("*.xml"))
        raise ConfigError(f"there is no label template for '{task}'", where=str(path), code="label_config",
                          what_to_do=nearest(task, known) or "Run from a checkout with its label_config folder.") from e  # fmt: skip


def label_config_for(xml: str, classes: Sequence[str]) -> str:
    """The template with these classes in its label controls (and in its control `tags`), in the app's colours and with
    keys that nothing else in it has. Without classes it stays as it is. Raises ConfigError for what is no XML."""
    root = _root(xml)
    controls = [element for element in root.iter() if element.tag in DRAWING and element.tag.endswith("Labels")]
    controls += [element for element in root.iter("Choices") if element.get("name") == "tags"]
    if not classes or not controls:
        return xml
    own = {id(child) for control in controls for child in control.iter()}
    taken = {element.get("hotkey") for element in root.iter() if id(element) not in own}
    for place, control in enumerate(controls):
        child = "Choice" if control.tag == "Choices" else "Label"
        for old in list(control):
            control.remove(old)
        free = [key for key in (FIRST_KEYS, SECOND_KEYS, "")[min(place, 2)] if key not in taken]
        for number, name in enumerate(classes):
            words = {"value": name} if child == "Choice" else {"value": name, "background": CLASS_COLORS[number % len(CLASS_COLORS)]}  # fmt: skip
            ElementTree.SubElement(control, child, words | ({"hotkey": free[number]} if number < len(free) else {}))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def instructions(title: str, guidelines: str, config: Config | None = None) -> str:
    """The project's instructions as HTML: the written guidelines (Markdown) and, of a config, the keys."""
    from markdown_it import MarkdownIt

    html = f"<h3>{escape(title)}</h3>\n{MarkdownIt('commonmark', {'html': False}).render(guidelines)}"
    rows = [
        f"<tr><td>{escape(control.name)}</td><td>{keys}</td></tr>"
        for control in (config.controls.values() if config else ())
        if (keys := ", ".join(f"<b>{escape(key)}</b> {escape(value)}"
                              for value, key in zip(control.values, control.keys, strict=True) if key))
    ]  # fmt: skip
    return html + (f"<h4>Keys</h4>\n<table>{''.join(rows)}</table>\n" if rows else "")
