"""Whether results fit a label config: the server itself takes anything, so they are checked before they are sent and
after they were pulled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trugrade_core.annotate.label_studio.config import Config, Control
from trugrade_core.data import label_studio as ls
from trugrade_core.data.formats.base import ROUNDING_PX

TAKEN = ("rectangle", "polygon", "brush", "ellipse")
"""The kinds of shapes that the lab keeps."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with the result at `place` (from 0) of the list, about the region `id`."""

    place: int
    id: str
    control: str
    words: str

    def __str__(self) -> str:
        return f"result {self.place + 1} ({' '.join(filter(None, [self.control, self.id]))}): {self.words}"


def validate_results(results: Sequence[Any], config: Config, width: int, height: int) -> list[Problem]:
    """Everything of `results` that does not fit `config` and an image of `width` x `height` px; empty when all is well."""
    found: list[Problem] = []
    shapes = {str(r.get("id")) for r in results if isinstance(r, dict) and ls.kind_of(str(r.get("type")))}
    seen: Counter[tuple[str, str]] = Counter()
    for place, result in enumerate(results):
        if not isinstance(result, dict):
            found.append(Problem(place, "", "", f"is {type(result).__name__}, not an object"))
            continue
        id, name = str(result.get("id") or ""), str(result.get("from_name") or "")
        found += [Problem(place, id, name, words) for words in _problems(result, config, width, height, shapes)]
        seen[id, name] += 1
        if id and seen[id, name] == 2:
            found.append(Problem(place, id, name, "there are two results of this control for one region"))
    return found


def _problems(result: dict[str, Any], config: Config, width: int, height: int, shapes: set[str]) -> Iterator[str]:
    kind, value = result.get("type"), result.get("value")
    if kind == "relation":
        yield "relations between regions are not taken"
        return
    control = config.controls.get(str(result.get("from_name")))
    if control is None:
        yield f"the label config has no control '{result.get('from_name')}'"
        return
    if kind != control.type:
        yield f"its type is '{kind}', the control's is '{control.type}'"
        return
    if result.get("to_name") != control.to_name:
        yield f"its to_name is '{result.get('to_name')}', the control's is '{control.to_name}'"
    if not isinstance(value, dict) or not value:
        yield "its value is empty"
        return
    if ls.kind_of(kind) is not None:
        yield from _size_problems(result, width, height)
        yield from _shape_problems(kind, value, width, height)
    if kind.endswith("labels"):
        yield from _listed(value.get(kind), control, "label")
    elif ls.kind_of(kind) is None:
        if control.per_region and str(result.get("id")) not in shapes:
            yield "it is about a region that is not there"
        yield from _answer_problems(control, value)


def _size_problems(result: dict[str, Any], width: int, height: int) -> Iterator[str]:
    stated = ls.stated_size(result)
    if min(stated) <= 0:
        yield "it does not say the size of its picture (original_width, original_height)"
    elif stated != (width, height):
        yield f"it is for a picture of {stated[0]} x {stated[1]} px, this one has {width} x {height}"
    # Turning the picture on the screen leaves the numbers alone: they are always in the picture as it is.
    if result.get("image_rotation", 0) not in (0, 90, 180, 270):
        yield f"its image_rotation is {result.get('image_rotation')!r}"


def _shape_problems(kind: str, value: dict[str, Any], width: int, height: int) -> Iterator[str]:
    shape = ls.kind_of(kind)
    if shape not in TAKEN:
        yield f"{shape}s are not taken"
        return
    try:
        if shape == "brush":
            if "rle" not in value:
                raise ValueError("its strokes were not submitted: it has no run lengths")
            ls.brush_mask(value["rle"], width, height)
            return
        read = {"rectangle": ls.corners, "polygon": ls.points_of, "ellipse": ls.ellipse}[shape]
        points = read(value, width, height)
    except (ValueError, TypeError, OverflowError) as e:
        yield str(e)
        return
    if len(points) < 3:
        yield f"the polygon has {len(points)} points, fewer than 3"
    elif shape == "rectangle" and not (value["width"] > 0 and value["height"] > 0):
        yield f"the rectangle has no area (width {value['width']:g} %, height {value['height']:g} %)"
    out = (
        float(max((-0.5 - points).max(), (points - np.array([width - 0.5, height - 0.5])).max()))
        if len(points)
        else 0.0
    )
    if out > ROUNDING_PX:
        yield f"it reaches {out:.1f} px outside the image"


def _listed(given: Any, control: Control, what: str) -> Iterator[str]:
    """Labels or choices: known ones, one or more, and only one where the control takes one."""
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        yield f"its {what}s are not a list of names"
        return
    unknown = [name for name in given if name not in control.values] if not control.dynamic else []
    if unknown:
        yield f"the label config has no {what} '{unknown[0]}'"
    if not given:
        yield f"it has no {what}"
    elif len(given) > 1 and not control.multiple:
        yield f"it has {len(given)} {what}s, the control takes one"


def _answer_problems(control: Control, value: dict[str, Any]) -> Iterator[str]:
    if control.type == "choices":
        yield from _listed(value.get("choices"), control, "choice")
    elif control.type == "textarea":
        text = value.get("text")
        if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(t, str) for t in text)):
            yield "its text is not a list of texts"
    elif control.type in ("number", "rating"):
        yield from number_problems(control, value.get(control.type))
    else:
        yield f"{control.type} is not taken"


def number_problems(control: Control, number: Any) -> Iterator[str]:
    """Why the control, a number or a rating, cannot say `number`."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        yield f"its {control.type} is {number!r}, not a number"
        return
    low = 1.0 if control.type == "rating" else control.minimum
    if low is not None and number < low:
        yield f"{number:g} is below the least of {low:g}"
    if control.maximum is not None and number > control.maximum:
        yield f"{number:g} is above the most of {control.maximum:g}"
    step = 1.0 if control.type == "rating" else control.step
    if step:
        steps = (number - (control.minimum or 0.0)) / step
        if abs(steps - round(steps)) > 1e-6:
            yield f"{number:g} is no step of {step:g}"
